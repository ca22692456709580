"""JPEG pages decoded at a fraction of their size."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from mmexp.data.cells import BadPage, Values
from mmexp.data.folder import Folder
from mmexp.data.reduced_jpeg import ReducedJpeg, decode_reduced
from tests.conftest import page, png


class Encoded(Values):
    """Cells that are files in memory, as memoryviews of signed bytes, which is how Arrow gives them."""

    def __getitem__(self, index):
        return Image.open(io.BytesIO(self.values[index]))

    def encoded(self, index):
        return memoryview(self.values[index]).cast("b")


def jpeg(size: tuple[int, int], **kwargs) -> bytes:
    buffer = io.BytesIO()
    page(1, size).save(buffer, "JPEG", quality=95, **kwargs)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("num_pixels", "size"),
    [
        (800 * 1000, (800, 1000)),
        (400 * 500, (400, 500)),
        (100 * 125, (100, 125)),
        (300 * 375, (400, 500)),
        (1, (100, 125)),
    ],
)
def test_the_smallest_size_with_enough_pixels_is_decoded(num_pixels, size):
    cells = ReducedJpeg(Encoded(["a"], [jpeg((800, 1000))]), num_pixels)
    assert cells[0].size == size
    assert cells[0].mode == "RGB"


def test_a_reduced_page_shows_what_the_resized_whole_shows():
    encoded = jpeg((800, 1000))
    whole = Image.open(io.BytesIO(encoded)).resize((400, 500), Image.Resampling.BOX)
    difference = np.asarray(decode_reduced(encoded, 400 * 500), float) - np.asarray(whole, float)
    assert np.abs(difference).mean() < 2  # of 255


def test_a_page_that_lies_on_its_side_is_turned():
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned by 90 degrees
    assert decode_reduced(jpeg((800, 1000), exif=exif), 400 * 500).size == (500, 400)


def test_other_formats_are_decoded_as_ever():
    assert ReducedJpeg(Encoded(["a"], [png(1)]), 1)[0].size == page(1).size


def test_a_corrupt_page_is_named():
    with pytest.raises(BadPage, match="page 'a' cannot be decoded"):
        ReducedJpeg(Encoded(["a"], [jpeg((800, 1000))[:3000]]), 10)[0]


def test_pages_of_a_folder_are_reduced_which_a_model_sees_and_a_comparison_does_not(page_folder):
    page(1, (800, 1000)).save(page_folder / "pages" / "p17.jpg", quality=95)
    data = [Folder(path=str(page_folder), jpeg_pixels=pixels).build() for pixels in (None, 200 * 250)]
    whole, reduced = (one.train for one in data)
    index = whole.documents.ids.index("p17")
    assert (whole.documents[index].size, reduced.documents[index].size) == ((800, 1000), (200, 250))
    assert whole.documents.digest(index) != reduced.documents.digest(index)
    assert whole.documents.stored_digest(index) == reduced.documents.stored_digest(index)
    for one in data:
        one.evaluation = one.train
    assert data[0].fingerprint() == data[1].fingerprint()
    assert data[0].fingerprint(as_decoded=True) != data[1].fingerprint(as_decoded=True)
