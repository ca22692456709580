"""A split as the columns that the library trains on: query, positive, negative_0 ... negative_{n-1}[, label].

The data set holds nothing but indices. Its transform reads the cells of a batch when the batch is asked for,
which is in a data loader's worker process.
"""

from __future__ import annotations

import pickle
from typing import TYPE_CHECKING, Any

from mmexp.data.cells import Cells
from mmexp.data.splits import Split

if TYPE_CHECKING:
    from datasets import Dataset

# Under these names the library looks for labels; their cells are values, not indices.
LABEL_COLUMNS = ("label", "labels")


def training_columns(split: Split) -> Dataset:
    """The split's rows as a lazily resolved `datasets.Dataset`. All rows have the same number of negatives.

    The library orders roles by column position, so the columns are in the order of their roles whatever the
    source calls them; a label, where the rows have one, is last and under the name the library looks for.
    """
    from datasets import Dataset

    num_negatives = len(split.rows[0].negatives)
    columns: dict[str, list[Any]] = {
        "query": [row.query for row in split.rows],
        "positive": [row.positive for row in split.rows],
        **{f"negative_{n}": [row.negatives[n] for row in split.rows] for n in range(num_negatives)},
    }
    if split.rows[0].label is not None:
        columns["label"] = [row.label for row in split.rows]
    dataset = Dataset.from_dict(columns)
    dataset.set_transform(Resolve(split.queries, split.documents))
    return dataset


class Resolve:
    """Turns a batch of indices, or of lists of indices, into a batch of cells, column by column."""

    def __init__(self, queries: Cells, documents: Cells) -> None:
        self.queries = queries
        self.documents = documents

    def __reduce__(self) -> tuple[Any, ...]:
        # datasets hashes a transform with a pickler in Python, which takes a second over the ids of 10,000 rows.
        return _unpickled, (pickle.dumps((self.queries, self.documents)),)

    def __call__(self, batch: dict[str, list[Any]]) -> dict[str, list[Any]]:
        return {column: self._resolve(column, values) for column, values in batch.items()}

    def _resolve(self, column: str, values: list[Any]) -> list[Any]:
        if column in LABEL_COLUMNS:
            return values
        cells = self.queries if column == "query" else self.documents
        return [[cells[i] for i in value] if isinstance(value, list) else cells[value] for value in values]


def _unpickled(cells: bytes) -> Resolve:
    return Resolve(*pickle.loads(cells))
