"""The GPUs that this process may use, by NVML's index: what CodeCarbon needs to book theirs and no others."""

from __future__ import annotations

import logging
import os
from itertools import takewhile
from typing import Any

log = logging.getLogger(__name__)


def visible_gpus() -> list[int] | None:
    """NVML indices of the GPUs that CUDA_VISIBLE_DEVICES leaves to this process; None for all of the machine.

    It may name GPUs by UUID, and slices of them as MIG-..., both of which CodeCarbon would book as no GPU at all. The
    energy of a MIG slice cannot be told from that of its GPU, so the whole GPU is booked.
    """
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is None:
        return None
    names = _named(visible)
    if all(name.isdigit() for name in names):
        return [int(name) for name in names]
    try:
        return sorted(_look_up(names))
    except Exception as error:  # NVML and its bindings raise many kinds; energy must not fail a run
        log.warning("energy: CUDA_VISIBLE_DEVICES=%s cannot be looked up (%r), so no GPU is booked", visible, error)
        return []


def num_visible_gpus() -> int:
    """How many GPUs, or slices of them, a process started from here would see."""
    return len(visible_gpu_names())


def visible_gpu_names() -> list[str]:
    """The GPUs that a process started from here would see, as CUDA_VISIBLE_DEVICES names them. Asks the driver, without
    torch: a name alone is no GPU."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    try:
        import pynvml

        pynvml.nvmlInit()
        indices = [str(index) for index in range(pynvml.nvmlDeviceGetCount())]
    except Exception:  # NVML and its bindings raise many kinds where there is no driver
        return []
    return indices if visible is None else [*takewhile(lambda name: _exists(name, indices), _named(visible))]


def _exists(name: str, indices: list[str]) -> bool:
    try:
        return name in indices if name.isdigit() else bool(_look_up([name]))
    except Exception:  # as above; StopIteration, for a UUID of no GPU
        return False


def _named(visible: str) -> list[str]:
    """As CUDA reads it: an entry that names no GPU, such as -1, hides itself and all that follow."""
    entries = [entry.strip() for entry in visible.split(",")]
    return [*takewhile(lambda name: name.isdigit() or name.startswith(("GPU-", "MIG-")), entries)]


def _look_up(names: list[str]) -> set[int]:
    import pynvml

    pynvml.nvmlInit()
    handles = [pynvml.nvmlDeviceGetHandleByIndex(index) for index in range(pynvml.nvmlDeviceGetCount())]
    index_of = {str(pynvml.nvmlDeviceGetUUID(handle)): index for index, handle in enumerate(handles)}
    return {int(name) if name.isdigit() else _index(name, index_of, pynvml) for name in names}


def _index(name: str, index_of: dict[str, int], pynvml: Any) -> int:
    """The index of one GPU by (the beginning of) its UUID, or of the GPU that a MIG slice is part of."""
    if name.startswith("MIG-GPU-"):  # the older form: MIG-<the GPU's UUID>/<instance>/<instance>
        name = name.removeprefix("MIG-").partition("/")[0]
    elif name.startswith("MIG-"):
        slice_handle = pynvml.nvmlDeviceGetHandleByUUID(name)
        return int(pynvml.nvmlDeviceGetIndex(pynvml.nvmlDeviceGetDeviceHandleFromMigDeviceHandle(slice_handle)))
    return next(index for uuid, index in index_of.items() if uuid.startswith(name))
