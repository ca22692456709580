"""The data of the benchmarks: (query, page, one hard negative) in the Hub's layout, no page twice."""

from __future__ import annotations

import json
from pathlib import Path

from mmexp.data.made_up_pages import MadeUpPages
from mmexp.models.tiny_vlm import TinyVlm, write_checkpoint
from tests.conftest import OCR_PAGES, write_config, write_readme

# The embedded experiment's pixel bounds.
PIXELS = {"min_pixels": 1024, "max_pixels": 128 * 160}


def encoded_pages(count: int) -> list[bytes]:
    """`count` pages as files hold them: real ones, over and over where there are fewer; made-up ones without those.

    Each differs from every other in what follows its last byte, which decoders do not read.
    """
    pages = [file.read_bytes() for file in sorted((OCR_PAGES / "pages").glob("*.jpg"))] if OCR_PAGES.is_dir() else []
    if not pages:
        made_up = MadeUpPages(num_train_pages=100, num_eval_pages=5, width=850, height=1100).read()[0].documents
        pages = [bytes(made_up.encoded(n)) for n in range(len(made_up))]
    return [pages[n % len(pages)] + b"%d" % n for n in range(count)]


def queries(count: int) -> list[str]:
    """`count` different questions: real ones where they are at hand."""
    lines = (OCR_PAGES / "train.jsonl").read_text().splitlines() if OCR_PAGES.is_dir() else []
    asked = list(dict.fromkeys(json.loads(line)["query"] for line in lines))
    return [*asked, *(f"Which page is number {n} of the report?" for n in range(count))][:count]


def write_data(folder: Path, num_train: int, num_eval: int) -> Path:
    """Configurations `train` (one negative) and `eval` (four), pages distinct within each."""
    from datasets import Image, Value

    for config, rows, num_negatives in (("train", num_train, 1), ("eval", num_eval, 4)):
        pages = iter(encoded_pages(rows * (1 + num_negatives)))
        names = ["image", *(f"negative_{n}" for n in range(num_negatives))]
        columns = {name: [{"bytes": next(pages), "path": None} for _ in range(rows)] for name in names}
        features = {"query": Value("string"), **{name: Image() for name in names}}
        write_config(folder, config, {"query": queries(rows), **columns}, features)
    write_readme(folder, ["train", "eval"])
    return folder


def write_model(folder: Path, **sizes: int) -> Path:
    """The embedded experiment's model, or one of other sizes, as a checkpoint."""
    folder.mkdir(parents=True)
    write_checkpoint(TinyVlm(**sizes), folder)
    return folder
