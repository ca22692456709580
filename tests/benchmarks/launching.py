"""What comes before the first step: a member of a sweep, against `accelerate launch` of a plain script.

Seconds from typing the command to the end of the first step. Ours is a sweep of one member, so all of its composing is
on that one's account.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from datetime import datetime
from pathlib import Path

from mmexp.launchers.engine import FILES
from tests.benchmarks.pages import PIXELS, write_data, write_model
from tests.benchmarks.step import SIZES
from tests.test_run import environment

NUM_ROUNDS = 3


def member_in_one_process(folder: Path) -> list[tuple[float, float]]:
    """One process each."""
    return compare(folder, 1)


def member_in_two_processes(folder: Path) -> list[tuple[float, float]]:
    """Two gloo processes each."""
    return compare(folder, 2)


def compare(folder: Path, processes: int) -> list[tuple[float, float]]:
    """Seconds to the first step of the plain script, and of ours, in turns."""
    data, model = write_data(folder / "data", 32, 8), write_model(folder / "model", **SIZES)
    return [
        (
            plain(folder / f"plain-{n}", data, model, processes),
            ours(folder / f"ours-{n}", data, model, processes),
        )
        for n in range(NUM_ROUNDS)
    ]


def plain(folder: Path, data: Path, model: Path, processes: int) -> float:
    folder.mkdir()
    options = ["--num_processes", str(processes), "--num_machines", "1", "--main_process_port", "0"]
    several = ["--config_file", str(FILES / "ddp.yaml")] if processes > 1 else ["--cpu"]
    script = ["--module", "tests.benchmarks.plain_script", *map(str, (data, model, folder))]
    started = time.time()
    run(["-m", "accelerate.commands.launch", *several, *options, *script], folder, processes)
    return float((folder / "first_step").read_text()) - started


def ours(folder: Path, data: Path, model: Path, processes: int) -> float:
    folder.mkdir()
    overrides = [
        "+experiment=vdr_2b",
        "model=hub",
        f"model.checkpoint={model}",
        *(f"model.{key}={value}" for key, value in PIXELS.items()),
        f"data.path={data}",
        "dims=none",
        "dims.matryoshka_dims=[32,16,8]",
        "loss.mini_batch_num_tokens=16384",
        "trainer.max_steps=1",
        "trainer.per_device_train_batch_size=8",
        "trainer.bf16=false",
        "trainer.eval_strategy=no",
        "trainer.save_strategy=no",
        "trainer.logging_steps=1",
        "tracking=none",
        "tracking.grid=null",
        "seed=1",
    ]
    launch = ["launch=accelerate", f"launch.num_processes={processes}"] if processes > 1 else []
    started = time.time()
    run(["-m", "mmexp", "-m", *overrides, *launch, f"output_root={folder}"], folder, processes)
    [metrics] = folder.glob("*/sweep/*/metrics.jsonl")
    rows = [json.loads(line) for line in metrics.read_text().splitlines()]
    [first_step] = [row["time"] for row in rows if "train/loss" in row["metrics"]]
    return datetime.fromisoformat(first_step).timestamp() - started


def run(arguments: list[str], folder: Path, processes: int) -> None:
    """Run Python, with the settings that make CPU processes of accelerate's for both."""
    threads = max(1, len(os.sched_getaffinity(0)) // processes)
    settings = {"ACCELERATE_USE_CPU": "true", "GLOO_SOCKET_IFNAME": "lo", "OMP_NUM_THREADS": str(threads)}
    with (folder / "terminal.txt").open("wb") as terminal:
        subprocess.run(
            [sys.executable, *arguments],
            cwd=folder,
            env=environment() | settings,
            stdout=terminal,
            stderr=subprocess.STDOUT,
            check=True,
        )
