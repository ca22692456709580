"""Pages that cannot be decoded, or are not there: named, or left out."""

import os
import time

import pypdfium2

from mmexp.data.folder import FolderPages
from mmexp.data.splits import bad_pages


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
