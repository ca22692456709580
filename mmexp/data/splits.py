"""Rows and splits, and what all sources share: one document per page, hold-out by document, limits, bad pages."""

from __future__ import annotations

import logging
import os
import random
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

from mmexp.data.attributes import Attributes
from mmexp.data.cells import BadPage, Cells, first_of_each
from mmexp.schema import ConfigError

log = logging.getLogger(__name__)


@dataclass
class Row:
    """One example, as indices into its split's queries and documents."""

    query: int
    positive: int
    """The document that answers the query; one that does not, where `relevant` is false."""
    negatives: list[int]
    label: float | None = None
    """The data's own label or score of (query, positive)."""
    relevant: bool = True
    """Whether the document answers the query: where there are labels, they say so."""


@dataclass
class Split:
    """Rows over queries and documents. Splits of one source may share both lists."""

    queries: Cells
    documents: Cells
    rows: list[Row]
    attributes: Attributes = field(default_factory=dict)
    """What the data says of every query of `queries`: {name: values}. Results are broken down by it."""

    @property
    def relevant(self) -> dict[int, set[int]]:
        """For every query that has an answer, the documents that answer it: {query index: {document index}}."""
        relevant: dict[int, set[int]] = {}
        for row in self.rows:
            if row.relevant:
                relevant.setdefault(row.query, set()).add(row.positive)
        return relevant

    @property
    def samples(self) -> list[Row]:
        """A row of each sort that there is: what a model takes of them, it takes of all."""
        return self.rows[:1]

    @property
    def asked(self) -> list[int]:
        """The queries that the rows name, each once, in the order of the rows."""
        return list(dict.fromkeys(row.query for row in self.rows))

    @property
    def corpus(self) -> list[int]:
        """The documents that the rows name, positives first, then negatives, each once, in the order of the rows."""
        positives = [row.positive for row in self.rows]
        negatives = [negative for row in self.rows for negative in row.negatives]
        return list(dict.fromkeys(positives + negatives))

    def described(self, asking: Callable[[Row], int]) -> dict[int, dict[str, Any]]:
        """The attributes of every query that has an answer, and the `document` that the answer is a page of.

        `asking` says what asks in a row: its query, or the other way round its page.
        """
        found: dict[int, dict[str, Any]] = {}
        for row in self.rows:
            if row.relevant and asking(row) not in found:
                of_data = {name: values[row.query] for name, values in self.attributes.items()}
                found[asking(row)] = {"document": self.documents.source(row.positive)} | of_data
        return found


@dataclass
class RetrievalData:
    """What `Data.build` returns."""

    train: Split
    """Every row has exactly `num_negatives` negatives."""

    evaluation: Split
    """Every row has all of its negatives: its corpus is what the model searches."""

    skipped_pages: list[str] = field(default_factory=list)
    """Ids of pages that could not be decoded and were left out."""

    facts: dict[str, Any] = field(default_factory=dict)
    """More that result.json says of the data."""

    def fingerprint(self, as_decoded: bool = False) -> str:
        """16 hexadecimal digits that change when any query, page or relevance of the evaluation changes.

        Runs that decode the same pages in other ways are measured on the same data. `as_decoded` tells these apart,
        too: a model computes something else of them.
        """
        import xxhash

        split = self.evaluation
        content = xxhash.xxh3_64()
        for query, relevant in split.relevant.items():
            answers = sorted(split.documents.ids[document] for document in relevant)
            content.update(f"{split.queries.digest(query)} {answers}\n".encode())
        for id_, stored, decoding in self._pages:
            content.update(f"{id_} {stored}{decoding if as_decoded else ''}\n".encode())
        return content.hexdigest()

    @cached_property
    def _pages(self) -> list[tuple[str, str, str]]:
        """The id of every document of the evaluation, and both parts of its digest: each is read once."""
        documents = self.evaluation.documents
        return [(documents.ids[n], documents.stored_digest(n), documents.decoding(n)) for n in self.evaluation.corpus]


def merge_duplicates(split: Split) -> Split:
    """Make a page that occurs twice one document, and a query that is asked twice one query.

    A row's negatives lose what is its query's positive, here or in another row, and what they hold twice.
    """
    documents = first_of_each(split.documents, split.corpus)
    queries = first_of_each(split.queries, split.asked)
    rows = [
        replace(
            row,
            query=queries[row.query],
            positive=documents[row.positive],
            negatives=list(dict.fromkeys(documents[negative] for negative in row.negatives)),
        )
        for row in split.rows
    ]
    merged = replace(split, rows=rows)
    relevant = merged.relevant
    for row in rows:
        row.negatives = [negative for negative in row.negatives if negative not in relevant.get(row.query, ())]
    return merged


def check_share(eval_fraction: float) -> None:
    """Raise `ConfigError` unless `data.eval_fraction` is a share."""
    if not 0 < eval_fraction < 1:
        raise ConfigError(f"data.eval_fraction={eval_fraction} is not between 0 and 1. Use a share such as 0.1.")


def share_of_queries(eval_fraction: float, split: Split) -> int:
    """How many queries a share of the split is; at least one."""
    return max(1, round(eval_fraction * len(split.relevant)))


def hold_out_documents(split: Split, num_queries: int, seed: int) -> tuple[Split, Split]:
    """Split by document into (train, evaluation): no page that answers an evaluation query is seen in training.

    Documents are drawn in a random order until `num_queries` queries are held out: all queries of a page go together,
    and with a query all pages that answer it and those that its labels say do not. Pages that share a query are drawn
    one after the other, so that few training rows lose their page to the evaluation. Held-out pages are also taken out
    of the negatives of the training rows.
    """
    relevant = split.relevant
    asking: dict[int, set[int]] = {}
    for row in split.rows:
        if row.relevant:
            asking.setdefault(row.positive, set()).add(row.query)
    documents = list(asking)
    random.Random(seed).shuffle(documents)
    documents.reverse()
    queries: set[int] = set()
    while documents and len(queries) < num_queries:
        drawn = asking[documents.pop()] - queries
        queries |= drawn
        documents += sorted({page for query in drawn for page in relevant[query]})
    held_out = {page for query in queries for page in relevant[query]}
    evaluation = [row for row in split.rows if row.query in queries]
    train = [
        replace(row, negatives=[negative for negative in row.negatives if negative not in held_out])
        for row in split.rows
        if row.positive not in held_out and row.query not in queries
    ]
    if lost := len(split.rows) - len(evaluation) - len(train):
        log.warning("%d training rows are left out: their page answers a query that is held out", lost)
    return replace(split, rows=train), replace(split, rows=evaluation)


def finish_splits(
    train: Split,
    evaluation: Split,
    *,
    num_negatives: int,
    max_train_rows: int | None,
    max_eval_queries: int | None,
    check_train_pages: bool,
    check_eval_pages: bool,
    skip_bad_pages: bool,
) -> RetrievalData:
    """Apply what `Data` says to the splits of any source."""
    if max_eval_queries is not None:
        queries = set(list(evaluation.relevant)[:max_eval_queries])
        evaluation = replace(evaluation, rows=[row for row in evaluation.rows if row.query in queries])
    skipped: set[str] = set()
    if check_train_pages:
        train, bad = without_bad_pages(train, num_negatives, skip_bad_pages)
        skipped |= bad
    if check_eval_pages:
        evaluation, bad = without_bad_pages(evaluation, None, skip_bad_pages)
        skipped |= bad
    train = with_num_negatives(train, num_negatives)
    train = replace(train, rows=train.rows[:max_train_rows])
    if not evaluation.relevant:
        raise ConfigError(
            "the evaluation split has no query with a page that answers it. Check data.path and its evaluation rows."
        )
    return RetrievalData(train, evaluation, sorted(skipped))


def with_num_negatives(split: Split, num_negatives: int) -> Split:
    """Cut every row's negatives to `num_negatives`; rows that have fewer are left out, and counted in a warning."""
    most = max((len(row.negatives) for row in split.rows), default=num_negatives)
    if num_negatives > most:
        raise ConfigError(
            f"data.num_negatives={num_negatives} is more than the data has. Use data.num_negatives={most} or less."
        )
    rows = [
        replace(row, negatives=row.negatives[:num_negatives])
        for row in split.rows
        if len(row.negatives) >= num_negatives
    ]
    if short := len(split.rows) - len(rows):
        log.warning(
            "%d of %d training rows have fewer than data.num_negatives=%d negatives and are left out",
            short,
            len(split.rows),
            num_negatives,
        )
    return replace(split, rows=rows)


def without_bad_pages(split: Split, num_negatives: int | None, skip: bool) -> tuple[Split, set[str]]:
    """Decode every page that the rows need once; drop what needs a bad one, or raise `BadPage` where not `skip`."""
    checked: set[int] = set()
    skipped: set[str] = set()
    while needed := [page for page in _needed_pages(split, num_negatives) if page not in checked]:
        bad = bad_pages(split.documents, needed)
        if bad and not skip:
            raise next(iter(bad.values()))
        for error in bad.values():
            log.warning("left out: %s", error)
        rows = [
            replace(row, negatives=[negative for negative in row.negatives if negative not in bad])
            for row in split.rows
            if row.positive not in bad
        ]
        split = replace(split, rows=rows)  # in the place of a bad negative there may be one that is not checked yet
        checked.update(needed)
        skipped.update(error.page for error in bad.values())
    return split, skipped


def _needed_pages(split: Split, num_negatives: int | None) -> Iterable[int]:
    return dict.fromkeys(page for row in split.rows for page in (row.positive, *row.negatives[:num_negatives]))


def bad_pages(documents: Cells, indices: Iterable[int]) -> dict[int, BadPage]:
    """The documents that cannot be decoded, found with one thread per core (decoders release the interpreter)."""

    def check(index: int) -> BadPage | None:
        try:
            documents[index]
        except BadPage as error:
            return error
        return None

    indices = list(indices)
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return {index: error for index, error in zip(indices, pool.map(check, indices), strict=True) if error}
