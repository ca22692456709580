"""Start n gloo processes on one function, under the engine that is asked for."""

from __future__ import annotations

import faulthandler
import multiprocessing
import os
import socket
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from multiprocessing.connection import wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

# Imported once, in a server that the ranks are forked from: they take most of the time that a process needs to start.
PRELOADED = ["torch", "deepspeed", "sentence_transformers", "peft", "datasets", "mmexp.kinds", "mmexp.training.fit"]


def run_ranks(
    function: Callable[..., Any],
    num_processes: int,
    engine: str | None = "ddp",
    timeout_seconds: float = 240,
    **arguments: Any,
) -> list[Any]:
    """Call `function(**arguments)` in `num_processes` processes; return what each rank returned.

    `function` is found by its module and name, and may return anything that `torch.save` takes. `engine` is one of
    `engines.ENGINES`; with None a process is on its own, without a rank. Give the library's training arguments
    `engines.TRAINING_ARGUMENTS`. Raises `AssertionError` with the traceback of the first rank that fails, and ends the
    others; ranks that hang print where, and are ended after `timeout_seconds`.
    """
    assert engine is not None or num_processes == 1
    with tempfile.TemporaryDirectory() as name:
        folder, port = Path(name), _free_port()
        ranks = [
            _context().Process(
                target=_rank,
                args=(folder, _environment(rank, num_processes, port), engine, timeout_seconds, function, arguments),
            )
            for rank in range(num_processes)
        ]
        for process in ranks:
            process.start()
        try:
            _join(ranks, folder, time.monotonic() + timeout_seconds)
        finally:
            for process in ranks:
                process.kill()
                process.join()
        return [_load(folder / f"{rank}.pt") for rank in range(num_processes)]


def _context() -> Any:
    os.environ["DS_ACCELERATOR"] = "cpu"  # read when deepspeed is imported
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOADED)
    return context


def _environment(rank: int, num_processes: int, port: int) -> dict[str, str]:
    return {
        "GLOO_SOCKET_IFNAME": "lo",
        "RANK": str(rank),
        "LOCAL_RANK": str(rank),
        "WORLD_SIZE": str(num_processes),
        "LOCAL_WORLD_SIZE": str(num_processes),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
    }


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
        return port


def _rank(
    folder: Path,
    environment: dict[str, str],
    engine: str | None,
    timeout_seconds: float,
    function: Callable[..., Any],
    arguments: dict[str, Any],
) -> None:
    """All that one process does."""
    import torch

    from tests.distributed import engines

    rank = environment["RANK"]
    faulthandler.dump_traceback_later(timeout_seconds - 5, file=sys.__stderr__)
    os.environ["OMP_NUM_THREADS"] = "1"
    torch.set_num_threads(1)
    try:
        if engine is not None:
            os.environ.update(environment)
            engines.enter(engine, folder)
        torch.save(function(**arguments), folder / f"{rank}.pt")
        if torch.distributed.is_initialized():
            torch.distributed.barrier()  # or a rank that is done would take the connection from those that are not
            torch.distributed.destroy_process_group()
    except BaseException:
        (folder / f"{time.time_ns()}.{rank}.failed").write_text(traceback.format_exc())
        os._exit(1)
    os._exit(0)  # without the libraries' exit handlers, which belong to the server


def _join(ranks: list[BaseProcess], folder: Path, deadline: float) -> None:
    running = {process.sentinel: process for process in ranks}
    while running:
        done = wait(running, timeout=max(0.0, deadline - time.monotonic()))
        assert done, f"ranks did not end in time: {[ranks.index(process) for process in running.values()]}"
        for sentinel in done:
            process = running.pop(sentinel)
            process.join()
            assert process.exitcode == 0, _first_failure(folder, f"a rank ended with {process.exitcode}")


def _first_failure(folder: Path, otherwise: str) -> str:
    failures = sorted(folder.glob("*.failed"))
    return f"rank {failures[0].suffixes[0][1:]}:\n{failures[0].read_text()}" if failures else otherwise


def _load(file: Path) -> Any:
    import torch

    return torch.load(file, weights_only=False)
