"""One training step, traced: forward pass, loss and backward pass, on tensors without content."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import MethodType
from typing import TYPE_CHECKING, Any

import torch
from accelerate.utils import convert_outputs_to_fp32
from torch.utils._python_dispatch import _disable_current_modes

from mmexp.plan.batch import Batch, repeated, rows_of, sample_batch
from mmexp.plan.cutting import embeds_at_once, num_mini_batches, recomputed, rows_to_trace, tokens_of
from mmexp.plan.gpu_kernels import kernels_of
from mmexp.plan.optimizer import optimizer_states
from mmexp.plan.tracker import Tracker

if TYPE_CHECKING:
    from mmexp.plan.preparation import Prepared


@dataclass
class TracedStep:
    """What one process holds and computes in a step, were it alone. Bytes, and floating-point operations."""

    peak: int
    """The most that is held at a time."""
    working: dict[str, int]
    """Beside weights, gradients and optimizer states, the most at a time: inputs, activations, loss."""
    weights: int
    gradients: int
    optimizer: int
    flops: int
    """Of one batch: forward, backward, and what is computed twice."""
    forward_flops: int
    """Of the forward pass alone, computed once."""
    recomputed: float
    """Share of the forward pass that is computed a second time."""
    tokens: int | None
    """Of one batch, without padding. None for a reranker, whose pairs are preprocessed within its loss."""
    tokens_per_column: list[float]
    """Of one input, by column."""
    num_mini_batches: int
    """How often weights are passed over in the forward pass of a batch."""
    rows: int
    """Of one batch."""
    traced_rows: int
    """Those that were traced: fewer, where the others hold and compute the same again."""
    gathered_bytes: int
    """What the loss sends to other processes in a batch: embeddings, and their gradients back."""


def trace_step(prepared: Prepared, device: str, autocast: bool) -> TracedStep:
    """Trace a step after the first, when the optimizer has its states."""
    args: Any = prepared.args
    batch = sample_batch(prepared, args.per_device_train_batch_size)
    if args.gradient_checkpointing:
        prepared.model.gradient_checkpointing_enable(gradient_checkpointing_kwargs=args.gradient_checkpointing_kwargs)
    part = batch.of(rows_to_trace(prepared, batch))
    states = optimizer_states(prepared)
    with kernels_of(device):
        tracker = run(prepared, part, states, autocast)
        more = rest_of(prepared, batch, part, states, autocast, tracker)
    working = {name: tracker.at_working_peak[name] + more.get(name, 0) for name in ("inputs", "activations", "loss")}
    # The inputs of all batches of a step are on the device from its start.
    working["inputs"] += batch.num_bytes * (args.gradient_accumulation_steps - 1)
    trainable = [parameter for parameter in prepared.loss.parameters() if parameter.requires_grad]
    tokens = tokens_of(prepared, batch)
    forward = tracker.flops["forward"] * batch.num_rows // part.num_rows
    backward = tracker.flops["backward"] - recomputed(prepared, part) * tracker.flops["forward"]
    again = recomputed(prepared, batch)
    return TracedStep(
        peak=tracker.peak + sum(working.values()) - tracker.working_peak,
        working=working,
        weights=tracker.held["weights"],
        gradients=sum(parameter.nbytes for parameter in trainable),
        optimizer=tracker.held["optimizer"],
        flops=int((1 + again) * forward + backward * batch.num_rows / part.num_rows),
        forward_flops=forward,
        recomputed=again,
        tokens=None if tokens is None else sum(map(sum, tokens)),
        tokens_per_column=[] if tokens is None else [sum(column) / len(column) for column in tokens],
        num_mini_batches=num_mini_batches(prepared, tokens),
        rows=batch.num_rows,
        traced_rows=part.num_rows,
        gathered_bytes=tracker.sent_bytes * batch.num_rows // part.num_rows,
    )


def run(
    prepared: Prepared,
    batch: Batch,
    states: list[torch.Tensor],
    autocast: bool,
    forward: Callable[..., Any] | None = None,
) -> Tracker:
    """Trace the step of a batch. `forward` takes the place of the model's forward pass."""
    tracker = Tracker()
    parameters = list(prepared.loss.parameters())
    tracker.add([*parameters, *prepared.loss.buffers()], "weights")
    tracker.add(states, "optimizer")
    tracker.add(batch.tensors, "inputs")
    trainable = [parameter for parameter in parameters if parameter.requires_grad]
    accumulates = prepared.args.gradient_accumulation_steps > 1
    for parameter in trainable:
        parameter.grad = torch.empty_like(parameter) if accumulates else None
    tracker.add([parameter.grad for parameter in trainable if parameter.grad is not None], "gradients")
    prepared.model.train()
    with gradients_counted(trainable, tracker), counted(prepared, tracker, autocast, forward), tracker:
        with tracker.counted_as("loss"):
            loss = prepared.loss(batch.columns, batch.labels, **batch.more)
            loss = torch.stack([*loss.values()]).sum() if isinstance(loss, dict) else loss
        tracker.phase = "backward"
        loss.backward()
    for parameter in trainable:
        parameter.grad = None
    return tracker


@contextmanager
def gradients_counted(parameters: list[torch.nn.Parameter], tracker: Tracker) -> Iterator[None]:
    """Within, gradients are counted as such once they are complete."""
    handles = [
        parameter.register_post_accumulate_grad_hook(lambda p: tracker.add([p.grad], "gradients"))
        for parameter in parameters
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


@contextmanager
def counted(prepared: Prepared, tracker: Tracker, autocast: bool, forward: Callable[..., Any] | None) -> Iterator[None]:
    """Within, what the model makes is counted as activations, and it computes as accelerate has it do: autocast, with
    outputs in float32. A reranker's loss preprocesses its pairs; what that takes is in the memory of the CPU."""
    model: Any = prepared.model
    own_forward, own_preprocess = model.forward, model.preprocess

    def counted_forward(_: Any, *args: Any, **kwargs: Any) -> Any:
        with tracker.counted_as("activations"):
            return inner(*args, **kwargs)

    def preprocess(_: Any, *args: Any, **kwargs: Any) -> Any:
        with _disable_current_modes():
            features = repeated(own_preprocess(*args, **kwargs), 1, prepared.mode)
        tracker.add((value for value in features.values() if torch.is_tensor(value)), "inputs")
        return features

    def autocast_forward(*args: Any, **kwargs: Any) -> Any:
        with torch.autocast("cpu", torch.bfloat16):
            return (forward or own_forward)(*args, **kwargs)

    inner = convert_outputs_to_fp32(autocast_forward) if autocast else (forward or own_forward)
    model.forward, model.preprocess = MethodType(counted_forward, model), MethodType(preprocess, model)
    try:
        yield
    finally:
        model.forward, model.preprocess = own_forward, own_preprocess


def rest_of(
    prepared: Prepared, batch: Batch, part: Batch, states: list[torch.Tensor], autocast: bool, tracker: Tracker
) -> dict[str, int]:
    """What the rows that are not traced add to the peak, by category: their inputs, their activations where all are
    embedded at once, and what the loss makes of their embeddings, which grows faster than their number."""
    if part.num_rows == batch.num_rows:
        return {}
    untraced = batch.num_rows - part.num_rows
    activations = 0
    if embeds_at_once(prepared):
        half = part.of(max(1, part.num_rows // 2))
        of_half = run(prepared, half, states, autocast).at_working_peak["activations"]
        per_row = (tracker.at_working_peak["activations"] - of_half) / (part.num_rows - half.num_rows)
        activations = int(per_row * untraced)
    losses = [run_loss(prepared, rows, states, autocast) for rows in (batch, part)]
    return {
        "inputs": batch.num_bytes - part.num_bytes,
        "activations": activations,
        "loss": losses[0] - losses[1],
    }


def run_loss(prepared: Prepared, batch: Batch, states: list[torch.Tensor], autocast: bool) -> int:
    """The most bytes of a step in which embeddings fall from the sky: what the loss itself holds."""
    shapes = output_shapes(prepared, batch.of(1))

    def embeddings(features: dict[str, Any], **kwargs: Any) -> dict[str, Any]:
        with prepared.mode:
            made = {
                name: torch.empty(rows_of(features), *shape, requires_grad=torch.is_grad_enabled())
                for name, shape in shapes.items()
            }
        return {**features, **made}

    tracker = run(prepared, batch, states, autocast, embeddings)
    return tracker.working_peak - tracker.at_working_peak["inputs"]


def output_shapes(prepared: Prepared, row: Batch) -> dict[str, tuple[int, ...]]:
    """What the model makes of one input, the longest of a row: the names and shapes of its embeddings."""
    found: dict[str, tuple[int, ...]] = {}
    prepared.model.eval()
    with torch.no_grad(), Tracker():
        for column in row.columns:
            outputs = prepared.model(dict(column))
            names = [name for name in ("sentence_embedding", "token_embeddings") if name in outputs][:1]
            found |= {name: tuple(max(found.get(name, ()), outputs[name].shape[1:])) for name in names}
    return found
