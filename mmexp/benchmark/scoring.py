"""mteb's scores of a task: over all under the names of our metrics, and by query."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mmexp.benchmark.embedded import Embedded
from mmexp.benchmark.splits import TaskSplit
from mmexp.data.cells import text_of
from mmexp.evaluation.model_evaluator import TOP_DOCUMENTS
from mmexp.evaluation.report import Metrics

if TYPE_CHECKING:
    from mteb.results import TaskResult

SCORE = re.compile(r"(ndcg|map|recall|precision|mrr|hit_rate)_at_(\d+)")
# As trec_eval names them, which mteb has the scores of every query from.
TREC = {"ndcg_cut": "ndcg", "map_cut": "map", "recall": "recall", "P": "precision", "success": "hit_rate"}


@dataclass
class TaskScores:
    """What mteb finds of one task."""

    result: TaskResult
    """In mteb's own form."""

    main_score: str
    """Which metric mteb's leaderboard shows of it."""

    per_query: list[dict[str, Any]]
    """A row per query, as in per_query/final.parquet."""

    @property
    def metrics(self) -> Metrics:
        """The mean over splits and languages, as mteb's own: `ndcg@10` and so on, and `main_score`, whichever it is."""
        parts = [self._of_part(split, scores) for split, of_split in self.result.scores.items() for scores in of_split]
        return {name: float(np.mean([part[name] for part in parts])) for name in parts[0]}

    def _of_part(self, split: str, scores: Mapping[str, Any]) -> Metrics:
        """The metrics of one language under our names, without what mteb has of their calibration.

        mteb rounds its means to five digits; where it has the scores of every query, they are taken anew.
        """
        rows = [row for row in self.per_query if (row["split"], row["subset"]) == (split, scores["hf_subset"])]
        metrics = {our_name(name): value for name, value in scores.items() if SCORE.fullmatch(name)}
        metrics |= {name: float(np.mean([row[name] for row in rows])) for name in metrics if name in rows[0]}
        return {"main_score": metrics.get(self.main_score, scores["main_score"]), **metrics}


def our_name(score: str) -> str:
    """`ndcg@10` for ndcg_at_10."""
    return score.replace("_at_", "@")


def score(split: TaskSplit, embedded: Embedded) -> TaskScores:
    """Have mteb search and score a task."""
    import mteb

    per_query: list[dict[str, Any]] = []
    task, specific_scores = split.task, split.task.task_specific_scores

    def keep(scores: Any, qrels: Any, results: Any, hf_split: str, hf_subset: str) -> dict[str, float]:
        texts = {id_: text_of(split.queries[n]) for id_, n in split.places[hf_split, hf_subset, "query"].items()}
        per_query.extend(
            {"task": split.name, **row} for row in rows_of(scores, qrels, results, texts, hf_split, hf_subset)
        )
        return specific_scores(scores, qrels, results, hf_split=hf_split, hf_subset=hf_subset)

    task.task_specific_scores = keep  # type: ignore[method-assign]
    [result] = mteb.evaluate(
        embedded,
        task,
        co2_tracker=False,  # else it starts one that asks the network where it is
        cache=None,  # it would find another model's results: runs have no name of their own there
        encode_kwargs={"batch_size": 32, "show_progress_bar": False},
        show_progress_bar=False,
    ).task_results
    result.evaluation_time = None  # of the search alone
    return TaskScores(result, our_name(task.metadata.main_score), per_query)


def rows_of(
    scores: dict[str, dict[str, float]],
    qrels: dict[str, dict[str, int]],
    results: dict[str, dict[str, float]],
    texts: dict[str, str | None],
    split: str,
    subset: str,
) -> list[dict[str, Any]]:
    """A row for each query of one language: its scores, the relevant documents, and the best with their scores."""
    rows = []
    for query, found in scores.items():
        best = sorted(results[query].items(), key=lambda item: item[1], reverse=True)[:TOP_DOCUMENTS]
        rows.append(
            {
                "query_id": f"{split}/{subset}/{query}",
                "query": texts[query],
                "split": split,
                "subset": subset,
                **{metric_name(name): value for name, value in found.items()},
                "relevant": sorted(document for document, grade in qrels[query].items() if grade > 0),
                "top": [document for document, _ in best],
                "top_scores": [value for _, value in best],
            }
        )
    return rows


def metric_name(name: str) -> str:
    """`ndcg@10` for ndcg_cut_10."""
    kind, _, cutoff = name.rpartition("_")
    return f"{TREC[kind]}@{cutoff}"


def write_scores(tasks: list[TaskScores], file: Path) -> None:
    """Write the rows of all queries as parquet, and mteb's results beside the folder of `file`, in mteb/."""
    import pyarrow as pa
    from pyarrow import parquet

    folder = file.parent.parent / "mteb"
    for path in (file.parent, folder):
        path.mkdir(parents=True, exist_ok=True)
    for task in tasks:
        task.result.to_disk(folder / f"{task.result.task_name}.json")
    parquet.write_table(pa.Table.from_pylist(weighted_rows(tasks)), file)


def weighted_rows(tasks: list[TaskScores]) -> list[dict[str, Any]]:
    """The rows of all queries with a `weight`, 1 on average: the mean over tasks of the means over their languages is
    that of `weight` times the score."""
    num_rows = sum(len(task.per_query) for task in tasks)
    rows = []
    for task in tasks:
        sizes = Counter((row["split"], row["subset"]) for row in task.per_query)
        rows += [
            {**row, "weight": num_rows / (len(tasks) * len(sizes) * sizes[row["split"], row["subset"]])}
            for row in task.per_query
        ]
    return rows
