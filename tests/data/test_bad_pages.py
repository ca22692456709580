"""Pages that cannot be decoded, or are not there: named, or left out."""

import json
import os
import pickle
import time
from pathlib import Path

import pypdfium2
import pytest
from PIL import Image

from mmexp.data import OnBadPage
from mmexp.data.cells import BadPage, first_of_each
from mmexp.data.folder import Folder, FolderPages
from mmexp.data.hub import ColumnCells
from mmexp.data.hub_columns import HubColumns
from mmexp.data.media import Media
from mmexp.data.reduced_jpeg import ReducedJpeg
from mmexp.data.splits import bad_pages, merge_duplicates
from mmexp.schema import ConfigError
from tests.conftest import page, png, vdr_columns_rows, write_config, write_readme


def test_pages_of_a_pdf_are_drawn_one_at_a_time_whatever_the_number_of_threads(page_folder, monkeypatch):
    """PDFium crashes otherwise."""
    drawn, at_once, drawing = pypdfium2.PdfPage.render, [], []

    def slow(page, **kwargs):
        drawing.append(page)
        at_once.append(len(drawing))
        time.sleep(0.02)
        drawing.remove(page)
        return drawn(page, **kwargs)

    monkeypatch.setattr(pypdfium2.PdfPage, "render", slow)
    monkeypatch.setattr(os, "cpu_count", lambda: 4)
    pages = FolderPages(page_folder / "pages", 100)
    of_pdf = [index for index, id_ in enumerate(pages.ids) if id_.startswith("scan-")]
    assert not bad_pages(pages, of_pdf)
    assert at_once == [1] * 4


def test_a_page_of_more_pixels_than_pillow_decodes_is_a_bad_one(page_folder, doodles, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)  # 89 millions, and twice as many are an error
    pages = FolderPages(page_folder / "pages", 100)
    columns = HubColumns(path=str(doodles), query_column="text").read()[0].documents
    for cells, index in [(pages, 0), (ReducedJpeg(pages, 10), pages.ids.index("p01")), (columns, 3)]:
        with pytest.raises(BadPage, match=r"\(12288 pixels\) exceeds limit of 2000 pixels: scale it down\. Repair"):
            cells[index]
    with pytest.raises(ConfigError, match="no training row is left"):
        Folder(path=str(page_folder), on_bad_page=OnBadPage.skip).build()


@pytest.fixture
def with_holes(tmp_path) -> Path:
    """Eight rows: one without a query, one without its page, two without a negative each."""
    from datasets import Image as ImageFeature
    from datasets import Value

    rows = vdr_columns_rows(8, 2, 0)
    rows["query"][1] = None
    rows["image"][2] = None
    rows["negative_0"][3] = None
    rows["negative_1"][4] = None
    features = {"query": Value("string"), **dict.fromkeys(("image", "negative_0", "negative_1"), ImageFeature())}
    write_config(tmp_path, "all", rows, features)
    write_readme(tmp_path, ["all"])
    return tmp_path


def test_a_page_that_is_missing_does_not_make_one_page_of_all_others(with_holes):
    split = HubColumns(path=str(with_holes)).read()[0]
    documents = split.documents
    assert len({documents.digest(index) for index in range(len(documents))}) == len(documents) == 3 * 8 - 2
    assert merge_duplicates(split).rows == split.rows
    assert [(row.query, len(row.negatives)) for row in split.rows] == [
        *((0, 2), (2, 2), (3, 1), (4, 1)),
        *((5, 2), (6, 2), (7, 2)),
    ]
    assert documents.size(0) == len(documents.encoded(0)) == len(png(0))
    assert pickle.loads(pickle.dumps(documents)).is_empty(2)


def test_a_row_without_its_page_is_named_or_left_out(with_holes):
    def source(**kwargs) -> HubColumns:
        return HubColumns(path=str(with_holes), num_eval_queries=2, **kwargs)

    with pytest.raises(BadPage, match=r"'train/2/image' cannot be decoded: there is nothing in its place"):
        source().read()[0].documents[2]
    data = source(on_bad_page=OnBadPage.skip, num_negatives=2).build()
    assert data.skipped_pages == ["train/2/image"]
    asked = [row.query for row in data.train.rows + data.evaluation.rows]
    assert set(asked) <= {0, 3, 4, 5, 6, 7}
    assert all(len(row.negatives) == 2 for row in data.train.rows)


def test_pages_within_the_data_and_in_files_of_their_own_may_be_in_one_column(tmp_path):
    from datasets import Dataset, Features
    from datasets import Image as ImageFeature

    (tmp_path / "page.png").write_bytes(png(1))
    cells = [{"bytes": png(n), "path": f"{n}.png"} for n in range(3)]
    cells += [{"bytes": None, "path": path} for path in (str(tmp_path / "page.png"), "gone.png")]
    dataset = Dataset.from_dict({"image": [*cells, None]}, features=Features({"image": ImageFeature()}))
    pages = ColumnCells(dataset, [("image", row) for row in range(6)], list("abcdef"), Media())
    assert first_of_each(pages, range(6)) == {0: 0, 1: 1, 2: 2, 3: 1, 4: 4, 5: 5}
    assert pages[3].tobytes() == page(1).tobytes()
    for index, reason in [(4, r"gone\.png"), (5, "there is nothing in its place")]:
        with pytest.raises(BadPage, match=f"page {pages.ids[index]!r} cannot be decoded: .*{reason}"):
            pages[index]


def test_the_negative_in_the_place_of_a_bad_one_is_checked_too(page_folder):
    pages = ["p00", "p01", "p02", "p03", "p04", "p05"]
    example = {"query": "which page is p00", "positive": pages[0], "negatives": pages[1:]}
    (page_folder / "train.jsonl").write_text(json.dumps(example))
    for name in ("p01.jpg", "p02.webp", "p04.png"):
        (page_folder / "pages" / name).write_bytes(f"no image: {name}".encode())
    data = Folder(path=str(page_folder), on_bad_page=OnBadPage.skip, num_negatives=2).build()
    negatives = [data.train.documents.ids[page] for page in data.train.rows[0].negatives]
    assert negatives == ["p03", "p05"]
    assert data.skipped_pages == ["p01", "p02", "p04"]
