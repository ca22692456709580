"""What a training leaves on disk. Bytes."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmexp.plan.memory import FLOAT32, HALF

if TYPE_CHECKING:
    from sentence_transformers.base.model import BaseModel

    from mmexp.plan.memory import Weights
    from mmexp.plan.preparation import Prepared
    from mmexp.plan.step import TracedStep


def disk_of(
    prepared: Prepared, step: TracedStep, weights: Weights, engine: str | None, half: bool, kept: int
) -> dict[str, int]:
    """One checkpoint, all that are kept, the final model, and the weights under an adapter that no checkpoint has."""
    experiment = prepared.kind.experiment
    beside = processor_bytes(prepared.model)
    adapter = experiment.adapter
    in_checkpoint = weights.saved_bytes if adapter is None else weights.adapter_bytes
    merged = adapter is None or adapter.merge
    checkpoint = beside + in_checkpoint + optimizer_bytes(prepared, step, weights, engine, half)
    base = weights.saved_bytes if adapter is not None and not getattr(experiment.model, "checkpoint", "x") else 0
    model = beside + (weights.saved_bytes if merged else weights.adapter_bytes)
    return {
        "checkpoint": checkpoint,
        "checkpoints": checkpoint * kept,
        "model": model,
        "base": base,
        "total": checkpoint * kept + model + base,
    }


def optimizer_bytes(prepared: Prepared, step: TracedStep, weights: Weights, engine: str | None, half: bool) -> int:
    """The optimizer's states in a checkpoint, of all processes."""
    args: Any = prepared.args
    if args.save_only_model:
        return 0
    if engine in (None, "ddp"):
        return step.optimizer
    states = step.optimizer / max(1, weights.trainable_bytes)
    if engine == "fsdp2":
        return int((FLOAT32 if half else step.optimizer / states / weights.trainable) * states * weights.trainable)
    # DeepSpeed writes its own copy of the weights too, but for ZeRO-3, which has them in float32 alone.
    copy = 0 if engine == "zero3" else (HALF if half else FLOAT32) * weights.count
    return int(FLOAT32 * (1 + states) * weights.trainable) + copy


def processor_bytes(model: BaseModel) -> int:
    """Tokenizers, processors and configurations, by writing them once."""
    with tempfile.TemporaryDirectory() as folder:
        for number, module in enumerate(model.modules()):
            if module is not model and (processor := getattr(module, "processor", None)) is not None:
                processor.save_pretrained(f"{folder}/{number}")
        return sum(file.stat().st_size for file in Path(folder).rglob("*") if file.is_file())
