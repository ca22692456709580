"""A data set with its pages in columns: query, image, negative_0 ... negative_n."""

from __future__ import annotations

import logging
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from omegaconf import MISSING

from mmexp.data import Data
from mmexp.data.attributes import column_attributes
from mmexp.data.hub import ColumnCells, empty_rows, open_dataset, require_columns, text_ids
from mmexp.data.splits import Row, Split, check_share, share_of_queries
from mmexp.schema import ConfigError, schema

if TYPE_CHECKING:
    from datasets import Dataset

log = logging.getLogger(__name__)


@schema("data", "hub_columns")
@dataclass
class HubColumns(Data):
    """One row per query, with its pages beside it. Rows without a query, and negatives that are null, are left out."""

    path: str = MISSING
    """A Hub data set, or a local folder: parquet, imagefolder, arrow, or a copy of a Hub repository."""

    revision: str | None = None
    """Commit, tag or branch of the Hub data set. null: its main branch."""

    train_config: str | None = None
    """Configuration ("subset") of the training rows."""

    train_split: str = "train"
    """Split of the training rows."""

    eval_config: str | None = None
    """Configuration of the evaluation rows."""

    eval_split: str | None = None
    """Split of the evaluation rows. null: `num_eval_queries` are held out of the training rows, by document."""

    num_eval_queries: int = 300
    """How many queries to hold out where there is no evaluation split."""

    eval_fraction: float | None = None
    """Instead of num_eval_queries: the share of the queries to hold out."""

    query_column: str = "query"
    """Column with the query."""

    positive_column: str = "image"
    """Column with the page that answers it; or with the text, recording or video."""

    negative_columns: str = "negative_{}"
    """Pattern of the columns with hard negatives, numbered from 0, as many as the data set has."""

    label_column: str | None = None
    """Column with a label (0 or 1) or a score of (query, page), for losses that take one, such as contrastive,
    binary_cross_entropy and cosent. Rows are pairs then, without negatives."""

    relevant_label: float = 0.5
    """In evaluation, a page answers its query where its label is at least this."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.eval_fraction is not None:
            check_share(self.eval_fraction)

    @property
    def labels_from(self) -> str | None:
        return self.label_column

    def read(self) -> tuple[Split, Split | None]:
        train = self._split("train", self.train_config, self.train_split)
        return train, self._split("eval", self.eval_config, self.eval_split) if self.eval_split else None

    def num_held_out(self, train: Split) -> int:
        if self.eval_fraction is None:
            return self.num_eval_queries
        return share_of_queries(self.eval_fraction, train)

    @property
    def held_out_key(self) -> str:
        return "num_eval_queries" if self.eval_fraction is None else "eval_fraction"

    def _split(self, name: str, config: str | None, split: str) -> Split:
        dataset = open_dataset(self.path, config, split, self.revision)
        named = {"query_column": self.query_column, "positive_column": self.positive_column}
        if self.label_column is not None:
            named["label_column"] = self.label_column
        require_columns(dataset, named, self.path)
        num_rows = len(dataset)
        places, negatives = self._places_of_pages(dataset)
        documents = ColumnCells(dataset, places, [f"{name}/{row}/{column}" for column, row in places], self.media)
        query_places = [(self.query_column, row) for row in range(num_rows)]
        queries = ColumnCells(dataset, query_places, text_ids(name, range(num_rows)), self.media)
        rows = [Row(row, row, negatives[row]) for row in range(num_rows) if not queries.is_empty(row)]
        if len(rows) < num_rows:
            log.warning("%d of %d rows (%s) have no query and are left out", num_rows - len(rows), num_rows, name)
        if self.label_column is not None:
            labels = dataset.select_columns([self.label_column])[:][self.label_column]
            for row in rows:
                row.label = self._number(labels[row.query], f"row {row.query} of {self.path} ({name})")
                row.relevant = row.label >= self.relevant_label
        return Split(queries, documents, rows, column_attributes(dataset, range(num_rows), named.values()))

    def _places_of_pages(self, dataset: Dataset) -> tuple[list[tuple[str, int]], list[list[int]]]:
        """(column, row) of every row's positive, then of all negatives; and which of those are the negatives of a row.

        A negative that is null has no place.
        """
        places = [(self.positive_column, row) for row in range(len(dataset))]
        negatives: list[list[int]] = [[] for _ in range(len(dataset))]
        for column in self._negative_columns(dataset):
            empty = empty_rows(dataset, column)
            for row in range(len(dataset)):
                if row not in empty:
                    negatives[row].append(len(places))
                    places.append((column, row))
        return places, negatives

    def _number(self, label: object, where: str) -> float:
        if not isinstance(label, int | float) or math.isnan(label):
            raise ConfigError(
                f"{where} has the label {label!r} in data.label_column={self.label_column}, which is no number. Repair "
                "it, or name another column."
            )
        return float(label)

    def _negative_columns(self, dataset: Dataset) -> list[str]:
        columns: list[str] = []
        while (column := self.negative_columns.format(len(columns))) in dataset.column_names:
            columns.append(column)
        return columns
