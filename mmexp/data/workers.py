"""Data workers: how many there are, and the cores that they leave to the model."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mmexp.experiment import Experiment

MAX_WORKERS = 8
PREFETCHED_BATCHES = 2  # per worker, torch's default
DEFAULT_PIXELS = 1 << 20


def default_workers(batch_bytes: int) -> int:
    """Data workers of this process: its share of the node's cores, less one for the process itself.

    Fewer where the batches that they hold ready would fill more than a quarter of the node's memory.
    """
    processes = int(os.environ.get("LOCAL_WORLD_SIZE", 1))
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    affordable = memory // 4 // processes // (PREFETCHED_BATCHES * batch_bytes)
    return max(1, min(MAX_WORKERS, cores // processes - 1, affordable))


def batch_bytes(experiment: Experiment) -> int:
    """About what a preprocessed batch takes: two frames of three float32 channels for each pixel of each page."""
    rows = int(experiment.trainer.get("per_device_train_batch_size", 8))
    return rows * (1 + experiment.data.num_negatives) * (experiment.model.max_pixels or DEFAULT_PIXELS) * 2 * 3 * 4


def fork_workers() -> None:
    """Have data workers inherit the data and the model, which cannot be sent to them; Python 3.14 does so no longer."""
    multiprocessing.set_start_method("fork", force=True)


@contextmanager
def cores_beside(num_workers: int) -> Iterator[None]:
    """Where the model computes on the CPU, it takes the cores that `num_workers` busy workers leave, at least one.

    Threads that wait for each other spin, and take from the workers what these would have the next batch from.
    """
    import torch

    threads = torch.get_num_threads()
    if not torch.accelerator.is_available():
        torch.set_num_threads(max(1, threads - num_workers))
    try:
        yield
    finally:
        torch.set_num_threads(threads)
