"""What each process of a run holds, by the engine that trains in them. Bytes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import nn

    from mmexp.plan.step import TracedStep

# DeepSpeed's defaults, which launch/accelerate/zero*.yaml leave as they are, in numbers of weights: the buffer that
# gradients are summed in (reduce_bucket_size), and the most that ZeRO-3 gathers at a time (stage3_max_live_parameters).
BUCKET = 500_000_000
MAX_LIVE = 1_000_000_000
FLOAT32, HALF = 4, 2


@dataclass
class Weights:
    """How many weights a model has, and what they take."""

    count: int
    trainable: int
    num_bytes: int
    trainable_bytes: int
    saved_bytes: int
    """Of the transformers and modules as they are saved, without an adapter's own."""
    adapter_bytes: int
    """Of an adapter's own weights."""
    largest_layer: int
    """Weights of the largest of the layers that FSDP gathers one at a time."""
    beside_layers: int
    """Weights that are in no such layer: embeddings, norms, heads."""


@dataclass
class Held:
    """What one process holds. Its GPU has all but `offloaded`, which is in the memory of its node."""

    weights: int
    gradients: int
    optimizer: int
    """Its states, and the float32 weights that an engine keeps for it."""
    buffers: int
    """What the engine sums gradients in, and weights that it gathers for a moment."""
    inputs: int
    activations: int
    loss: int
    offloaded: int
    peak: int
    """The most that is held at a time."""


def weights_of(model: nn.Module, loss: nn.Module) -> Weights:
    """Count the weights that a step trains or passes through; those that two modules share once."""
    parameters = list(loss.parameters())
    trainable = [parameter for parameter in parameters if parameter.requires_grad]
    adapter = sum(parameter.nbytes for name, parameter in model.named_parameters() if "lora_" in name)
    layers = [sum(p.numel() for p in layer.parameters()) for layer in layers_of(model)]
    count = sum(parameter.numel() for parameter in parameters)
    return Weights(
        count=count,
        trainable=sum(parameter.numel() for parameter in trainable),
        num_bytes=sum(parameter.nbytes for parameter in parameters),
        trainable_bytes=sum(parameter.nbytes for parameter in trainable),
        saved_bytes=sum(parameter.nbytes for parameter in model.parameters()) - adapter,
        adapter_bytes=adapter,
        largest_layer=max(layers, default=0),
        beside_layers=count - sum(layers),
    )


def layers_of(model: nn.Module) -> list[nn.Module]:
    """The layers that transformers names as those not to be split, which FSDP wraps one by one."""
    names: set[str] = set()
    for module in model.modules():
        names |= set(getattr(module, "_no_split_modules", None) or ())
    return [module for module in model.modules() if type(module).__name__ in names]


def held(step: TracedStep, weights: Weights, engine: str | None, processes: int, half: bool, offload: bool) -> Held:
    """What one of `processes` holds. `half`: the run computes in bfloat16 or float16."""
    if engine in (None, "ddp"):
        # DDP sums gradients in buckets of their own, as large as the gradients.
        buffers = weights.trainable_bytes if engine else 0
        state = (step.weights, weights.trainable_bytes, step.optimizer, buffers)
        return _with_working(step, state, offloaded=0, peak=step.peak + buffers)
    states = step.optimizer / max(1, weights.trainable_bytes)  # numbers per weight: 2 of AdamW
    if engine == "fsdp2":
        return _fsdp2(step, weights, processes, half, offload, states)
    return _zero(step, weights, int(engine.removeprefix("zero")), processes, half, offload, states)


def _zero(
    step: TracedStep, weights: Weights, stage: int, processes: int, half: bool, offload: bool, states: float
) -> Held:
    """DeepSpeed keeps weights and gradients in the type that it computes in, and float32 weights for the optimizer.

    From "ZeRO: Memory Optimizations Toward Training Trillion Parameter Models" (https://arxiv.org/abs/1910.02054):
    stage 1 splits the optimizer, 2 the gradients too, 3 the weights too.
    """
    size = HALF if half else FLOAT32
    own = size * weights.count // (processes if stage == 3 else 1)
    gradients = size * weights.trainable // (processes if stage >= 2 else 1)
    optimizer = int(FLOAT32 * (1 + states) * weights.trainable / processes)
    buffers = size * BUCKET + (size * min(weights.count, MAX_LIVE) if stage == 3 else 0)
    on_gpu = (0 if offload and stage == 3 else own, gradients, 0 if offload else optimizer, buffers)
    return _with_working(step, on_gpu, offloaded=own + gradients + optimizer + buffers - sum(on_gpu))


def _fsdp2(step: TracedStep, weights: Weights, processes: int, half: bool, offload: bool, states: float) -> Held:
    """accelerate keeps trainable weights in float32 where training computes in half, and FSDP2 splits all of it.

    Gathered at a time are the weights beside the layers, one layer that computes and one that is fetched ahead, and
    the gradients of one layer before they are scattered.
    """
    size = HALF if half else FLOAT32
    trained = FLOAT32 if half else weights.trainable_bytes / max(1, weights.trainable)
    frozen_bytes = weights.num_bytes - weights.trainable_bytes
    own = int((trained * weights.trainable + frozen_bytes) / processes)
    gradients = int(trained * weights.trainable / processes)
    optimizer = int(trained * states * weights.trainable / processes)
    buffers = size * (weights.beside_layers + 3 * weights.largest_layer)
    split = (own, gradients, optimizer)
    return _with_working(step, (*((0, 0, 0) if offload else split), buffers), offloaded=sum(split) if offload else 0)


def _with_working(step: TracedStep, state: tuple[int, int, int, int], offloaded: int, peak: int | None = None) -> Held:
    """The state with what a step holds beside it; at most, where it is not traced, all of both at a time."""
    working: dict[str, Any] = step.working
    total = sum(state) + sum(working.values()) if peak is None else peak
    return Held(*state, **working, offloaded=offloaded, peak=total)
