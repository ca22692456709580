"""A split as a reranker sees it: in a direction, with documents to tell the positive from, as pairs or as lists."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Any

from mmexp.data.cells import Cells
from mmexp.data.splits import Split
from mmexp.data.training import Resolve

if TYPE_CHECKING:
    from datasets import Dataset


class Direction(Enum):
    """What is asked, and what is ranked: the data's queries and documents, or the other way round."""

    text_to_image = "text_to_image"
    image_to_text = "image_to_text"
    text_to_text = "text_to_text"


@dataclass
class Example:
    """A query with one document that answers it and some that do not, as indices."""

    query: int
    positive: int
    negatives: list[int]


@dataclass
class Judged:
    """One direction of a split: what asks, what is ranked, and which documents answer which query."""

    queries: Cells
    documents: Cells
    relevant: dict[int, set[int]]
    """For every query, the documents that answer it."""

    examples: list[Example]
    """(query, positive, hard negatives), a row each."""

    pool: list[int]
    """The documents that negatives are drawn from, in the order of the rows."""

    def sample_negatives(self, query: int, count: int, generator: random.Random, besides: list[int]) -> list[int]:
        """Draw `count` documents of the pool that do not answer the query and are not among `besides`.

        All that there are, where there are fewer. A page that occurs twice is one document, so none of these is the
        positive's duplicate.
        """
        excluded = self.relevant[query].union(besides)
        drawn = generator.sample(self.pool, min(len(self.pool), count + len(excluded)))
        return [document for document in drawn if document not in excluded][:count]


def judged(split: Split, direction: Direction) -> Judged:
    """`split` in a direction. Hard negatives are documents, so `image_to_text`, which ranks queries, has none."""
    if direction is not Direction.image_to_text:
        examples = [Example(row.query, row.positive, row.negatives) for row in split.rows]
        return Judged(split.queries, split.documents, split.relevant, examples, split.corpus)
    asked: dict[int, set[int]] = {}
    for row in split.rows:
        asked.setdefault(row.positive, set()).add(row.query)
    examples = [Example(row.positive, row.query, []) for row in split.rows]
    return Judged(split.documents, split.queries, asked, examples, list(split.relevant))


class Rows(Enum):
    """The form in which a loss takes its examples."""

    pairs = "pairs"
    """(query, document, label of 1 or 0), a row for every pair."""

    lists = "lists"
    """(query, documents, labels), a row for every positive."""

    columns = "columns"
    """(query, positive, negative_0, ..., negative_{n-1}), a row for every positive."""


def reranking_columns(split: Split, direction: Direction, rows: Rows, num_sampled: int, seed: int) -> Dataset:
    """The examples of one direction as a lazily resolved data set, each with `num_sampled` negatives drawn by `seed`.

    Only indices are stored: a page that is drawn a hundred times is in memory no more often than one that is not.
    """
    from datasets import Dataset

    view = judged(split, direction)
    generator = random.Random(f"{seed} {direction.value}")
    examples = [
        Example(
            example.query,
            example.positive,
            example.negatives + view.sample_negatives(example.query, num_sampled, generator, besides=example.negatives),
        )
        for example in view.examples
    ]
    dataset = Dataset.from_dict(COLUMNS[rows](examples))
    dataset.set_transform(Resolve(view.queries, view.documents))
    return dataset


def _pairs(examples: list[Example]) -> dict[str, list[Any]]:
    rows = [
        (example.query, document, int(n == 0))
        for example in examples
        for n, document in enumerate([example.positive, *example.negatives])
    ]
    query, document, label = (list(column) for column in zip(*rows, strict=True))
    return {"query": query, "document": document, "label": label}


def _lists(examples: list[Example]) -> dict[str, list[Any]]:
    return {
        "query": [example.query for example in examples],
        "documents": [[example.positive, *example.negatives] for example in examples],
        "labels": [[1, *(0 for _ in example.negatives)] for example in examples],
    }


def _columns(examples: list[Example]) -> dict[str, list[Any]]:
    count = min(len(example.negatives) for example in examples)
    return {
        "query": [example.query for example in examples],
        "positive": [example.positive for example in examples],
        **{f"negative_{n}": [example.negatives[n] for example in examples] for n in range(count)},
    }


COLUMNS: dict[Rows, Callable[[list[Example]], dict[str, list[Any]]]] = {
    Rows.pairs: _pairs,
    Rows.lists: _lists,
    Rows.columns: _columns,
}
