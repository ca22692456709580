"""Folders of runs that were never run, as finished runs leave them: quick to make, and with results that are known."""

from __future__ import annotations

import json
from copy import deepcopy
from functools import cache
from pathlib import Path

import numpy as np
import pyarrow as pa
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig, OmegaConf
from pyarrow import parquet

from mmexp.__main__ import CONF
from mmexp.composition import freeze, plain_config
from mmexp.dashboard.identity import identify
from mmexp.sweep.names import label
from mmexp.typed_config import register, to_experiment

METRIC = "ndcg@10"
DIMS = (128, 64, 32, 16)
NUM_QUERIES = 40
DATA = ("data.num_train_pages=100", f"data.num_eval_pages={NUM_QUERIES}")
STEPS = (0, 10, 20, 30, 40)


def write_sweep(
    folder: Path, project: str, parameters: list[dict[str, object]], fingerprint: str = "same"
) -> list[Path]:
    """The folder of a sweep with a finished member for each of `parameters`, better from one to the next."""
    names = [f"{label({key: str(value) for key, value in one.items()})}-0a1b2c3d" for one in parameters]
    folder.mkdir(parents=True, exist_ok=True)
    members = [
        {"hash": "0a1b2c3d", "folder": name, "overrides": [], "parameters": one}
        for name, one in zip(names, parameters, strict=True)
    ]
    (folder / "sweep.json").write_text(json.dumps({"members": members}))
    return [
        write_run(folder / name, project, 0.3 + 0.5 * n / len(names), fingerprint, one)
        for n, (name, one) in enumerate(zip(names, parameters, strict=True))
    ]


def write_run(
    run_dir: Path, project: str, quality: float, fingerprint: str = "same", parameters: dict[str, object] | None = None
) -> Path:
    """The folder of a finished run that puts the right page first for about `quality` of its queries."""
    parameters = {"tracking.project": project, **(parameters or {})}
    overrides = [f"{key}={value}" for key, value in parameters.items()]
    config = deepcopy(_composed())
    for key, value in parameters.items():
        OmegaConf.update(config, key, value)
    experiment = to_experiment(config)
    run_dir.mkdir(parents=True)
    freeze(experiment, run_dir, overrides)
    identify(run_dir, experiment, plain_config(experiment))
    draw = np.random.default_rng(len(run_dir.name))
    shares = {"baseline": 0.05, "final": quality}
    means = {stage: _write_scores(run_dir, stage, share, draw) for stage, share in shares.items()}
    _write_rows(run_dir, means)
    _write_result(run_dir, means, fingerprint, overrides, experiment.seed)
    return run_dir


@cache
def _questions() -> list[str]:
    """Those that the data of the runs asks."""
    queries = to_experiment(deepcopy(_composed())).data.read()[1].queries
    return [queries[n] for n in range(NUM_QUERIES)]


@cache
def _composed() -> DictConfig:
    register()
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return compose("config", overrides=["+experiment=vdr_tiny", *DATA])


def _write_scores(run_dir: Path, stage: str, share: float, draw: np.random.Generator) -> dict[int, float]:
    """per_query/*.parquet; return the mean of each embedding size."""
    rows, means = [], {}
    for dim in DIMS:
        hits = draw.random(NUM_QUERIES) < share * (0.7 + 0.3 * dim / DIMS[0])
        scores = np.where(hits, 1.0, draw.choice([0.0, 0.5, 0.63], NUM_QUERIES))
        means[dim] = float(scores.mean())
        for n in range(NUM_QUERIES):
            others = [f"eval-{(n + k) % NUM_QUERIES:04d}" for k in range(1, 11)]
            top = [f"eval-{n:04d}", *others[:9]] if hits[n] else others
            rows.append(
                {
                    "query_id": f"eval-{n:04d}",
                    "query": _questions()[n],
                    "dim": dim,
                    METRIC: scores[n],
                    "relevant": [f"eval-{n:04d}"],
                    "top": top,
                    "top_scores": list(np.linspace(0.9, 0.1, 10)),
                }
            )
    (run_dir / "per_query").mkdir(exist_ok=True)
    parquet.write_table(pa.Table.from_pylist(rows), run_dir / "per_query" / f"{stage}.parquet")
    return means


def _write_rows(run_dir: Path, means: dict[str, dict[int, float]]) -> None:
    before, after = means["baseline"][DIMS[0]], means["final"][DIMS[0]]
    rows: list[tuple[int, dict[str, float]]] = []
    for place, step in enumerate(STEPS):
        done = place / (len(STEPS) - 1)
        loss = {"train/loss": 5 - 4 * done} if step else {}
        rows.append((step, loss | {f"eval/{METRIC}": before + (after - before) * done} | _cost(done)))
    rows += [(dim, {f"matryoshka/baseline_{METRIC}": means["baseline"][dim]} | _cost(0)) for dim in DIMS]
    rows += [(dim, {f"matryoshka/{METRIC}": means["final"][dim]} | _cost(1)) for dim in DIMS]
    final = {METRIC: after, "delta": after - before, "hours": 0.5, "energy_kwh": 0.2, "peak_memory_gb": 3.5}
    rows.append((STEPS[-1], {f"final/{name}": value for name, value in final.items()} | _cost(1)))
    lines = [
        {"time": "2026-01-01T00:00:00.000+00:00", "step": step, "phase": "train", "metrics": metrics, "totals": {}}
        for step, metrics in rows
    ]
    (run_dir / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))


def _cost(done: float) -> dict[str, float]:
    return {"x/samples_seen": 640 * done, "x/hours": 0.5 * done, "x/energy_kwh": 0.2 * done, "x/co2_kg": 0.03 * done}


def _write_result(
    run_dir: Path, means: dict[str, dict[int, float]], fingerprint: str, overrides: list[str], seed: int
) -> None:
    full = {stage: {METRIC: of_dim[DIMS[0]]} for stage, of_dim in means.items()}
    result = {
        "status": "finished",
        "experiment": "vdr_tiny",
        "overrides": overrides,
        "primary_metric": METRIC,
        "seed": seed,
        **full,
        "delta": full["final"][METRIC] - full["baseline"][METRIC],
        "by_dim": {str(dim): {stage: {METRIC: of_dim[dim]} for stage, of_dim in means.items()} for dim in DIMS},
        "energy_source": {"gpu": "measured", "cpu": "estimated", "ram": "estimated"},
        "model": {"architecture": "Qwen3VLModel", "embedding_dimension": 128, "parameters": 947008},
        "data_fingerprint": fingerprint,
        "num_queries": NUM_QUERIES,
        "num_documents": NUM_QUERIES,
        "throughput": {"pages_per_second": 32.0, "tokens_per_second": 1000.0, "samples_per_second": 16.0},
        "peak_memory_bytes": 3_500_000_000,
        "seconds": {"setup": 60.0, "baseline": 60.0, "train": 1500.0, "evaluation": 180.0},
        "energy": {"train": {"gpu_kwh": 0.15, "cpu_kwh": 0.04, "ram_kwh": 0.01, "co2_kg": 0.03}},
        "num_processes": 1,
        "num_gpus": 1,
        "num_resumes": 0,
    }
    (run_dir / "result.json").write_text(json.dumps(result))
