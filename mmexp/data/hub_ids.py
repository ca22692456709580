"""A data set whose negatives are ids of other rows' pages, in one configuration per language."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from omegaconf import MISSING

from mmexp.data import Data
from mmexp.data.attributes import column_attributes, joined_attributes
from mmexp.data.cells import Cells, Joined
from mmexp.data.hub import ColumnCells, open_dataset, require_columns
from mmexp.data.splits import Row, Split
from mmexp.schema import ConfigError, schema

if TYPE_CHECKING:
    from datasets import Dataset


@schema("data", "hub_ids")
@dataclass
class HubIds(Data):
    """Rows (id, query, page, ids of negatives). A row without a query is a document only."""

    path: str = MISSING
    """A Hub data set, or a local copy of its repository."""

    revision: str | None = None
    """Commit, tag or branch of the Hub data set. null: its main branch."""

    languages: list[str] = field(default_factory=lambda: ["en"])
    """The configurations to use, trained on together. Negatives are looked up within a language."""

    split: str = "train"
    """Split of every configuration."""

    num_eval_queries: int = 300
    """How many queries to hold out for evaluation, by document, over all languages together."""

    id_column: str = "id"
    """Column with the page's id."""

    query_column: str = "query"
    """Column with the query, empty where the row is a document only."""

    page_column: str = "image"
    """Column with the page."""

    negatives_column: str = "negatives"
    """Column with the list of ids of the query's hard negatives."""

    def read(self) -> tuple[Split, None]:
        if not self.languages:
            raise ConfigError("data.languages is empty. Name at least one configuration, such as data.languages=[en].")
        return _join([self._language(language) for language in self.languages]), None

    def num_held_out(self, train: Split) -> int:
        return self.num_eval_queries

    @property
    def held_out_key(self) -> str:
        return "num_eval_queries"

    def _language(self, language: str) -> Split:
        dataset = open_dataset(self.path, language, self.split, self.revision)
        named = {key: getattr(self, key) for key in ("id_column", "query_column", "page_column", "negatives_column")}
        require_columns(dataset, named, self.path)
        index = dataset.select_columns([self.id_column, self.query_column, self.negatives_column])[:]
        ids = [str(id_) for id_ in index[self.id_column]]
        position: dict[str, int] = {}
        for row, id_ in enumerate(ids):
            position.setdefault(id_, row)
        asked = [row for row, query in enumerate(index[self.query_column]) if query]
        rows = [
            Row(
                query,
                position[ids[row]],
                self._positions(index[self.negatives_column][row], position, language, ids[row]),
            )
            for query, row in enumerate(asked)
        ]
        attributes = column_attributes(dataset, asked, besides=named.values())
        return Split(
            queries=ColumnCells(
                dataset,
                [(self.query_column, row) for row in asked],
                [f"{language}/{ids[row]}#{row}" for row in asked],
                self.media,
            ),
            documents=self._pages(dataset, language, ids),
            rows=rows,
            attributes={"language": [language] * len(asked), **attributes},
        )

    def _pages(self, dataset: Dataset, language: str, ids: list[str]) -> Cells:
        places = [(self.page_column, row) for row in range(len(ids))]
        return ColumnCells(dataset, places, [f"{language}/{id_}" for id_ in ids], self.media)

    def _positions(self, negatives: list | None, position: dict[str, int], language: str, row_id: str) -> list[int]:
        """Where the negatives' pages are. An id without a page is an error, not a shorter list."""
        try:
            return [position[str(id_)] for id_ in negatives or []]
        except KeyError as missing:
            raise ConfigError(
                f"{self.path} ({language}): row {row_id!r} names the negative {missing}, and no row of that language "
                f"has that id in its column {self.id_column!r}. Repair the data at data.path, or name the right "
                "data.id_column."
            ) from None


def _join(splits: list[Split]) -> Split:
    """One split over the cells of several."""
    rows: list[Row] = []
    num_queries = num_documents = 0
    for split in splits:
        rows += [
            Row(row.query + num_queries, row.positive + num_documents, [n + num_documents for n in row.negatives])
            for row in split.rows
        ]
        num_queries, num_documents = num_queries + len(split.queries), num_documents + len(split.documents)
    attributes = joined_attributes([s.attributes for s in splits], [len(s.queries) for s in splits])
    return Split(Joined([s.queries for s in splits]), Joined([s.documents for s in splits]), rows, attributes)
