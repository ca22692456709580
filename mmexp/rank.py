"""`python -m mmexp.rank RUN_DIR [DIGEST]`: one rank of the run that RUN_DIR holds the composition of, or all of it.

What launchers start. A run that was interrupted is continued from its newest checkpoint.
"""

from __future__ import annotations

import logging
import os
import sys
from pathlib import Path

from mmexp.__main__ import complain
from mmexp.composition import Composition, thaw
from mmexp.processes.children import die_with_parent
from mmexp.processes.interruption import is_rank
from mmexp.recording.status import read_result
from mmexp.schema import ConfigError


def main() -> None:
    """Under a launcher, the traceback of what goes wrong is left for it in the file that it has named."""
    if is_rank():
        die_with_parent()  # a launcher that is killed leaves no rank behind that trains on
        from torch.distributed.elastic.multiprocessing.errors import record

        try:
            record(run_rank)()
        except ConfigError:
            sys.exit(1)  # the launcher has its words from the file, and says them once
    else:
        try:
            run_rank()
        except ConfigError as error:
            complain(str(error))


def run_rank() -> None:
    composition = thaw(Path(sys.argv[1]), *sys.argv[2:3])
    if not is_rank() and read_result(composition.run_dir)["status"] == "finished":
        raise ConfigError(f"{composition.run_dir} is finished: there is nothing to continue.")
    composition.enter()
    log_into(composition)
    without_compiler()
    from mmexp.recording.upload import upload
    from mmexp.run import run

    run(composition)
    if is_rank():
        end_together()
    if os.environ.get("RANK", "0") == "0":
        upload(composition)


def end_together() -> None:
    """A rank that ends while others still talk to it can abort them, after all the work is done."""
    from accelerate import PartialState

    PartialState().wait_for_everyone()
    PartialState().destroy_process_group()


def log_into(composition: Composition) -> None:
    """The terminal and mmexp.log, by rank 0. What all ranks would log alike is not logged by the others."""
    rank = int(os.environ.get("RANK", "0"))
    handlers: list[logging.Handler] = [logging.StreamHandler(sys.stdout)]
    if rank == 0:
        handlers.append(logging.FileHandler(composition.run_dir / "mmexp.log"))
    name = f"[rank {rank}] " if rank else ""
    logging.basicConfig(
        level=logging.ERROR if rank else logging.INFO,
        format=f"%(asctime)s %(levelname).1s {name}%(message)s",
        datefmt="%H:%M:%S",
        handlers=handlers,
    )


def without_compiler() -> None:
    """On a CPU, DeepSpeed would compile an operator for shared memory, which asks for a compiler and takes a minute."""
    if os.environ.get("DS_ACCELERATOR") == "cpu":
        import deepspeed

        deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False


if __name__ == "__main__":
    main()
