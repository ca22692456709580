"""The comparison in a folder: comparison.csv, a row per setting, and comparison.json, with all that was found."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmexp.recording.run_files import csv_of, finite, write_whole

if TYPE_CHECKING:
    from mmexp.compare.comparison import Comparison, Row
    from mmexp.compare.runs import Run
    from mmexp.statistics.means import Difference


def write_files(comparison: Comparison, folder: Path) -> None:
    """Write both into `folder`, which exists."""
    rows = [flat_row(rank, row, row is comparison.reference) for rank, row in enumerate(comparison.rows, 1)]
    rows += [{"status": run.status, "setting": run.name, "error": run.error} for run in comparison.unfinished]
    write_whole(folder / "comparison.csv", csv_of(rows))
    write_whole(folder / "comparison.json", json.dumps(finite(as_json(comparison)), indent=2, default=str))


def flat_row(rank: int, row: Row, is_reference: bool) -> dict[str, Any]:
    """One setting as {column: value}, empty where that is unknown."""
    cost = dataclasses.asdict(row.cost)
    sources = cost.pop("energy_source")
    return {
        "rank": rank,
        "status": "finished",
        "setting": row.setting.label,
        "reference": is_reference,
        **row.setting.parameters,
        **dataclasses.asdict(row.estimate),
        **{f"baseline_{name}": row.baseline and getattr(row.baseline, name) for name in ("mean", "low", "high")},
        **_flat("to_baseline", row.to_baseline),
        **_flat("to_reference", row.to_reference),
        **cost,
        **{f"{part}_energy": source for part, source in sources.items()},
        "runs": " ".join(str(run.run_dir) for run in row.setting.runs),
    }


def as_json(comparison: Comparison) -> dict[str, Any]:
    """All that was found, as plain values."""
    return {
        "metric": comparison.metric,
        "part": comparison.part,
        "num_queries": len(comparison.query_ids),
        "reference": comparison.reference.setting.label,
        "axes": comparison.axes,
        "notes": comparison.notes,
        "rows": [_json_row(row) for row in comparison.rows],
        "unfinished": [_json_run(run) | {"status": run.status, "error": run.error} for run in comparison.unfinished],
        "query_ids": comparison.query_ids,
    }


def _json_row(row: Row) -> dict[str, Any]:
    return {
        "setting": row.setting.label,
        "parameters": row.setting.parameters,
        "runs": [_json_run(run) for run in row.setting.runs],
        "repeats": [_json_run(run) for run in row.setting.repeats],
        "estimate": dataclasses.asdict(row.estimate),
        "baseline": row.baseline and dataclasses.asdict(row.baseline),
        "to_baseline": row.to_baseline and _json_difference(row.to_baseline),
        "to_reference": row.to_reference and _json_difference(row.to_reference),
        "cost": dataclasses.asdict(row.cost),
    }


def _json_run(run: Run) -> dict[str, Any]:
    return {"name": run.name, "folder": str(run.run_dir), "seed": run.seed, "fingerprint": run.fingerprint}


def _json_difference(difference: Difference) -> dict[str, Any]:
    return {**dataclasses.asdict(difference), "words": difference.words}


def _flat(prefix: str, difference: Difference | None) -> dict[str, Any]:
    return {f"{prefix}_{name}": value for name, value in (_json_difference(difference) if difference else {}).items()}
