"""Small pictures of the pages that a run was evaluated on, read from its data by their ids."""

from __future__ import annotations

import base64
import contextlib
import io
import os
import sys
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING
from unittest.mock import patch

from omegaconf.errors import OmegaConfBaseException

from mmexp.composition import thaw
from mmexp.data.cells import text_of
from mmexp.schema import ConfigError

if TYPE_CHECKING:
    from mmexp.compare.runs import Run
    from mmexp.data.splits import Split

SIZE = (240, 320)
"""Pixels that a thumbnail is within."""

CANNOT_BE_READ = (ConfigError, OmegaConfBaseException, ImportError, OSError)


class Thumbnails:
    """Pages as data URIs. Each is decoded once, when it is first asked for."""

    def __init__(self, split: Split | None, problem: str | None = None) -> None:
        """`problem` says why there is no split."""
        self.problem = problem
        self._documents = split.documents if split is not None else None
        self._place = {id_: n for n, id_ in enumerate(split.documents.ids)} if split is not None else {}
        self._made: dict[str, str | None] = {}

    @classmethod
    def of(cls, run: Run, texts: Mapping[str, str | None]) -> Thumbnails:
        """The pages of the evaluation data of a run, as it can be read today.

        None where that is other data: `texts` are queries as they were, {query id: text}.
        """
        try:
            split = evaluation_data(run)
        except CANNOT_BE_READ as error:
            return cls(None, " ".join(str(error).split()))
        if not has_queries(split, texts):
            return cls(None, "the data holds other queries today than those that the run was evaluated on.")
        return cls(split)

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
        except CANNOT_BE_READ:
            return None


def evaluation_data(run: Run) -> Split:
    """Queries and pages of the evaluation data. Decodes none, and asks no network: what the Hub holds must be cached.

    Raises what reading the data raises, one of `CANNOT_BE_READ`.
    """
    composition = thaw(run.run_dir)
    if composition.experiment.benchmark is not None:
        raise ConfigError("pages of a benchmark are not shown.")
    with without_hub(), contextlib.chdir(composition.working_directory):
        train, evaluation = composition.experiment.data.read()
    return train if evaluation is None else evaluation


@contextlib.contextmanager
def without_hub() -> Iterator[None]:
    """The Hub's libraries read the variable when they are imported, which is here, where the data needs them, or was
    before."""
    with contextlib.ExitStack() as patches:
        patches.enter_context(patch.dict(os.environ, HF_HUB_OFFLINE="1"))
        for name in ("huggingface_hub.constants", "datasets.config"):
            if name in sys.modules:
                patches.enter_context(patch.object(sys.modules[name], "HF_HUB_OFFLINE", True))
        yield


def has_queries(split: Split, texts: Mapping[str, str | None]) -> bool:
    """Whether the split asks these queries, {query id: text}; those without a text are not looked at."""
    place = {id_: n for n, id_ in enumerate(split.queries.ids)}
    return all(
        query in place and text_of(split.queries[place[query]]) == text
        for query, text in texts.items()
        if text is not None
    )


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
