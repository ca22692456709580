"""The data of tasks of mteb as splits: every distinct document once, in however many languages it is asked for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mmexp.data.cells import Cells, Joined
from mmexp.data.splits import RetrievalData, Row, Split

if TYPE_CHECKING:
    from mteb.abstasks.retrieval import AbsTaskRetrieval


@dataclass(kw_only=True)
class TaskSplit(Split):
    """A task, with the queries and documents of all its splits and languages."""

    task: AbsTaskRetrieval
    places: dict[tuple[str, str, str], dict[str, int]]
    """{(split, subset, "query" or "document"): {mteb's id: its place among the embeddings of the evaluator}}."""

    distinct: list[int]
    """The documents that differ from all before them."""

    @property
    def name(self) -> str:
        return self.task.metadata.name

    @property
    def relevant(self) -> dict[int, set[int]]:
        """As of any split; empty for a query that nothing answers, which mteb asks all the same."""
        return {query: set() for query in range(len(self.queries))} | super().relevant

    @property
    def corpus(self) -> list[int]:
        return self.distinct


@dataclass(kw_only=True)
class BenchmarkSplit(Split):
    """All tasks of a benchmark, as one split and each by itself."""

    tasks: list[TaskSplit]

    @property
    def samples(self) -> list[Row]:
        """The first row of every task."""
        return [self.rows[sum(len(before.rows) for before in self.tasks[:n])] for n in range(len(self.tasks))]

    @property
    def corpus(self) -> list[int]:
        starts = self.starts([task.documents for task in self.tasks])
        return [start + document for start, task in zip(starts, self.tasks, strict=True) for document in task.corpus]

    @staticmethod
    def starts(parts: Sequence[Cells]) -> list[int]:
        """Where each part begins in all of them together."""
        return [sum(map(len, parts[:n])) for n in range(len(parts))]

    @classmethod
    def of(cls, tasks: list[TaskSplit]) -> BenchmarkSplit:
        queries, documents = [task.queries for task in tasks], [task.documents for task in tasks]
        rows = [
            Row(row.query + first_query, row.positive + first_document, [], row.label, row.relevant)
            for task, first_query, first_document in zip(tasks, cls.starts(queries), cls.starts(documents), strict=True)
            for row in task.rows
        ]
        return cls(Joined(queries), Joined(documents), rows, tasks=tasks)


@dataclass
class BenchmarkData(RetrievalData):
    """What takes the place of the experiment's `data`."""

    def fingerprint(self, as_decoded: bool = False) -> str:
        """Changes with a grade of relevance, too."""
        import xxhash

        grades = [row.label for row in self.evaluation.rows]
        return xxhash.xxh3_64_hexdigest(f"{super().fingerprint(as_decoded)} {grades}".encode())
