"""Small pictures of the pages that a run was evaluated on, read from its data by their ids."""

from __future__ import annotations

import base64
import contextlib
import io
import os
from typing import TYPE_CHECKING

from omegaconf.errors import OmegaConfBaseException

from mmexp.composition import thaw
from mmexp.schema import ConfigError

if TYPE_CHECKING:
    from mmexp.compare.runs import Run
    from mmexp.data.cells import Cells

SIZE = (240, 320)
"""Pixels that a thumbnail is within."""


class Thumbnails:
    """Pages as data URIs. Each is decoded once, when it is first asked for."""

    def __init__(self, run: Run) -> None:
        self._made: dict[str, str | None] = {}
        self._documents: Cells | None = None
        self.problem: str | None = None
        """Why there are none."""
        try:
            self._documents = documents_of(run)
            self._place = {id_: n for n, id_ in enumerate(self._documents.ids)}
        except (ConfigError, OSError, ImportError, OmegaConfBaseException) as error:
            self.problem = " ".join(str(error).split())

    def __getitem__(self, page: str) -> str | None:
        """`data:image/jpeg;base64,...`. None: there is no such page, or no picture can be made of it."""
        if page not in self._made:
            self._made[page] = self._make(page)
        return self._made[page]

    def _make(self, page: str) -> str | None:
        if self._documents is None or page not in self._place:
            return None
        try:
            return thumbnail(self._documents[self._place[page]])
        except (ConfigError, OSError):
            return None


class NoThumbnails(Thumbnails):
    """Where the pages are not wanted."""

    def __init__(self) -> None:
        self._documents, self._made, self.problem = None, {}, "they were not asked for (--no-pages)."


def documents_of(run: Run) -> Cells:
    """The pages of the evaluation data of a run. Reads no page, and asks no network: what the Hub holds must be cached.

    Raises what reading the data raises.
    """
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    composition = thaw(run.run_dir)
    with contextlib.chdir(composition.working_directory):
        train, evaluation = composition.experiment.data.read(composition.experiment.seed)
    return (train if evaluation is None else evaluation).documents


def thumbnail(page: object) -> str | None:
    """A picture as a data URI. None for a text, a recording or a video."""
    from PIL import Image

    picture = page.get("image") if isinstance(page, dict) else page
    if not isinstance(picture, Image.Image):
        return None
    small = picture.convert("RGB")
    small.thumbnail(SIZE)
    stream = io.BytesIO()
    small.save(stream, "JPEG", quality=72)
    return f"data:image/jpeg;base64,{base64.b64encode(stream.getvalue()).decode()}"
