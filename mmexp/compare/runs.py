"""Run folders as a comparison reads them: what became of each run, and the scores of its queries."""

from __future__ import annotations

import glob
import logging
import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from mmexp.compare.scores import DIRECTION, OWN_QUERIES, TASK, Scores, read_content, read_scores, read_scores_by_size
from mmexp.composition import TYPES, VALUES
from mmexp.recording.run_files import read_rows
from mmexp.recording.status import error_words, read_result
from mmexp.recording.unreadable import UnreadableFile, as_mapping, read_yaml, reading
from mmexp.repeat.mark import is_repeat, original_of
from mmexp.schema import ConfigError
from mmexp.sweep.folder import INDEX, read_members

log = logging.getLogger(__name__)

# Folders of a run hold checkpoints and so on, never a run.
MARKS = (TYPES, VALUES, "result.json", "metrics.jsonl")
REMEDY = "Give folders of runs or sweeps, such as multirun/vdr_tiny."
UNREADABLE = "unreadable"
PARTS = ("dim", DIRECTION, "top_k", TASK)


@dataclass(eq=False)
class Run:
    """One run folder."""

    run_dir: Path
    name: str
    """Short, and unique among the runs that are compared."""

    status: str
    """Of result.json; `started` or `waiting` where there is none, `unreadable` where it is broken."""

    result: dict[str, Any]
    """result.json; without one, the status alone."""

    config: dict[str, Any]
    """config.yaml; empty where there is none."""

    error: str | None
    """One line: why it is not finished, or cannot be compared."""

    fingerprint: str | None
    """Of the evaluation data."""

    composition: dict[str, Any] = field(default_factory=dict)
    """composition.yaml: which schema each part of the config has, and what was halved for want of memory."""

    _scores: dict[tuple[str, str | None, str], Scores | None] = field(default_factory=dict, repr=False)

    @property
    def seed(self) -> int | None:
        return self.config.get("seed")

    @property
    def primary_metric(self) -> str:
        return self.result["primary_metric"]

    @property
    def part(self) -> str:
        """What the per-query scores are keyed by: "dim", "direction", "top_k" or "task"."""
        return next((part for part in PARTS if self.result.get(f"by_{part}")), PARTS[0])

    @property
    def has_own_queries(self) -> bool:
        """Whether each of `parts` has queries of its own; sizes ask the same ones."""
        return self.part in OWN_QUERIES

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
        there is not, `UnreadableFile` for a broken file.
        """
        key = (stage, part, metric or self.primary_metric)
        if key not in self._scores:
            self._scores[key] = self._read(*key)
        return self._scores[key]

    def _read(self, stage: str, part: str | None, metric: str) -> Scores | None:
        file = self.file(stage)
        if not file.exists() or not self.parts or (part is not None and part not in self.parts):
            return None
        with reading(file):
            return read_scores(file, self.part, self.value_of(part), metric)

    def value_of(self, part: str | None) -> int | str | None:
        """What column `self.part` of the per-query scores has for one of `parts`. For the whole model the largest size,
        or None for all directions or tasks."""
        return part if self.has_own_queries else int(part or max(self.parts, key=int))

    def scores_by_size(self, stage: str, metric: str) -> dict[int, Scores]:
        """The scores at each of `parts`, which are sizes; empty where the stage was not measured query by query."""
        file = self.file(stage)
        if not file.exists():
            return {}
        with reading(file):
            return read_scores_by_size(file, self.part, map(int, self.parts), metric)

    def content(self) -> dict[str, tuple[Any, ...]]:
        """What each query of the final evaluation asks, by its id. Raises `UnreadableFile`."""
        with reading(self.file("final")):
            return read_content(self.file("final"), self.part)

    def without_scores(self, broken: UnreadableFile) -> Run:
        """The same, listed with the file that cannot be read, and not ranked."""
        return replace(self, error=_in_words(broken, self.run_dir))

    def history(self) -> list[dict[str, Any]]:
        """The rows of metrics.jsonl. Raises `UnreadableFile`."""
        return read_rows(self.run_dir / "metrics.jsonl")


def find_runs(paths: Iterable[str | Path]) -> list[Run]:
    """The runs of run folders, sweep folders, folders that hold such, and globs of all these; each once.

    What holds no run is left out and logged, as a shell makes `sweep/*` all that is there; so is a repeat that is named
    beside what it repeats, while one that is named alone is a run. Raises `ConfigError` for a path that is not there,
    and where none holds a run.
    """
    found: dict[Path, None] = {}
    without: list[str] = []
    for path in map(str, paths):
        run_dirs = [run_dir for match in _matches(path) for run_dir in _runs_below(match.resolve())]
        found |= dict.fromkeys(run_dirs)
        without += [] if run_dirs else [path]
    if without and not found:
        raise ConfigError(f"there is no run in {', '.join(without)}. {REMEDY}")
    if without:
        log.warning("left out, as there is no run in it: %s", ", ".join(without))
    if repeats := [run_dir for run_dir in found if original_of(run_dir) in found]:
        log.warning("left out, as it repeats a run that is compared: %s", ", ".join(map(str, repeats)))
        found = {run_dir: None for run_dir in found if run_dir not in repeats}
    return [_read_run(run_dir, name) for run_dir, name in zip(found, _names(list(found)), strict=True)]


def _matches(path: str) -> list[Path]:
    found = [path] if Path(path).exists() else sorted(glob.glob(path))
    if not found:
        raise ConfigError(f"{path} is not there. {REMEDY}")
    return [Path(match) for match in found]


def _runs_below(folder: Path) -> Iterator[Path]:
    """Without repeats (`mmexp.repeat`), which are no draws of their own."""
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
        if Path(inner) not in members and not is_repeat(Path(inner)):
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
    """What is broken of its files is its error: it is a run without scores."""
    broken: list[UnreadableFile] = []

    def read(of: Callable[[Path], dict[str, Any]], otherwise: dict[str, Any]) -> dict[str, Any]:
        try:
            return of(run_dir)
        except UnreadableFile as error:
            broken.append(error)
            return otherwise

    result = read(read_result, {"status": UNREADABLE})
    config, composition = read(_read_config, {}), read(_read_composition, {})
    return Run(
        run_dir=run_dir,
        name=name,
        status=result["status"],
        result=result,
        config=config,
        composition=composition,
        error=_in_words(broken[0], run_dir) if broken else _error(run_dir, result),
        fingerprint=result.get("data_fingerprint"),
    )


def _in_words(broken: UnreadableFile, run_dir: Path) -> str:
    return f"cannot be read: {broken.file.relative_to(run_dir)}: {broken.why}"


def _error(run_dir: Path, result: dict[str, Any]) -> str | None:
    if error := result.get("error"):
        return error_words(error)
    if result["status"] == "finished" and not (run_dir / "per_query" / "final.parquet").exists():
        return "it has no per_query/final.parquet, so there are no scores to compare"
    return None


def _read_config(run_dir: Path) -> dict[str, Any]:
    file = run_dir / VALUES
    config = read_yaml(file) if file.exists() else {}
    with reading(file):
        for part in ("model", "loss", "reranking"):
            as_mapping(config.get(part) or {})
    return config


def _read_composition(run_dir: Path) -> dict[str, Any]:
    file = run_dir / TYPES
    composition = read_yaml(file) if file.exists() else {}
    with reading(file):
        as_mapping(composition.get("schemas") or {})
        for halving in composition.get("halvings") or []:
            as_mapping(halving)
    return composition
