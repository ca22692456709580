"""The processes of a planned run, and the engine that trains one model in them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch.distributed as dist

from mmexp.plan.settings import Device
from mmexp.processes.visible_gpus import num_visible_gpus

if TYPE_CHECKING:
    from mmexp.experiment import Experiment


def num_processes(experiment: Experiment) -> int:
    """Processes of the run, on all nodes; where launch leaves it to the machine, as many as it would be here."""
    count = experiment.launch.num_ranks
    return count if isinstance(count, int) else max(1, num_visible_gpus())


def engine_of(experiment: Experiment) -> str | None:
    """ddp, zero1, zero2, zero3 or fsdp2. None: one process by itself."""
    engine = experiment.launch.engine
    return None if engine == "ddp" and num_processes(experiment) == 1 else engine


def device_of(experiment: Experiment) -> str:
    """What trains: cuda or cpu."""
    plan, launch = experiment.plan, experiment.launch
    if plan.device is not Device.auto:
        return plan.device.value
    asks_for_gpus = experiment.trainer.get("bf16") or experiment.trainer.get("fp16") or launch.engine == "fsdp2"
    asks_for_gpus = asks_for_gpus or getattr(launch, "gpus_per_node", 0) > 0
    return "cuda" if asks_for_gpus or num_visible_gpus() else "cpu"


@contextmanager
def pretended(count: int) -> Iterator[None]:
    """Within, this process believes to be the first of `count`: what it gathers has the shapes of all of them."""
    if count == 1:
        yield
        return
    from torch.testing._internal.distributed.fake_pg import FakeStore

    dist.init_process_group("fake", store=FakeStore(), rank=0, world_size=count)
    try:
        yield
    finally:
        dist.destroy_process_group()
