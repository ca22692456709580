"""Weights that are split over the ranks, by DeepSpeed ZeRO-3 or FSDP2: whole again for a moment, to be saved."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from accelerate import PartialState
from torch import nn
from torch.distributed.fsdp import FSDPModule
from torch.distributed.tensor import DTensor


def is_shard(parameter: torch.Tensor) -> bool:
    """Whether a rank holds a part of it only."""
    return isinstance(parameter, DTensor) or hasattr(parameter, "ds_id")


def is_sharded(model: nn.Module) -> bool:
    """Whether any weight is split over the ranks."""
    return any(map(is_shard, model.parameters()))


@contextmanager
def whole_weights(model: nn.Module) -> Iterator[None]:
    """Within, the model of rank 0 has all its weights, in the memory of the CPU, and cannot compute.

    A collective, one weight at a time: the GPU holds no more than one whole weight. On the other ranks nothing changes.
    """
    for module in model.modules():
        if isinstance(module, FSDPModule):
            module.reshard()  # or it would do so when its weights are asked for, and undo what is done here
    places = [
        (module, name, parameter)
        for module in model.modules()
        for name, parameter in module._parameters.items()
        if parameter is not None and is_shard(parameter)
    ]
    whole: dict[int, nn.Parameter | None] = {}  # a weight that two modules share stays one
    for _, _, parameter in places:
        if id(parameter) not in whole:
            gathered = _gathered(parameter)
            whole[id(parameter)] = None if gathered is None else nn.Parameter(gathered, parameter.requires_grad)
    is_main = PartialState().is_main_process
    try:
        for module, name, parameter in places if is_main else []:
            module._parameters[name] = whole[id(parameter)]
        yield
    finally:
        for module, name, parameter in places if is_main else []:
            module._parameters[name] = parameter


def _gathered(parameter: torch.Tensor) -> torch.Tensor | None:
    """The whole weight, on rank 0."""
    if isinstance(parameter, DTensor):
        full = parameter.full_tensor()  # by all ranks
        return full.detach().cpu() if PartialState().is_main_process else None
    import deepspeed

    with deepspeed.zero.GatheredParameters([parameter]):
        return parameter.detach().to("cpu", copy=True) if PartialState().is_main_process else None
