"""The processes of a run, and what they tell each other: by torch.distributed, where there are several.

`spread`, `in_order`, `gather`, `broadcast` and `refuse_unequal` are collectives, and so is all that calls them: every
rank calls them, in the same order. Tensors in what they are given are on the CPU.
"""

from __future__ import annotations

import os
import pickle
from collections.abc import Callable
from typing import TypeVar

import torch
import torch.distributed as dist

from mmexp.schema import ConfigError

Value = TypeVar("Value")

# What is in the accelerator's memory at a time, where messages have to pass through it.
CHUNK_BYTES = 64 << 20


def rank() -> int:
    """The number of this process among all of the run, over all nodes. 0 for one that is alone."""
    return dist.get_rank() if _connected() else int(os.environ.get("RANK", "0"))


def world_size() -> int:
    """How many processes the run has. 1 until they are connected, which making the training arguments does."""
    return dist.get_world_size() if _connected() else 1


def is_main() -> bool:
    """Whether this is the one process that writes and logs."""
    return rank() == 0


def dealt(count: int) -> range:
    """Those of `count` pieces of work that are this rank's: every n-th, so that n ranks have about equally much."""
    return range(rank() if world_size() > 1 else 0, count, world_size())


def spread(count: int, work: Callable[[int], Value]) -> list[Value]:
    """What `work` makes of 0 ... count - 1, on every rank. Each rank does its own part of it."""
    return in_order([work(piece) for piece in dealt(count)], count)


def in_order(own: list[Value], count: int) -> list[Value]:
    """The results of all ranks in the order of the pieces, on every rank; `own` are those of `dealt(count)`."""
    shares = gather(own)
    return [shares[piece % len(shares)][piece // len(shares)] for piece in range(count)]


def gather(value: Value) -> list[Value]:
    """The value of every rank, on every rank."""
    if world_size() == 1:
        return [value]
    return [_sent(value, source) for source in range(world_size())]


def broadcast(value: Value) -> Value:
    """The value of rank 0, on every rank. What the others give is not looked at."""
    return value if world_size() == 1 else _sent(value, source=0)


def refuse_unequal(value: str, what: str) -> None:
    """Raise `ConfigError` on every rank, unless all have the same value. A collective."""
    values = gather(value)
    if others := [rank for rank, found in enumerate(values) if found != values[0]]:
        raise ConfigError(
            f"{what} is {values[0]} on rank 0, and {values[others[0]]} on rank {others[0]}: machines see different "
            "files. Have output_root and the data on a file system that they share, and start again with: "
            "python -m mmexp.resume RUN_DIR"
        )


def _connected() -> bool:
    return dist.is_available() and dist.is_initialized()


def _sent(value: Value, source: int) -> Value:
    """The value of `source`. Sent in pieces, so that it may be larger than the memory of an accelerator."""
    device = _device()
    is_source = rank() == source
    content = torch.frombuffer(bytearray(pickle.dumps(value)), dtype=torch.uint8) if is_source else torch.empty(0)
    size = torch.tensor(len(content), device=device)
    dist.broadcast(size, source)
    if not is_source:
        content = torch.empty(int(size), dtype=torch.uint8)
    for chunk in content.split(CHUNK_BYTES):
        staged = chunk.to(device)
        dist.broadcast(staged, source)
        if not is_source:
            chunk.copy_(staged)
    return value if is_source else pickle.loads(content.numpy().data)


def _device() -> torch.device:
    """Where a message has to be for the process group to send it."""
    if "gloo" in dist.get_backend_config():
        return torch.device("cpu")
    accelerator = torch.accelerator.current_accelerator()
    assert accelerator is not None
    return torch.device(accelerator.type, torch.accelerator.current_device_index())
