"""The runs that can be quantised, and why others cannot. Imports no torch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mmexp.composition import Composition, thaw
from mmexp.model_kind import ModelKind
from mmexp.recording.status import read_result
from mmexp.schema import ConfigError
from mmexp.sweep.member import refuse_sweep

# Why a run has nothing to quantise, and what to do, by its kind of model.
REFUSED = {
    ModelKind.reranker: "a reranker, which has no embeddings. Give the run of an embedder",
    ModelKind.two_stage: "a two-stage pipeline. Give the run of its first stage",
    ModelKind.benchmark: "a benchmark, which brings its own data. Give the run that trained the model",
    ModelKind.multi_vector: (
        "a multi-vector model, whose pages have many vectors of one size. To see what fewer of "
        "them cost, evaluate it with task=evaluate model=hub model.checkpoint={run_dir} embedder_arch.pool_factor=4"
    ),
}


def open_run(run_dir: Path) -> tuple[Composition, dict[str, Any]]:
    """A finished run of an embedder, and its result.json. Raises `ConfigError` for any other folder."""
    refuse_sweep(run_dir)
    composition = thaw(run_dir)
    kind, result = composition.experiment.kind, read_result(run_dir)
    if kind in REFUSED:
        raise ConfigError(f"{run_dir} is the run of {REFUSED[kind].format(run_dir=run_dir)}.")
    if result["status"] != "finished":
        raise ConfigError(
            f"{run_dir} is no finished run: its status is {result['status']}. Finish it with: "
            f"python -m mmexp.resume {run_dir}"
        )
    return composition, result
