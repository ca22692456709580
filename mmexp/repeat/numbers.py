"""All the numbers that a run left, but for what it took: time, memory and energy are never the same."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from mmexp.recording.run_files import read_rows
from mmexp.recording.status import read_result
from mmexp.recording.unreadable import reading

Numbers = dict[str, dict[str, float]]
"""{what they are of: {name: value}}."""

LOSS = "train/loss"
TIMED = ("pages_per_second", "tokens_per_second", "samples_per_second", "seconds_per_query")
# What a row of per_query/*.parquet is of; where there are several languages, the id names them.
KEYS = ("dim", "direction", "top_k", "task", "query_id")


def numbers_of(run_dir: Path) -> Numbers:
    """Losses and all else that was logged by step, the metrics by part, and the scores by query."""
    return {**logged(run_dir), **metrics(read_result(run_dir)), **by_query(run_dir)}


def logged(run_dir: Path) -> Numbers:
    """What metrics.jsonl has: {"train/loss": {"step 10": value}, "in training": {"ndcg@10, step 10": value}}."""
    found: Numbers = {}
    for row in read_rows(run_dir / "metrics.jsonl"):
        for name, value in row["metrics"].items():
            kind, _, metric = name.partition("/")
            if kind == "train" and not name.endswith(TIMED):
                found.setdefault(name, {})[f"step {row['step']}"] = number(value)
            elif kind == "eval":
                found.setdefault("in training", {})[f"{metric}, step {row['step']}"] = number(value)
    return found


def cut_losses(run_dir: Path) -> set[str]:
    """The steps at which the loss is a mean over fewer than without an interruption: the first logged after each."""
    found, num_resumes = set(), 0
    for row in read_rows(run_dir / "metrics.jsonl"):
        if LOSS in row["metrics"]:
            before, num_resumes = num_resumes, row["totals"]["num_resumes"]
            found |= {f"step {row['step']}"} if num_resumes > before else set()
    return found


def metrics(result: dict[str, Any]) -> Numbers:
    """What result.json has: {"final, dim 128": {"ndcg@10": value}}."""
    found: Numbers = {}
    for stage in ("baseline", "final"):
        found[stage] = values(result[stage])
        for by, parts in result.items():
            if by.startswith("by_"):
                for part, of_part in parts.items():
                    found[f"{stage}, {by.removeprefix('by_')} {part}"] = values(of_part[stage])
    return {name: of_group for name, of_group in found.items() if of_group}


def by_query(run_dir: Path) -> Numbers:
    """What per_query/*.parquet has, the scores of the best documents among it."""
    from pyarrow import parquet

    found: Numbers = {}
    for file in sorted((run_dir / "per_query").glob("*.parquet")):
        of_file = found.setdefault(f"{file.stem}, by query", {})
        with reading(file):
            for row in parquet.read_table(file).to_pylist():
                name = " ".join(str(row[key]) for key in KEYS if key in row)
                of_file |= {f"{name} {key}": number(value) for key, value in row.items() if isinstance(value, float)}
                of_file |= {f"{name} score {n}": number(value) for n, value in enumerate(row["top_scores"], 1)}
    return found


def values(metrics: dict[str, Any] | None) -> dict[str, float]:
    """The metrics of one evaluation without those that are of its time."""
    return {name: number(value) for name, value in (metrics or {}).items() if not name.endswith(TIMED)}


def number(value: Any) -> float:
    """JSON has null for what is no number."""
    return math.nan if value is None else float(value)
