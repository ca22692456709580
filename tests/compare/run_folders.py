"""Run folders as a run leaves them, with scores that a test chooses. Nothing is trained."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import yaml
from pyarrow import parquet

CONFIG: dict[str, Any] = {
    "name": "vdr_tiny",
    "task": "train",
    "seed": 1,
    "output_root": "multirun",
    "model": {"checkpoint": "", "max_pixels": 24576},
    "data": {"num_negatives": 1, "jpeg_pixels": 24576, "seed": 0},
    "loss": {"scale": 20.0, "mini_batch_num_tokens": 4096, "mini_batch_size": None},
    "reranking": {"num_eval_negatives": 100},
    "trainer": {"per_device_train_batch_size": 8, "learning_rate": 0.001},
    "launch": {"num_processes": 1},
    "tracking": {"codecarbon": True},
}
ENERGY = {
    "setup": {"gpu_kwh": 0.1, "cpu_kwh": 0.2, "ram_kwh": 0.05, "co2_kg": 0.1},
    "train": {"gpu_kwh": 0.9, "cpu_kwh": 0.3, "ram_kwh": 0.45, "co2_kg": 0.9},
}
RESULT = {
    "status": "finished",
    "primary_metric": "ndcg@10",
    "data_fingerprint": "0123456789abcdef",
    "num_documents": 300,
    "num_processes": 1,
    "num_gpus": 2,
    "seconds": {"setup": 360.0, "train": 3240.0},
    "energy": ENERGY,
    "energy_source": {"gpu": "measured", "cpu": "estimated", "ram": "estimated"},
    "throughput": {"pages_per_second": 40.0},
    "peak_memory_bytes": 8_000_000_000,
    "ended": "2026-01-01T00:00:00+00:00",
}

Parts = Mapping[Any, Sequence[float]] | Sequence[float] | np.ndarray


def write_run(
    folder: Path,
    final: Parts,
    baseline: Parts | None = None,
    config: Mapping[str, Any] | None = None,
    result: Mapping[str, Any] | None = None,
    part: str = "dim",
    ids: Sequence[str] | Mapping[Any, Sequence[str]] | None = None,
    schemas: Mapping[str, str] | None = None,
) -> Path:
    """A finished run. `final` and `baseline` are scores of queries, or {embedding size or direction: scores}.

    `config` is {dotted key: value}, on top of CONFIG; `result` takes the place of fields of result.json.
    """
    write_config(folder, config or {}, schemas or {})
    by_part: dict[str, Any] = {}
    for stage, parts in (("baseline", baseline), ("final", final)):
        if parts is not None:
            of_stage = dict(parts) if isinstance(parts, Mapping) else {128: parts}
            write_scores(folder / "per_query" / f"{stage}.parquet", part, of_stage, ids)
            for value, scores in of_stage.items():
                by_part.setdefault(str(value), {})[stage] = {"ndcg@10": float(np.mean(scores))}
    found = {**RESULT, "by_dim": {}, f"by_{part}": by_part, **(result or {})}
    (folder / "result.json").write_text(json.dumps(found))
    (folder / "metrics.jsonl").write_text(json.dumps({"step": 0, "metrics": {"eval/ndcg@10": 0.1}}) + "\n")
    return folder


def write_config(folder: Path, config: Mapping[str, Any], schemas: Mapping[str, str]) -> None:
    """What there is of a run as soon as it is composed."""
    folder.mkdir(parents=True, exist_ok=True)
    composed = deepcopy(CONFIG)
    for key, value in config.items():
        *parents, last = key.split(".")
        node = composed
        for parent in parents:
            node = node.setdefault(parent, {})
        node[last] = value
    (folder / "config.yaml").write_text(yaml.safe_dump(composed, sort_keys=False))
    types = {"schemas": {"model": "model/tiny_vlm", "loss": "loss/cached_mnrl", **schemas}, "halvings": []}
    (folder / "composition.yaml").write_text(yaml.safe_dump(types))


def write_failure(folder: Path, status: str, error: str, config: Mapping[str, Any] | None = None) -> Path:
    """A run that ended without scores."""
    write_config(folder, config or {}, {})
    kind, _, message = error.partition(": ")
    found = {"status": status, "seconds": {}, "error": {"type": kind, "message": message, "traceback": "..."}}
    (folder / "result.json").write_text(json.dumps(found))
    return folder


def write_scores(file: Path, part: str, parts: Mapping[Any, Sequence[float]], ids: Any) -> None:
    """A row per query and part."""
    file.parent.mkdir(parents=True, exist_ok=True)
    columns: dict[str, list[Any]] = {"query_id": [], part: [], "ndcg@10": [], "accuracy@1": [], "relevant": []}
    columns |= {"num_candidates": []} if part == "direction" else {"query": []}
    for value, scores in parts.items():
        of_part = ids[value] if isinstance(ids, Mapping) else ids
        names = list(of_part) if of_part is not None else [f"q{n:04d}" for n in range(len(scores))]
        columns["query_id"] += names
        columns[part] += [value] * len(names)
        columns["ndcg@10"] += [float(score) for score in scores]
        columns["accuracy@1"] += [float(score == 1) for score in scores]
        columns["relevant"] += [[f"page of {name}"] for name in names]
        if part == "direction":
            columns["num_candidates"] += [101] * len(names)
        else:
            columns["query"] += [f"what is {name}" for name in names]
    parquet.write_table(pa.table(columns), file)


def write_sweep(folder: Path, parameters: Mapping[str, Mapping[str, Any]]) -> None:
    """sweep.json of a sweep with these members: {folder: what is varied of it}."""
    rows = [
        {"hash": f"{n:08x}", "folder": name, "overrides": [], "parameters": dict(of_member)}
        for n, (name, of_member) in enumerate(parameters.items())
    ]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "sweep.json").write_text(json.dumps({"members": rows}))


def ndcg_scores(generator: np.random.Generator, size: tuple[int, ...], at_top: float) -> np.ndarray:
    """NDCG@10 with one relevant page, which is first with probability `at_top`: skewed, with few values."""
    values = np.append(1 / np.log2(np.arange(2, 12)), 0.0)
    further_down = 0.7 * 0.45 ** np.arange(9) / (0.45 ** np.arange(9)).sum()
    return generator.choice(values, size=size, p=[at_top, *((1 - at_top) * further_down), (1 - at_top) * 0.3])
