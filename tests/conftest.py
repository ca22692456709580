"""Shared fixtures: small data sets in the Hub's own layouts, made on the spot, without a network or a GPU."""

from __future__ import annotations

import atexit
import io
import json
import os
import shutil
import tempfile
from pathlib import Path

# Before any library of the Hub is imported: nothing is downloaded, and nothing is kept between two runs of the tests.
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["HF_HOME"] = tempfile.mkdtemp(prefix="mmexp-tests-")
atexit.register(shutil.rmtree, os.environ["HF_HOME"], ignore_errors=True)
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
# Of several processes that run the tests (not of the one that starts them, whose environment they have): more threads
# than cores would wait for one another.
if processes := os.environ.get("PYTEST_XDIST_WORKER_COUNT"):
    os.environ["OMP_NUM_THREADS"] = str(max(1, (os.cpu_count() or 1) // int(processes)))

import pytest  # noqa: E402
from PIL import Image, ImageDraw  # noqa: E402

OCR_PAGES = Path(__file__).parents[2] / "shared" / "data" / "ocr_pages"


@pytest.fixture(scope="session")
def ocr_pages() -> Path:
    """193 real pages with queries, where they are at hand."""
    if not OCR_PAGES.is_dir():
        pytest.skip("shared/data/ocr_pages is absent")
    return OCR_PAGES


def page(number: int, size: tuple[int, int] = (96, 128)) -> Image.Image:
    """A page that differs from every other number's."""
    image = Image.new("RGB", size, "white")
    draw = ImageDraw.Draw(image)
    color = (number * 37 % 200, number * 91 % 200, number * 53 % 200)
    draw.rectangle((10, 10, 80, 20 + number % 90), fill=color)
    draw.text((12, 100), f"page {number}", fill="black")
    return image


def png(number: int) -> bytes:
    buffer = io.BytesIO()
    page(number).save(buffer, "PNG")
    return buffer.getvalue()


def write_config(folder: Path, config: str, columns: dict[str, list], features: dict[str, object]) -> None:
    """Write one configuration of a data set as a Hub repository keeps it: parquet under its name."""
    from datasets import Dataset, Features

    (folder / config).mkdir(parents=True)
    dataset = Dataset.from_dict(columns, features=Features(features))
    dataset.to_parquet(folder / config / "train-00000-of-00001.parquet")


def write_readme(folder: Path, configs: list[str]) -> None:
    entries = "\n".join(
        f"- config_name: {config}\n  data_files:\n  - split: train\n    path: {config}/train-*" for config in configs
    )
    (folder / "README.md").write_text(f"---\nconfigs:\n{entries}\n---\n")


def vdr_columns_rows(num_rows: int, num_negatives: int, first_page: int) -> dict[str, list]:
    """Rows of the layout with pages in columns; no page occurs twice."""
    numbers = iter(range(first_page, first_page + num_rows * (1 + num_negatives)))
    names = ["image", *[f"negative_{n}" for n in range(num_negatives)]]
    cells = {name: [{"bytes": png(next(numbers)), "path": None} for _ in range(num_rows)] for name in names}
    return {"query": [f"what is on page {first_page + row}" for row in range(num_rows)], **cells}


@pytest.fixture(scope="session")
def vdr_columns(tmp_path_factory) -> Path:
    """The layout of tomaarsen/llamaindex-vdr-en-train-preprocessed: train, eval and full, with four negatives."""
    from datasets import Image as ImageFeature
    from datasets import Value

    folder = tmp_path_factory.mktemp("vdr_columns")
    features = {"query": Value("string"), "image": ImageFeature()}
    features |= {f"negative_{n}": ImageFeature() for n in range(4)}
    for config, num_rows, first_page in [("train", 24, 0), ("full", 40, 0), ("eval", 6, 1000)]:
        write_config(folder, config, vdr_columns_rows(num_rows, 4, first_page), features)
    write_readme(folder, ["train", "full", "eval"])
    return folder


@pytest.fixture(scope="session")
def vdr_ids(tmp_path_factory) -> Path:
    """The layout of llamaindex/vdr-multilingual-train: negatives are ids, every third row is a document only."""
    from datasets import Image as ImageFeature
    from datasets import List, Value

    folder = tmp_path_factory.mktemp("vdr_ids")
    features = {
        "id": Value("string"),
        "query": Value("string"),
        "image": ImageFeature(),
        "negatives": List(Value("string")),
        "language": Value("string"),
    }
    for offset, language in enumerate(["en", "de"]):
        ids = [f"{language}-{n}" for n in range(36)]
        columns = {
            "id": ids,
            "query": [None if n % 3 == 2 else f"{language} query {n}" for n in range(36)],
            "image": [{"bytes": png(2000 + 100 * offset + n), "path": None} for n in range(36)],
            "negatives": [[] if n % 3 == 2 else [ids[(n + 1 + k) % 36] for k in range(16)] for n in range(36)],
            "language": [language] * 36,
        }
        write_config(folder, language, columns, features)
    write_readme(folder, ["en", "de"])
    return folder


@pytest.fixture(scope="session")
def doodles(tmp_path_factory) -> Path:
    """The layout of julianmoraes/doodles-captions-manual: image and text, one split."""
    from datasets import Image as ImageFeature
    from datasets import Value

    folder = tmp_path_factory.mktemp("doodles")
    columns = {
        "image": [{"bytes": png(6000 + n), "path": None} for n in range(50)],
        "text": [f"a doodle of {n}" for n in range(50)],
    }
    write_config(folder, "data", columns, {"image": ImageFeature(), "text": Value("string")})
    write_readme(folder, ["data"])
    return folder


@pytest.fixture
def page_folder(tmp_path) -> Path:
    """A user's own folder: images of every kind, one PDF, train.jsonl and eval.jsonl."""
    folder = tmp_path / "my-pages"
    (folder / "pages").mkdir(parents=True)
    suffixes = ["png", "jpg", "webp", "tiff"]
    names = []
    for number in range(20):
        suffix = suffixes[number % 4]
        page(3000 + number).save(folder / "pages" / f"p{number:02d}.{suffix}")
        names.append(f"p{number:02d}")
    scans = [page(4000 + number, (400, 600)) for number in range(4)]
    scans[0].save(folder / "pages" / "scan.pdf", save_all=True, append_images=scans[1:])
    names += [f"scan-{number:03d}" for number in range(1, 5)]
    write_examples(folder / "train.jsonl", names[:18], names)
    write_examples(folder / "eval.jsonl", names[18:], names)
    return folder


def write_examples(file: Path, positives: list[str], names: list[str], num_negatives: int = 3) -> None:
    with file.open("w") as lines:
        for positive in positives:
            at = names.index(positive)
            negatives = [names[(at + 1 + k) % len(names)] for k in range(num_negatives)]
            example = {"query": f"which page is {positive}", "positive": positive, "negatives": negatives}
            lines.write(json.dumps(example) + "\n")
