"""A comparison whose scores are given by hand, over run folders that hold what the page reads of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from pyarrow import parquet

from mmexp.compare.comparison import Comparison, Row
from mmexp.compare.cost import Cost
from mmexp.compare.runs import Run, Scores
from mmexp.compare.settings import Scalar, Setting
from mmexp.compare.statistics import differences, estimates

DIMS = ("32", "64")
ENERGY = {"gpu": "measured", "cpu": "estimated"}


class GivenRun(Run):
    """A run with history; `part` and `parts` are as of an embedder."""

    rows: Sequence[dict[str, Any]] = ()

    @property
    def part(self) -> str:
        return "dim"

    @property
    def parts(self) -> list[str]:
        return list(DIMS)

    def history(self) -> list[dict[str, Any]]:
        return list(self.rows)

    def scores(self, stage: str, part: str | None = None, metric: str | None = None) -> Scores | None:
        table = parquet.read_table(self.run_dir / "per_query" / f"{stage}.parquet").to_pylist()
        rows = [row for row in table if str(row["dim"]) == (part or DIMS[-1])]
        values = np.array([row["ndcg@10"] for row in rows])
        return Scores(tuple(row["query_id"] for row in rows), values, np.ones(len(rows)))


class GivenComparison(Comparison):
    def scores(
        self, setting: Setting, stage: str, part: str | None = None, metric: str | None = None
    ) -> np.ndarray | None:
        found = [run.scores(stage, part, metric) for run in setting.runs]
        return np.array([scores.weighted for scores in found if scores is not None])


@dataclass
class Given:
    """What one setting is made of."""

    parameters: Mapping[str, Scalar]
    final: Sequence[float]
    """Of every query, at the full size; at half the size it is half of that."""
    kwh: float | None = None
    parameters_of_model: int = 1000
    attributes: Mapping[str, Sequence[Any]] = field(default_factory=dict)
    history: Sequence[dict[str, Any]] = ()
    texts: Sequence[str | None] | None = None
    label: str | None = None

    @property
    def baseline(self) -> list[float]:
        return [value / 4 for value in self.final]


def comparison_of(folder: Path, given: Sequence[Given], unfinished: Sequence[Run] = ()) -> Comparison:
    """The settings as given, in that order; the first is the reference."""
    settings = [_setting(folder / str(n), of) for n, of in enumerate(given)]
    rows = [_row(setting, of) for setting, of in zip(settings, given, strict=True)]
    for row in rows[1:]:
        ours, theirs = (np.array([_scores(r)]) for r in (row, rows[0]))
        [found] = differences([ours], [theirs])
        object.__setattr__(row, "to_reference", found)
    keys = list(given[0].parameters)
    axes = {key: sorted({of.parameters[key] for of in given}) for key in keys}  # type: ignore[type-var]
    query_ids = tuple(f"q{n}" for n in range(len(given[0].final)))
    notes = ["<b>hostile note</b>"]
    return GivenComparison("ndcg@10", None, rows, rows[0], list(unfinished), query_ids, axes, notes)


def _scores(row: Row) -> np.ndarray:
    scores = row.setting.runs[0].scores("final")
    assert scores is not None
    return scores.weighted


def _setting(run_dir: Path, given: Given) -> Setting:
    for stage in ("baseline", "final"):
        write_scores(run_dir / "per_query" / f"{stage}.parquet", given, getattr(given, stage))
    result = {"status": "finished", "model": {"parameters": given.parameters_of_model, "architecture": "Tiny"}}
    run = GivenRun(run_dir, run_dir.name, "finished", result, {"seed": 1}, None, "f")
    run.rows = given.history
    label = "__".join(f"{key}={value}" for key, value in given.parameters.items())
    return Setting([run], dict(given.parameters), given.label or label or "only")


def write_scores(file: Path, given: Given, values: Sequence[float]) -> None:
    count = len(values)
    texts = [f"query {n}" for n in range(count)] if given.texts is None else list(given.texts)
    columns: dict[str, list[Any]] = {}
    for dim in DIMS:
        scale = int(dim) / int(DIMS[-1])
        rows = {
            "query_id": [f"q{n}" for n in range(count)],
            "query": texts,
            "dim": [int(dim)] * count,
            "ndcg@10": [value * scale for value in values],
            "relevant": [[f"page-{n}"] for n in range(count)],
            "top": [[f"page-{(n + k) % count}" for k in range(min(count, 10))] for n in range(count)],
            **{f"attribute/{name}": list(of_queries) for name, of_queries in given.attributes.items()},
        }
        for name, cells in rows.items():
            columns.setdefault(name, []).extend(cells)
    file.parent.mkdir(parents=True, exist_ok=True)
    parquet.write_table(pa.table(columns), file)


def _row(setting: Setting, given: Given) -> Row:
    final, baseline = np.array([given.final]), np.array([given.baseline])
    [of_final, of_baseline] = estimates([final, baseline])
    [gain] = differences([final], [baseline])
    kwh = given.kwh
    cost = Cost(1.5, 1.5, 20.0, 2e9, kwh, kwh, kwh, kwh, kwh, ENERGY, None if kwh is None else 1 / kwh)
    return Row(setting, of_final, of_baseline, gain, None, cost)


def learned(values: Sequence[float]) -> list[dict[str, Any]]:
    """The evaluations of a run in training, as rows of metrics.jsonl, among rows of another kind."""
    return [
        row
        for n, value in enumerate(values)
        for row in (
            {"metrics": {"eval/ndcg@10": value, "x/samples_seen": 100.0 * n, "x/energy_kwh": 0.25 * n}},
            {"metrics": {"train/loss": 1.0, "x/samples_seen": 100.0 * n}},
        )
    ]
