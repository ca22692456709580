"""Run folders as a comparison reads them: what became of each run, and the scores of its queries."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Scores:
    """One metric of one evaluation, query by query."""

    query_ids: tuple[str, ...]
    """Of a reranker "direction/query_id". Runs with the same queries share one tuple."""

    values: np.ndarray
    """float64 (queries,), each between 0 and 1."""

    weights: np.ndarray
    """float64 (queries,), 1 on average: `(values * weights).mean()` is what result.json says. All 1 but for a reranker
    with directions of different sizes, whose mean is the mean over directions."""

    @property
    def weighted(self) -> np.ndarray:
        """What statistics are computed from: float64 (queries,)."""
        return self.values * self.weights


@dataclass(eq=False)
class Run:
    """One run folder."""

    run_dir: Path
    name: str
    """Short, and unique among the runs that are compared."""

    status: str
    """Of result.json; `started` or `waiting` where there is none."""

    result: dict[str, Any]
    """result.json; without one, the status alone."""

    config: dict[str, Any]
    """config.yaml."""

    error: str | None
    """One line: why it is not finished, or cannot be compared."""

    fingerprint: str | None
    """Of the evaluation data."""

    @property
    def seed(self) -> int | None:
        return self.config.get("seed")

    @property
    def part(self) -> str:
        """What the per-query scores are keyed by: "dim", "direction" or "top_k"."""
        raise NotImplementedError

    @property
    def parts(self) -> list[str]:
        """The embedding sizes, directions or numbers of documents reranked, as result.json names them."""
        raise NotImplementedError

    def scores(self, stage: str, part: str | None = None, metric: str | None = None) -> Scores | None:
        """The scores at "baseline" or "final"; None where that was not measured query by query.

        `part` is one of `parts`; by default the whole model: its full embedding size, all directions, the most
        documents reranked. `metric` is by default the primary one.
        """
        raise NotImplementedError

    def history(self) -> list[dict[str, Any]]:
        """The rows of metrics.jsonl."""
        raise NotImplementedError


def find_runs(paths: Iterable[str | Path]) -> list[Run]:
    """The runs of run folders, sweep folders, folders that hold such, and globs of all these; each once.

    Raises `ConfigError` for a path that holds no run.
    """
    raise NotImplementedError
