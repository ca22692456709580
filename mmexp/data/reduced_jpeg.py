"""Decoding JPEG pages at a fraction of their size, several times faster than decoding whole and resizing."""

from __future__ import annotations

import io
import math
from typing import TYPE_CHECKING, Any

from mmexp.data.cells import Cells, naming_page

if TYPE_CHECKING:
    from PIL.Image import Image

JPEG_START = b"\xff\xd8\xff"


class ReducedJpeg(Cells):
    """The same cells, whose JPEG pages are decoded at 1/2, 1/4 or 1/8 of their size where that is enough."""

    def __init__(self, cells: Cells, num_pixels: int) -> None:
        """`num_pixels` is what a decoded page has at least, as long as it has as many."""
        self.ids = cells.ids
        self.cells = cells
        self.num_pixels = num_pixels

    def __getitem__(self, index: int) -> Any:
        encoded = self.cells.encoded(index)
        if not is_jpeg(encoded):
            return self.cells[index]
        with naming_page(self.ids[index]):
            return decode_reduced(encoded, self.num_pixels)

    def encoded(self, index: int) -> bytes | memoryview:
        return self.cells.encoded(index)

    def size(self, index: int) -> int:
        return self.cells.size(index)

    def source(self, index: int) -> str:
        return self.cells.source(index)

    def decoding(self, index: int) -> str:
        whole = self.cells.decoding(index)
        return f"{whole}@{self.num_pixels}" if is_jpeg(self.cells.encoded(index)) else whole


def is_jpeg(encoded: bytes | memoryview) -> bool:
    """Whether a cell's bytes are those of a JPEG file."""
    return bytes(encoded[:3]) == JPEG_START


def decode_reduced(encoded: bytes | memoryview, num_pixels: int) -> Image:
    """The smallest of a JPEG's four sizes with at least `num_pixels`, upright, as RGB."""
    from PIL import Image, ImageOps

    with Image.open(io.BytesIO(encoded)) as image:
        scale = min(1.0, math.sqrt(num_pixels / (image.width * image.height)))
        image.draft("RGB", (math.ceil(image.width * scale), math.ceil(image.height * scale)))
        return ImageOps.exif_transpose(image).convert("RGB")
