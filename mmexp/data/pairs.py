"""A split as a loss sees it: in a direction, with documents to tell the positive from, in columns, pairs or lists."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import Enum
from typing import Any

from mmexp.data.cells import Cells
from mmexp.data.splits import Split
from mmexp.data.training import Examples


class Direction(Enum):
    """What is asked, and what is ranked: the data's queries and documents, or the other way round."""

    text_to_image = "text_to_image"
    image_to_text = "image_to_text"
    text_to_text = "text_to_text"


@dataclass
class Example:
    """A query with one document that answers it and some that do not, or with a label of the data, as indices."""

    query: int
    positive: int
    negatives: list[int]
    label: float | None = None


@dataclass
class Judged:
    """One direction of a split: what asks, what is ranked, and which documents answer which query."""

    queries: Cells
    documents: Cells
    relevant: dict[int, set[int]]
    """For every query that has an answer, the documents that answer it."""

    examples: list[Example]
    """(query, positive, hard negatives), a row each."""

    described: dict[int, dict[str, Any]]
    """{query: {attribute: value}}, of the queries that have an answer."""

    pool: list[int]
    """The documents that negatives are drawn from, in the order of the rows."""

    def sample_negatives(self, query: int, count: int, generator: random.Random, besides: list[int]) -> list[int]:
        """Draw `count` documents of the pool that do not answer the query and are not among `besides`.

        All that there are, where there are fewer. A page that occurs twice is one document, so none of these is the
        positive's duplicate.
        """
        excluded = self.relevant.get(query, set()).union(besides)
        drawn = generator.sample(self.pool, min(len(self.pool), count + len(excluded)))
        return [document for document in drawn if document not in excluded][:count]


def judged(split: Split, direction: Direction) -> Judged:
    """`split` in a direction. Hard negatives are documents, so `image_to_text`, which ranks queries, has none."""
    if direction is not Direction.image_to_text:
        examples = [Example(row.query, row.positive, row.negatives, row.label) for row in split.rows]
        described = split.described(lambda row: row.query)
        return Judged(split.queries, split.documents, split.relevant, examples, described, split.corpus)
    asked: dict[int, set[int]] = {}
    for row in split.rows:
        if row.relevant:
            asked.setdefault(row.positive, set()).add(row.query)
    examples = [Example(row.positive, row.query, [], row.label) for row in split.rows]
    described = split.described(lambda row: row.positive)
    return Judged(split.documents, split.queries, asked, examples, described, split.asked)


class Rows(Enum):
    """The form in which a loss takes its examples."""

    pairs = "pairs"
    """(query, document, label), a row for every pair: the data's label, or 1 for the positive and 0 for negatives."""

    lists = "lists"
    """(query, documents, labels), a row for every positive."""

    columns = "columns"
    """(query, positive, negative_0, ..., negative_{n-1}), a row for every positive."""


def training_examples(
    split: Split,
    rows: Rows = Rows.columns,
    direction: Direction = Direction.text_to_image,
    num_sampled: int = 0,
    seed: int = 0,
) -> Examples:
    """The examples of one direction, each with `num_sampled` negatives drawn by `seed` beside its hard ones.

    Only indices are stored: a page that is drawn a hundred times is in memory no more often than one that is not.
    """
    view = judged(split, direction)
    generator = random.Random(f"{seed} {direction.value}")
    examples = [
        replace(
            example,
            negatives=example.negatives
            + view.sample_negatives(example.query, num_sampled, generator, besides=example.negatives),
        )
        for example in view.examples
    ]
    return Examples(COLUMNS[rows](examples), view.queries, view.documents, direction.value)


def _pairs(examples: list[Example]) -> dict[str, list[Any]]:
    rows: list[tuple[int, int, float]] = []
    for example in examples:
        rows.append((example.query, example.positive, 1 if example.label is None else example.label))
        rows += [(example.query, negative, 0) for negative in example.negatives]
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
