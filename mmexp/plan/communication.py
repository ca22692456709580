"""What each process sends in a step, as launch/README.md counts it. Bytes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mmexp.plan.memory import FLOAT32, HALF

if TYPE_CHECKING:
    from mmexp.plan.memory import Weights
    from mmexp.plan.step import TracedStep


def sent_bytes(
    step: TracedStep, weights: Weights, engine: str | None, processes: int, half: bool, accumulation: int
) -> dict[str, int]:
    """By what is sent: embeddings, gradients, weights. Rings are assumed: of n processes each sends (n - 1) / n of it.

    DDP sums gradients, which is to scatter and to gather them, once in a step; ZeRO-1 and 2 scatter gradients and
    gather what became of the weights. ZeRO-3 and FSDP2 gather weights for every pass over them.
    """
    if processes == 1:
        return {"embeddings": 0, "gradients": 0, "weights": 0}
    share = (processes - 1) / processes
    engine_size = HALF if half else FLOAT32
    gradients = weights.trainable_bytes if engine == "ddp" else engine_size * weights.trainable
    sent = {"embeddings": int(share * step.gathered_bytes) * accumulation}
    if engine == "ddp":
        return {**sent, "gradients": int(2 * share * gradients), "weights": 0}
    if engine in ("zero1", "zero2"):
        times = accumulation if engine == "zero2" else 1
        return {**sent, "gradients": int(share * gradients * times), "weights": int(share * gradients)}
    passes = step.num_mini_batches * (2 + step.recomputed) * accumulation
    gathered = int(share * engine_size * weights.count * passes)
    return {**sent, "gradients": int(share * gradients * accumulation), "weights": gathered}
