"""A folder of the user's own pages: `pages/` (images, PDF) with train.jsonl and, optionally, eval.jsonl."""

from __future__ import annotations

import functools
import json
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import MISSING

from mmexp.data import Data
from mmexp.data.attributes import attributes_of
from mmexp.data.cells import Cells, Values, naming_page
from mmexp.data.splits import Row, Split, check_share, share_of_queries
from mmexp.ranges import check_least
from mmexp.schema import ConfigError, did_you_mean, schema

if TYPE_CHECKING:
    from PIL.Image import Image

EXAMPLE_KEYS = ("query", "positive", "negatives")
IMAGE_SUFFIXES = {".png", ".jpg", ".jpeg", ".webp", ".tif", ".tiff"}

# PDFium is not made for threads, not even with a document for each: it takes good pages for bad ones, or crashes.
PDFIUM = threading.Lock()


@schema("data", "folder")
@dataclass
class Folder(Data):
    """Pages are named by their file: `pages/scan.png` is page "scan", page 3 of `pages/scan.pdf` is "scan-003"."""

    path: str = MISSING
    """The folder that holds pages/, train.jsonl and, optionally, eval.jsonl. Each line of those is
    {"query": text, "positive": page, "negatives": [page, ...]}; "negatives" may be left out. Results are broken down by
    other keys with short texts, whole numbers or truth values, such as "language"."""

    pdf_longest_side: int = 1100
    """Pixels of the longest side of a page rendered from PDF. The model then resizes it to its own pixel bounds."""

    eval_fraction: float = 0.1
    """Share of the queries held out, by document, where there is no eval.jsonl."""

    check_pages: bool = True
    """Decode every page that is used once before training, so that a bad one is known before weights are loaded."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_share(self.eval_fraction)
        check_least("data.pdf_longest_side", self.pdf_longest_side, 1)

    @property
    def checks_pages(self) -> bool:
        return self.check_pages or super().checks_pages

    def read(self) -> tuple[Split, Split | None]:
        folder = Path(self.path).expanduser()
        if not folder.is_dir():
            raise ConfigError(f"data.path={self.path} is no folder. Give a folder with pages/ and train.jsonl.")
        pages = FolderPages(folder / "pages", self.pdf_longest_side)
        train = read_examples(folder / "train.jsonl", pages)
        return train, read_examples(folder / "eval.jsonl", pages) if (folder / "eval.jsonl").exists() else None

    def num_held_out(self, train: Split) -> int:
        return share_of_queries(self.eval_fraction, train)

    @property
    def held_out_key(self) -> str:
        return "eval_fraction"


class FolderPages(Cells):
    """The images in a folder and the pages of the PDF files in it, in the order of their names."""

    def __init__(self, folder: Path, pdf_longest_side: int) -> None:
        files = sorted(folder.iterdir()) if folder.is_dir() else []
        self._pages: dict[str, tuple[Path, int | None]] = {}
        for file in files:
            for page, place in _pages_of(file).items():
                if page in self._pages:
                    raise ConfigError(
                        f"{file} and {self._pages[page][0]} are both page {page!r}. Rename one of the files."
                    )
                self._pages[page] = place
        if not self._pages:
            raise ConfigError(
                f"{folder} holds no pages ({', '.join(sorted(IMAGE_SUFFIXES))}, .pdf). Put them there, or "
                "change data.path."
            )
        self.ids = list(self._pages)
        self.pdf_longest_side = pdf_longest_side

    def __getitem__(self, index: int) -> Image:
        file, number = self._pages[self.ids[index]]
        with naming_page(self.ids[index]):
            return _read_image(file) if number is None else _render_pdf_page(file, number, self.pdf_longest_side)

    def encoded(self, index: int) -> bytes:
        file, number = self._pages[self.ids[index]]
        if number is None:
            return file.read_bytes()
        return f"page {number} of {_file_digest(file)} at {self.pdf_longest_side}".encode()

    def size(self, index: int) -> int:
        """Of the file that holds the page."""
        return self._pages[self.ids[index]][0].stat().st_size

    def source(self, index: int) -> str:
        """The file that holds the page: the pages of a PDF are of one document."""
        return self._pages[self.ids[index]][0].name


def _pages_of(file: Path) -> dict[str, tuple[Path, int | None]]:
    """The pages in one file: {page id: (file, page number in a PDF, from 0, or None)}."""
    if file.suffix.lower() in IMAGE_SUFFIXES:
        return {file.stem: (file, None)}
    if file.suffix.lower() != ".pdf":
        return {}
    import pypdfium2

    try:
        with PDFIUM, pypdfium2.PdfDocument(file) as document:
            return {f"{file.stem}-{number + 1:03d}": (file, number) for number in range(len(document))}
    except pypdfium2.PdfiumError as error:
        raise ConfigError(f"{file} is no readable PDF: {error}. Repair or remove it (data.path).") from error


@functools.cache
def _file_digest(file: Path) -> str:
    """A PDF is read once, however many pages it has."""
    return Values([""], [file.read_bytes()]).digest(0)


def _read_image(file: Path) -> Image:
    from PIL import Image, ImageOps

    with Image.open(file) as image:
        return ImageOps.exif_transpose(image).convert("RGB")


def _render_pdf_page(file: Path, number: int, longest_side: int) -> Image:
    import pypdfium2

    with PDFIUM, pypdfium2.PdfDocument(file) as document:
        page = document[number]
        return page.render(scale=longest_side / max(page.get_size())).to_pil().convert("RGB")


def read_examples(file: Path, pages: FolderPages) -> Split:
    """Read one JSON-lines file of {"query", "positive", "negatives"}."""
    if not file.exists():
        raise ConfigError(
            f"{file} does not exist. data.path must hold it: one JSON object with query, positive, negatives per line."
        )
    position = {page: index for index, page in enumerate(pages.ids)}
    examples: list[dict[str, Any]] = []
    rows: list[Row] = []
    with file.open("rb") as lines:
        for number, line in enumerate(lines, start=1):
            if not line.strip():
                continue
            where = f"{file}, line {number}"
            example = _parse(line, where)
            positive, *negatives = (
                _find(page, position, where) for page in (example["positive"], *example["negatives"])
            )
            rows.append(Row(len(examples), positive, negatives))
            examples.append(example)
    if not rows:
        raise ConfigError(f"{file} holds no examples. Write one JSON object with query, positive, negatives per line.")
    queries = Values([f"{file.stem}-{n}" for n in range(len(examples))], [example["query"] for example in examples])
    return Split(queries, pages, rows, attributes_of(examples, besides=EXAMPLE_KEYS))


def _parse(line: bytes, where: str) -> dict[str, Any]:
    try:
        example = json.loads(line.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        raise ConfigError(f"{where} is not UTF-8: {error}. Save the file as UTF-8.") from None
    except json.JSONDecodeError as error:
        raise ConfigError(
            f"{where} is not JSON: {error}. Each line is one object with query, positive, negatives."
        ) from None
    remedy = 'Each line is {"query": text, "positive": page, "negatives": [page, ...]}.'
    for key in ("query", "positive"):
        if not isinstance(example, dict) or not example.get(key):
            raise ConfigError(f"{where} has no {key}. {remedy}")
        if not isinstance(example[key], str):
            raise ConfigError(f"{where} has {json.dumps(example[key])} as {key}, which is no text. {remedy}")
    if (negatives := example.get("negatives")) is None:
        negatives = []
    if not isinstance(negatives, list) or not all(isinstance(page, str) for page in negatives):
        raise ConfigError(f"{where} has {json.dumps(negatives)} as negatives, which is no list of pages. {remedy}")
    return {**example, "negatives": negatives}


def _find(page: str, position: dict[str, int], where: str) -> int:
    if page not in position:
        raise ConfigError(
            f"{where} names page {page!r}, which is not in pages/ of data.path.{did_you_mean(page, position)}"
        )
    return position[page]
