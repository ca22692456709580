"""Run folders whose scores are given by hand, with all that the page reads of them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
from pyarrow import parquet

from mmexp.compare.comparison import Comparison, compare
from mmexp.compare.runs import find_runs
from tests.compare.run_folders import write_failure, write_run

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
    texts: Sequence[str] | None = None
    evaluations: Sequence[float] = ()
    """In training."""
    overrides: Sequence[str] = ()
    error: str | None = None


def comparison_of(folder: Path, given: Sequence[Given], reference: str | None = None) -> Comparison:
    for n, of_run in enumerate(given):
        write_given(folder / f"run-{n}", of_run)
    return compare(find_runs([folder]), reference)


def write_given(run_dir: Path, given: Given) -> None:
    if given.error is not None:
        write_failure(run_dir, "failed", f"ValueError: {given.error}", given.parameters)
        return
    final, baseline = (
        {dim: [value * share * dim / DIMS[-1] for value in given.final] for dim in DIMS} for share in (1, 0.25)
    )
    energy = {"gpu_kwh": given.kwh, "cpu_kwh": 0.0, "ram_kwh": 0.0, "co2_kg": 1.0}
    result = {
        "model": {"parameters": given.model_size, "architecture": "Tiny"},
        "overrides": list(given.overrides),
        "energy": None if given.kwh is None else {"train": energy},
    }
    ids = [f"q{n}" for n in range(len(given.final))]
    write_run(run_dir, final, baseline, given.parameters, result, ids=ids)
    for stage in ("baseline", "final"):
        _add_answers(run_dir / "per_query" / f"{stage}.parquet", given)
    with (run_dir / "metrics.jsonl").open("w") as lines:
        for n, value in enumerate(given.evaluations):
            x = {"x/samples_seen": 100.0 * n, "x/energy_kwh": 0.25 * n}
            lines.write(json.dumps({"metrics": {"eval/ndcg@10": value, **x}}) + "\n")
            lines.write(json.dumps({"metrics": {"train/loss": 1.0, **x}}) + "\n")


def _add_answers(file: Path, given: Given) -> None:
    """The best pages, other texts, and what the data says of the queries."""
    count = len(given.final)
    added: dict[str, list[Any]] = {
        "query": list(given.texts or [f"query {n}" for n in range(count)]),
        "relevant": [[f"page-{n}"] for n in range(count)],
        "top": [[f"page-{(n + k) % count}" for k in range(10)] for n in range(count)],
        **{f"attribute/{name}": list(values) for name, values in given.attributes.items()},
    }
    columns = parquet.read_table(file).to_pydict() | {name: values * len(DIMS) for name, values in added.items()}
    parquet.write_table(pa.table(columns), file)
