"""Run folders as a comparison reads them: what became of each run, and the scores of its queries."""

from __future__ import annotations

import glob
import os
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import yaml

from mmexp.compare.scores import DIRECTION, OWN_QUERIES, TASK, Scores, finite, read_content, read_scores
from mmexp.composition import TYPES, VALUES
from mmexp.run_files import read_rows
from mmexp.schema import ConfigError
from mmexp.sweep.folder import INDEX, read_members
from mmexp.sweep.status import read_result

# Folders of a run hold checkpoints and so on, never a run.
MARKS = (TYPES, VALUES, "result.json", "metrics.jsonl")
REPEAT = "repeat.json"
PARTS = ("dim", DIRECTION, "top_k", TASK)


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
    """config.yaml; empty where there is none."""

    error: str | None
    """One line: why it is not finished, or cannot be compared."""

    fingerprint: str | None
    """Of the evaluation data."""

    _scores: dict[tuple[str, str | None, str], Scores | None] = field(default_factory=dict, repr=False)

    @property
    def seed(self) -> int | None:
        return self.config.get("seed")

    @property
    def primary_metric(self) -> str:
        return self.result["primary_metric"]

    @cached_property
    def composition(self) -> dict[str, Any]:
        """composition.yaml: which schema each part of the config has, and what was halved for want of memory."""
        return _read_yaml(self.run_dir / TYPES)

    @property
    def part(self) -> str:
        """What the per-query scores are keyed by: "dim", "direction", "top_k" or "task"."""
        return next((part for part in PARTS if self.result.get(f"by_{part}")), PARTS[0])

    @property
    def parts(self) -> list[str]:
        """The embedding sizes, directions, numbers of documents reranked or tasks, as result.json names them."""
        return list(self.result.get(f"by_{self.part}", {}))

    def file(self, stage: str) -> Path:
        """The per-query scores of "baseline" or "final"."""
        return self.run_dir / "per_query" / f"{stage}.parquet"

    def scores(self, stage: str, part: str | None = None, metric: str | None = None) -> Scores | None:
        """The scores at "baseline" or "final"; None where that was not measured query by query.

        `part` is one of `parts`; by default the whole model: its full embedding size, all directions or tasks,
        the most documents reranked. `metric` is by default the primary one. Raises `ConfigError` for a metric that
        there is not, or that is no number for some queries.
        """
        key = (stage, part, metric or self.primary_metric)
        if key not in self._scores:
            self._scores[key] = self._read(*key)
        return self._scores[key]

    def _read(self, stage: str, part: str | None, metric: str) -> Scores | None:
        file = self.file(stage)
        if not file.exists() or not self.parts or (part is not None and part not in self.parts):
            return None
        if self.part in OWN_QUERIES:
            return finite(read_scores(file, self.part, part, metric), metric, file)
        return finite(read_scores(file, self.part, int(part or max(self.parts, key=int)), metric), metric, file)

    def content(self) -> dict[str, tuple[Any, ...]]:
        """What each query of the final evaluation asks, by its id."""
        return read_content(self.file("final"), self.part)

    def history(self) -> list[dict[str, Any]]:
        """The rows of metrics.jsonl."""
        return read_rows(self.run_dir / "metrics.jsonl")


def find_runs(paths: Iterable[str | Path]) -> list[Run]:
    """The runs of run folders, sweep folders, folders that hold such, and globs of all these; each once.

    Raises `ConfigError` for a path that holds no run.
    """
    found: dict[Path, None] = {}
    for path in paths:
        matches = [Path(path)] if Path(path).exists() else [Path(match) for match in sorted(glob.glob(str(path)))]
        run_dirs = [run_dir for match in matches for run_dir in _runs_below(match.resolve())]
        if not run_dirs:
            raise ConfigError(f"{path} holds no run. Give folders of runs or sweeps, such as multirun/vdr_tiny.")
        found |= dict.fromkeys(run_dirs)
    return [_read_run(run_dir, name) for run_dir, name in zip(found, _names(list(found)), strict=True)]


def _runs_below(folder: Path) -> Iterator[Path]:
    """Without repeats (`mmexp.repeat`), which are no draws of their own; one that is named itself is a run."""
    if not folder.is_dir():
        return
    if any((folder / mark).exists() for mark in MARKS):
        yield folder
        return
    members = {folder / member.folder: None for member in read_members(folder)} if (folder / INDEX).exists() else {}
    yield from members
    for inner in sorted(
        entry.path for entry in os.scandir(folder) if entry.is_dir() and not entry.name.startswith(".")
    ):
        if Path(inner) not in members and not (Path(inner) / REPEAT).exists():
            yield from _runs_below(Path(inner))


def _names(run_dirs: list[Path]) -> list[str]:
    """The last part of each path, and as many before it as tell it from the others."""
    length = dict.fromkeys(run_dirs, 1)
    while True:
        names = ["/".join(run_dir.parts[-length[run_dir] :]) for run_dir in run_dirs]
        taken = Counter(names)
        if max(taken.values(), default=1) == 1:
            return names
        for run_dir, name in zip(run_dirs, names, strict=True):
            length[run_dir] += taken[name] > 1


def _read_run(run_dir: Path, name: str) -> Run:
    result = read_result(run_dir)
    return Run(
        run_dir=run_dir,
        name=name,
        status=result["status"],
        result=result,
        config=_read_yaml(run_dir / VALUES),
        error=_error(run_dir, result),
        fingerprint=result.get("data_fingerprint"),
    )


def _error(run_dir: Path, result: dict[str, Any]) -> str | None:
    if error := result.get("error"):
        return f"{error['type']}: {' '.join(error['message'].split())}"
    if result["status"] == "finished" and not (run_dir / "per_query" / "final.parquet").exists():
        return "it has no per_query/final.parquet, so there are no scores to compare"
    return None


def _read_yaml(file: Path) -> dict[str, Any]:
    if not file.exists():
        return {}
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    return yaml.load(file.read_text(), Loader=loader) or {}
