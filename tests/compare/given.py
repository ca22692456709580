"""Run folders whose scores are given by hand, with all that the page reads of them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import yaml
from pyarrow import parquet

from mmexp.compare.comparison import Comparison, compare
from mmexp.compare.runs import find_runs

DIMS = (32, 64)


@dataclass
class Given:
    """What one run is made of."""

    parameters: Mapping[str, Any]
    """Of its config, by key."""
    final: Sequence[float]
    """Of every query, at the full size; at half the size it is half of that, and before training a quarter."""
    kwh: float | None = None
    model_size: int = 1000
    attributes: Mapping[str, Sequence[Any]] = field(default_factory=dict)
    texts: Sequence[str | None] | None = None
    evaluations: Sequence[float] = ()
    """In training."""
    overrides: Sequence[str] = ()
    error: str | None = None


def comparison_of(folder: Path, given: Sequence[Given], reference: str | None = None) -> Comparison:
    for n, of_run in enumerate(given):
        write_run(folder / f"run-{n}", of_run)
    return compare(find_runs([folder]), reference)


def write_run(run_dir: Path, given: Given) -> None:
    run_dir.mkdir(parents=True)
    config: dict[str, Any] = {"seed": 1}
    for key, value in given.parameters.items():
        group, _, name = key.partition(".")
        config.setdefault(group, {})[name] = value
    (run_dir / "config.yaml").write_text(yaml.safe_dump(config))
    (run_dir / "result.json").write_text(json.dumps(_result(given)))
    with (run_dir / "metrics.jsonl").open("w") as lines:
        for n, value in enumerate(given.evaluations):
            x = {"x/samples_seen": 100.0 * n, "x/energy_kwh": 0.25 * n}
            lines.write(json.dumps({"metrics": {"eval/ndcg@10": value, **x}}) + "\n")
            lines.write(json.dumps({"metrics": {"train/loss": 1.0, **x}}) + "\n")
    for stage, share in (("baseline", 0.25), ("final", 1.0)):
        _write_scores(run_dir / "per_query" / f"{stage}.parquet", given, share)


def _result(given: Given) -> dict[str, Any]:
    if given.error is not None:
        return {"status": "failed", "error": {"type": "ValueError", "message": given.error}}
    energy = dict.fromkeys(("gpu_kwh", "cpu_kwh", "ram_kwh"), (given.kwh or 0) / 3) | {"co2_kg": 0.2}
    return {
        "status": "finished",
        "primary_metric": "ndcg@10",
        "data_fingerprint": "f",
        "model": {"parameters": given.model_size, "architecture": "Tiny"},
        "overrides": list(given.overrides),
        "by_dim": {str(dim): {} for dim in DIMS},
        "seconds": {"train": 3600},
        "energy": None if given.kwh is None else {"train": energy},
        "energy_source": {"gpu": "measured", "cpu": "estimated"},
    }


def _write_scores(file: Path, given: Given, share: float) -> None:
    count = len(given.final)
    columns: dict[str, list[Any]] = {}
    for dim in DIMS:
        rows = {
            "query_id": [f"q{n}" for n in range(count)],
            "query": list(given.texts or [f"query {n}" for n in range(count)]),
            "dim": [dim] * count,
            "ndcg@10": [value * share * dim / DIMS[-1] for value in given.final],
            "relevant": [[f"page-{n}"] for n in range(count)],
            "top": [[f"page-{(n + k) % count}" for k in range(10)] for n in range(count)],
            **{f"attribute/{name}": list(of_queries) for name, of_queries in given.attributes.items()},
        }
        for name, cells in rows.items():
            columns.setdefault(name, []).extend(cells)
    file.parent.mkdir(exist_ok=True)
    parquet.write_table(pa.table(columns), file)
