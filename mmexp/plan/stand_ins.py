"""Rows and teachers in the place of those that cannot be read without a network, or without weights."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch

from mmexp.data.cells import Cells, Values
from mmexp.data.splits import RetrievalData, Row, Split
from mmexp.models.facts import A4_AT_200_DPI

if TYPE_CHECKING:
    from PIL.Image import Image

    from mmexp.data.training import Examples
    from mmexp.losses.taught import Taught

QUERY = "what does the report say about the growth of revenue in the third quarter of the year"


class BlankPages(Cells):
    """Blank A4 pages, scanned at 200 dpi."""

    def __init__(self, count: int) -> None:
        self.ids: Sequence[str] = range(count)  # type: ignore[assignment]

    def __getitem__(self, index: int) -> Image:
        from PIL import Image

        return Image.new("RGB", A4_AT_200_DPI, "white")

    def encoded(self, index: int) -> bytes:
        return str(index).encode()


def stand_in_data(num_rows: int, num_negatives: int) -> RetrievalData:
    """So many rows, no two of which share a query or a page; the evaluation is one of them."""
    width = 1 + num_negatives
    documents = BlankPages(num_rows * width)
    queries = Values(range(num_rows), [QUERY] * num_rows)  # type: ignore[arg-type]
    rows = [Row(n, n * width, [n * width + 1 + k for k in range(num_negatives)]) for n in range(num_rows)]
    return RetrievalData(Split(queries, documents, rows), Split(queries, documents, rows[:1]))


class StandInTeacher:
    """Takes the place of `teacher.Teacher`: labels of the right shape, all zero."""

    def __init__(self, loss: Taught, student_dimension: int | None) -> None:
        self.student_dimension = student_dimension
        self.dimension = loss.teacher_model.embedding_dimension() or student_dimension or 1

    def embeddings(self, examples: Examples, num_axes: int = 2) -> StandInEmbeddings:
        """As labels of `num_axes` axes: (columns, ..., dimension)."""
        shape = (len(examples.columns), *[1] * (num_axes - 2), self.dimension)
        return StandInEmbeddings(shape)

    def scores(self, examples: Examples) -> list[list[float]]:
        """One for every (query, document) of each example."""
        return [[0.0] * (len(row) - 1) for row in examples.rows]


class StandInEmbeddings:
    """The labels of any batch."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        self.shape = shape
        self.dimension = shape[-1]

    def __call__(self, batch: dict[str, list[Any]]) -> list[torch.Tensor]:
        return [torch.zeros(self.shape) for _ in batch["query"]]
