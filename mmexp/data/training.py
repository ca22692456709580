"""Examples: rows of indices in the columns that a loss takes, resolved when the library asks for a batch.

Nothing but indices and labels is stored. The cells of a batch are read when the batch is asked for, which is in a data
loader's worker process.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mmexp.data.cells import Cells

if TYPE_CHECKING:
    from datasets import Dataset

# Under these names the library looks for labels; their cells are values, not indices.
LABEL_COLUMNS = ("label", "labels")

Labels = Callable[[dict[str, list[Any]]], list[Any]]


@dataclass
class Examples:
    """What a loss is trained on, in one direction. The library orders roles by the position of their columns."""

    columns: dict[str, list[Any]]
    """Indices into `queries` (column query) and `documents` (the others), and labels as they are."""

    queries: Cells
    documents: Cells
    direction: str

    labels: Labels | None = None
    """Labels that are made for a batch from its indices, for those too large to be a column."""

    def __len__(self) -> int:
        return len(self.columns["query"])

    @property
    def rows(self) -> list[tuple[int, ...]]:
        """(query, document, ...) of every example."""
        return list(zip(*(values for name, values in self.columns.items() if name not in LABEL_COLUMNS), strict=True))

    def dataset(self) -> Dataset:
        """The examples as a lazily resolved `datasets.Dataset`."""
        from datasets import Dataset

        dataset = Dataset.from_dict(self.columns)
        dataset.set_transform(Resolve(self.queries, self.documents, self.labels))
        return dataset


class Resolve:
    """Turns a batch of indices, or of lists of indices, into a batch of cells, column by column."""

    def __init__(self, queries: Cells, documents: Cells, labels: Labels | None = None) -> None:
        self.queries = queries
        self.documents = documents
        self.labels = labels

    def __reduce__(self) -> tuple[Any, ...]:
        # datasets hashes a transform with a pickler in Python, which takes a second over the ids of 10,000 rows.
        return _unpickled, (pickle.dumps((self.queries, self.documents, self.labels)),)

    def __call__(self, batch: dict[str, list[Any]]) -> dict[str, list[Any]]:
        cells = {column: self._resolve(column, values) for column, values in batch.items()}
        return cells if self.labels is None else {**cells, "label": self.labels(batch)}

    def _resolve(self, column: str, values: list[Any]) -> list[Any]:
        if column in LABEL_COLUMNS:
            return values
        cells = self.queries if column == "query" else self.documents
        return [[cells[i] for i in value] if isinstance(value, list) else cells[value] for value in values]


def _unpickled(arguments: bytes) -> Resolve:
    return Resolve(*pickle.loads(arguments))
