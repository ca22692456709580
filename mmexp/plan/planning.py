"""One plan, top to bottom: what the experiment would take, and on what assumptions that is said."""

from __future__ import annotations

import dataclasses
import json
import logging
import math
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmexp.plan.communication import sent_bytes
from mmexp.plan.cost import Work, cost_of
from mmexp.plan.disk import disk_of
from mmexp.plan.engine import device_of, engine_of, num_processes, pretended
from mmexp.plan.memory import held, weights_of
from mmexp.plan.preparation import Prepared, prepare
from mmexp.plan.quiet import quiet
from mmexp.plan.report import assumptions, print_plan
from mmexp.plan.schedule import Schedule, documents_per_row, schedule_of
from mmexp.plan.step import TracedStep, trace_step
from mmexp.recording.run_files import write_whole

if TYPE_CHECKING:
    from mmexp.experiment import Experiment

log = logging.getLogger(__name__)

FILE = "plan.json"


def plan(experiment: Experiment, run_dir: Path, overrides: list[str]) -> float:
    """Plan the experiment, print it, and leave it in `run_dir`. There is no metric: NaN."""
    found = {"overrides": overrides, **planned(experiment)}
    write_whole(run_dir / FILE, json.dumps(found, indent=2))
    print_plan(found, run_dir / FILE)
    return math.nan


def planned(experiment: Experiment) -> dict[str, Any]:
    """The plan. Raises `ConfigError` for what a training would refuse, and where no configuration can be reached."""
    # 1. The processes, and all that they would prepare
    experiment.plan.check_like()
    engine, processes, device = engine_of(experiment), num_processes(experiment), device_of(experiment)
    half = bool(experiment.trainer.get("bf16") or experiment.trainer.get("fp16"))
    offload = bool(engine and experiment.launch.accelerate.cpu_offload)  # type: ignore[attr-defined]
    if engine:
        experiment.launch.accelerate.check(processes, device == "cuda", getattr(experiment.launch, "nodes", 1))  # type: ignore[attr-defined]
    with tempfile.TemporaryDirectory() as folder, pretended(processes), quiet():
        prepared = prepare(experiment, Path(folder), processes)

        # 2. One step, traced
        schedule = schedule_of(prepared, processes)
        step = trace_step(prepared, device, half)
        weights = weights_of(prepared.model, prepared.loss)

    # 3. What follows from it
    accumulation: int = prepared.args.gradient_accumulation_steps
    memory = held(step, weights, engine, processes, half, offload)
    work = work_of(prepared, schedule, step, processes)
    cost = cost_of(work, experiment.plan, prepared.facts, experiment.tracking)
    found = {
        "status": "planned",
        "experiment": experiment.name,
        "launch": {"engine": engine, "num_processes": processes, "device": device, "cpu_offload": offload},
        "model": dataclasses.asdict(prepared.facts),
        "trainable_parameters": prepared.trainable,
        "data": data_of(prepared, step),
        "schedule": dataclasses.asdict(schedule),
        "memory": dataclasses.asdict(memory),
        "peak_memory_bytes": memory.peak,
        "communication": sent_bytes(step, weights, engine, processes, half, accumulation),
        "compute": {
            "flops_per_step": step.flops * accumulation * processes,
            "tokens_per_step": None if step.tokens is None else step.tokens * accumulation * processes,
            "recomputed_share": step.recomputed,
            "traced_rows": step.traced_rows,
        },
        "disk": disk_of(prepared, step, weights, engine, half, schedule.kept_checkpoints),
        "cost": dataclasses.asdict(cost),
    }
    return {**found, "assumptions": assumptions(found, experiment), "unknown": unknown(found)}


def work_of(prepared: Prepared, schedule: Schedule, step: TracedStep, processes: int) -> Work:
    """All steps and evaluations, as the one that was traced; evaluations only pass forward."""
    batches = schedule.rows / step.rows
    evaluated = flops = None
    if prepared.kind.experiment.plan.num_rows is None:
        evaluated = num_evaluated(prepared)
        flops = int(evaluated_share(prepared, step) * step.forward_flops / step.rows)
    return Work(
        rows=schedule.rows,
        tokens=None if step.tokens is None else round(step.tokens * batches),
        flops=int(step.flops * batches),
        evaluations=schedule.evaluations,
        evaluated=evaluated,
        evaluation_flops=flops,
        processes=processes,
    )


def num_evaluated(prepared: Prepared) -> int:
    """Queries and documents of one evaluation."""
    return len(prepared.evaluator.queries) + len(prepared.evaluator.corpus)


def evaluated_share(prepared: Prepared, step: TracedStep) -> float:
    """How many training rows an evaluation is worth: by tokens, or by pairs for a reranker."""
    evaluator: Any = prepared.evaluator
    if not step.tokens_per_column:
        pairs = sum(len(one.documents) for drawn in evaluator.candidates.values() for one in drawn)
        return pairs / documents_per_row(prepared)
    query, *documents = step.tokens_per_column
    tokens = len(evaluator.queries) * query + len(evaluator.corpus) * sum(documents) / max(1, len(documents))
    return tokens / sum(step.tokens_per_column)


def data_of(prepared: Prepared, step: TracedStep) -> dict[str, Any]:
    """Rows and pages, and the tokens of each column's inputs."""
    is_read = prepared.kind.experiment.plan.num_rows is None
    query, *documents = step.tokens_per_column or [0.0]
    return {
        "rows": sum(map(len, prepared.examples.values())),
        "documents_per_row": documents_per_row(prepared),
        "tokens_per_query": query or None,
        "tokens_per_document": sum(documents) / len(documents) if documents else None,
        "num_queries": len(prepared.evaluator.queries) if is_read else None,
        "num_documents": len(prepared.evaluator.corpus) if is_read else None,
        "is_read": is_read,
    }


def unknown(found: dict[str, Any], path: str = "") -> list[str]:
    """The keys of a plan that nothing says."""
    names: list[str] = []
    for key, value in found.items():
        if isinstance(value, dict):
            names += unknown(value, f"{path}{key}.")
        elif value is None and key not in ("engine", "embedding_dimension"):
            names.append(f"{path}{key}")
    return names
