"""Evaluation on a benchmark, task by task: encoded as any evaluation here, searched and scored by mteb."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from mmexp.benchmark.embedded import Embedded
from mmexp.benchmark.scoring import TaskScores, score, weighted_rows, write_scores
from mmexp.benchmark.splits import TaskSplit
from mmexp.evaluation.evaluate import Evaluator
from mmexp.evaluation.metrics import PRIMARY_METRIC
from mmexp.evaluation.model_evaluator import ModelEvaluator, OutputEvaluator, Phase
from mmexp.evaluation.report import Metrics, Report
from mmexp.statistics.strata import Strata

if TYPE_CHECKING:
    from mmexp.evaluation.output_cache import OutputCache

log = logging.getLogger(__name__)


@dataclass
class TaskReport(Report):
    """mteb's scores, by task."""

    part = "task"
    shown = ("ndcg@5", "main_score")

    metrics: dict[str, Metrics]
    """`main_score` is what mteb's leaderboard shows of the task."""

    scores: list[TaskScores]

    def values(self, part: str, metric: str) -> np.ndarray | None:
        """None for a task of several languages too, whose mean is one over languages."""
        rows = self.scores[list(self.metrics).index(part)].per_query
        languages = {(row["split"], row["subset"]) for row in rows}
        return np.array([row[metric] for row in rows]) if len(languages) == 1 else None

    def sample(self, metric: str) -> tuple[np.ndarray, Strata] | None:
        """Tasks and their languages are strata. None where mteb has the metric of the whole alone."""
        rows = weighted_rows(self.scores)
        if not all(metric in row for row in rows):
            return None
        names = [(row["task"], row["split"], row["subset"]) for row in rows]
        place = {name: n for n, name in enumerate(dict.fromkeys(names))}
        strata = Strata.of(np.array([place[name] for name in names]), np.array([row["weight"] for row in rows]))
        return np.array([row[metric] for row in rows]), strata

    @property
    def full(self) -> Metrics:
        """The mean over tasks."""
        tasks = list(self.metrics.values())
        names = [name for name in tasks[0] if all(name in task for task in tasks)]
        return {name: float(np.mean([task[name] for task in tasks])) for name in names}


class TaskEvaluator(OutputEvaluator[TaskReport]):
    """One task. Its queries and documents are encoded by `retriever`, whatever the kind of embedder."""

    outputs = "embeddings"

    def __init__(self, split: TaskSplit, retriever: Evaluator) -> None:
        super().__init__(retriever.encoder, retriever.phase)
        self.split = split
        self.retriever = retriever
        self.queries, self.corpus = retriever.queries, retriever.corpus

    @property
    def num_pages(self) -> int:
        return len(self.corpus)

    @staticmethod
    def flat(report: TaskReport) -> dict[str, float]:
        return dict(report.full)

    def key_parts(self, model: Any) -> dict[str, Any]:
        return {**self.retriever.key_parts(model), "task": self.split.name}

    def compute(self, model: Any) -> dict[str, torch.Tensor]:
        return self.retriever.compute(model)

    def report(self, model: Any, computed: dict[str, torch.Tensor]) -> TaskReport:
        retriever = self.retriever
        queries, documents = (
            retriever.vectors(computed, side, retriever.dims[-1]) for side in ("queries", "documents")
        )
        scores = score(self.split, Embedded(self.split, queries, documents, retriever.similarity(model)))
        return TaskReport({self.split.name: scores.metrics}, [scores])

    def write(self, report: TaskReport, file: Path) -> None:
        write_scores(report.scores, file)


class BenchmarkEvaluator(ModelEvaluator[TaskReport]):
    """All tasks, one after another. The outputs of each are cached by themselves: an interrupted run goes on with the
    next."""

    def __init__(self, tasks: list[TaskEvaluator], phase: Phase) -> None:
        super().__init__(tasks[0].encoder, phase)
        self.tasks = tasks
        self.queries = [(n, query) for n, task in enumerate(tasks) for query in task.queries]
        self.corpus = [(n, document) for n, task in enumerate(tasks) for document in task.corpus]

    def evaluate(self, model: Any, cache: OutputCache | None = None) -> TaskReport:
        report = TaskReport({}, [])
        for task in self.tasks:
            with self.phase(task.split.name):
                found = task.evaluate(model, cache)
            log.info("%s: %s %.4f", task.split.name, PRIMARY_METRIC, found.full[PRIMARY_METRIC])
            report = TaskReport({**report.metrics, **found.metrics}, [*report.scores, *found.scores])
        seconds = [task.seconds for task in self.tasks if task.seconds is not None]
        self.seconds = sum(seconds) if len(seconds) == len(self.tasks) else None
        return report

    @property
    def num_pages(self) -> int:
        return len(self.corpus)

    @staticmethod
    def flat(report: TaskReport) -> dict[str, float]:
        """The means, and the primary metric of each task."""
        return {**report.full, **{f"{PRIMARY_METRIC}_{name}": m[PRIMARY_METRIC] for name, m in report.metrics.items()}}

    def write(self, report: TaskReport, file: Path) -> None:
        write_scores(report.scores, file)
