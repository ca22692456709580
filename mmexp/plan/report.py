"""What is printed of a plan, and what it assumes."""

from __future__ import annotations

import textwrap
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmexp.recording import wording

if TYPE_CHECKING:
    from mmexp.experiment import Experiment

UNKNOWN = "unknown"
number = partial(wording.number, unknown=UNKNOWN)


def print_plan(found: dict[str, Any], file: Path) -> None:
    """Print a plan: a line for each thing that it is about."""
    for name, words in lines_of(found):
        print(f"{name:<14} {words}")
    for assumption in found["assumptions"]:
        print(textwrap.fill(assumption, 118, initial_indent="assumed        ", subsequent_indent=" " * 15))
    if found["unknown"]:
        print(
            textwrap.fill(
                ", ".join(found["unknown"]), 118, initial_indent="unknown        ", subsequent_indent=" " * 15
            )
        )
    print(f"{'kept in':<14} {file}")


def lines_of(found: dict[str, Any]) -> list[tuple[str, str]]:
    """(what, in words) of a plan."""
    launch, schedule, data, memory = (found[key] for key in ("launch", "schedule", "data", "memory"))
    sent, compute, disk, cost = (found[key] for key in ("communication", "compute", "disk", "cost"))
    held = ", ".join(f"{key} {gigabytes(value)}" for key, value in memory.items() if key not in ("peak", "offloaded"))
    kept = f"{schedule['kept_checkpoints']} checkpoints of {gigabytes(disk['checkpoint'])}"
    return [
        (
            "plan",
            f"{found['experiment']}: {launch['num_processes']} x {launch['device']}, {launch['engine'] or 'alone'}",
        ),
        ("model", f"{found['model']['architecture']}, {found['model']['parameters']:,} parameters"),
        (
            "training",
            f"{schedule['steps']:,} steps of {schedule['rows_per_step']:,} rows: {schedule['rows']:,} rows, "
            f"{schedule['pages']:,} documents; {number(data['tokens_per_query'])} tokens per query, "
            f"{number(data['tokens_per_document'])} per document",
        ),
        (
            "evaluation",
            f"{schedule['evaluations']} x {number(data['num_queries'])} queries over "
            f"{number(data['num_documents'])} documents",
        ),
        ("memory", f"{gigabytes(memory['peak'])} per process at its peak: {held}"),
        *([("", f"{gigabytes(memory['offloaded'])} in the memory of the node")] if memory["offloaded"] else []),
        ("sent", ", ".join(f"{key} {gigabytes(value)}" for key, value in sent.items()) + " per process and step"),
        (
            "compute",
            f"{compute['flops_per_step'] / 1e12:,.4g} TFLOP per step, {compute['recomputed_share']:.0%} of the "
            "forward pass computed twice",
        ),
        ("disk", f"{gigabytes(disk['total'])}: {kept}, model {gigabytes(disk['model'])}"),
        (
            "time",
            f"training {hours(cost['train_seconds'])}, evaluations {hours(cost['evaluation_seconds'])}; "
            f"{number(cost['samples_per_second'])} rows/s",
        ),
        ("energy", f"{number(cost['kwh'])} kWh, {number(cost['co2_kg'])} kg CO2e"),
    ]


def assumptions(found: dict[str, Any], experiment: Experiment) -> list[str]:
    """What the numbers stand on."""
    launch, data, compute = found["launch"], found["data"], found["compute"]
    is_gpu = launch["device"] == "cuda"
    rows = experiment.trainer.get("per_device_train_batch_size", 8)
    said = [
        f"activations are what autograd keeps of {compute['traced_rows']} of {rows} rows of a batch, traced through "
        "the model without its weights; what a kernel holds while it runs is not in them",
        "attention keeps queries, keys, values, outputs and the log of the softmax's sums, as flash and sdpa's fused "
        "kernels do"
        + (" (eager attention keeps the scores)" if "eager" in str(getattr(experiment.model, "attention", "")) else ""),
        "batches are full: data that is small, or whose rows share pages, makes smaller ones, and less memory is taken",
        "inputs are as long as those of a few rows, evenly spread over the data"
        if data["is_read"]
        else f"plan.num_rows={experiment.plan.num_rows}: pages are A4 at 200 dpi, queries have 17 words",
        "peak_memory_bytes is that of torch.cuda.max_memory_allocated in result.json, without what evaluations hold"
        if is_gpu
        else "peak_memory_bytes is that of tensors; in result.json a CPU's is of the whole process, with its libraries",
    ]
    if experiment.trainer.get("bf16") or experiment.trainer.get("fp16"):
        said.append("autocast as CUDA's: matrix products in half precision, norms and softmax in float32")
    if launch["engine"] not in (None, "ddp"):
        said.append(
            f"{launch['engine']} as launch/accelerate and its engine's own defaults have it; weights, gradients, "
            "buffers and activations at their most at the same time"
        )
    if launch["num_processes"] > 1:
        said.append("messages go around in rings, and throughput grows with the processes")
    if found["cost"]["train_seconds"] is not None:
        said.append(throughput_words(experiment))
    return said


def throughput_words(experiment: Experiment) -> str:
    """Where the time comes from."""
    plan = experiment.plan
    if plan.like is not None:
        return f"throughput, power and evaluation time for each process and token as measured by {plan.like}"
    if plan.tflops is not None:
        return f"each process computes {plan.tflops:g} TFLOP/s at {plan.mfu:.0%}, in evaluations too"
    return f"{plan.samples_per_second:g} rows per second of all processes; evaluations at the same FLOP/s"


def gigabytes(count: float) -> str:
    return f"{count / 1e9:,.1f} GB" if count >= 1e9 else f"{count / 1e6:,.1f} MB"


def hours(seconds: float | None) -> str:
    if seconds is None:
        return UNKNOWN
    return f"{seconds / 3600:,.2f} h" if seconds >= 3600 else f"{seconds / 60:,.1f} min"
