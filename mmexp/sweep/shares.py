"""The machine, cut into equal shares for runs side by side: its visible GPUs, and the cores of this process."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from unittest.mock import patch

from mmexp.processes.visible_gpus import visible_gpu_names
from mmexp.schema import ConfigError
from mmexp.tracking import SHARES_MACHINE


@dataclass(frozen=True)
class Share:
    """What one of several runs may use of the machine."""

    gpus: list[str]
    """As CUDA_VISIBLE_DEVICES names them; empty where there is none."""

    cores: set[int]

    @contextmanager
    def taken(self) -> Iterator[None]:
        """This thread has the share for the length of the block, and what it starts then keeps it.

        So a launcher counts what its run may use, and data workers are as many as the run has cores.
        """
        cores = os.sched_getaffinity(0)
        variables = {"OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", str(len(self.cores))), SHARES_MACHINE: "1"}
        variables |= {"CUDA_VISIBLE_DEVICES": ",".join(self.gpus)} if self.gpus else {}
        os.sched_setaffinity(0, self.cores)
        try:
            with patch.dict(os.environ, variables):
                yield
        finally:
            os.sched_setaffinity(0, cores)


def shares(count: int) -> list[Share]:
    """Equal shares, because runs on unequal ones would not be comparable; what cannot be shared equally is left over.

    Raises `ConfigError` for more shares than GPUs, or than cores where there is no GPU.
    """
    gpus, cores = visible_gpu_names(), sorted(os.sched_getaffinity(0))
    what, available = ("GPUs", len(gpus)) if gpus else ("cores", len(cores))
    if count > available:
        raise ConfigError(
            f"sweep.at_once={count} is more than the {what} that are visible, which are {available}. Use "
            f"sweep.at_once={available} or less."
        )
    num_gpus, num_cores = len(gpus) // count, len(cores) // count
    return [
        Share(
            gpus[n * num_gpus : (n + 1) * num_gpus],
            set(cores[n * num_cores : (n + 1) * num_cores]) or set(cores),
        )
        for n in range(count)
    ]
