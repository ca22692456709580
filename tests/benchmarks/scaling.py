"""Two gloo processes against one on the same cores and the same global batch, and what their talk costs a step."""

from __future__ import annotations

import json
import statistics
import time
from pathlib import Path

from tests.benchmarks.launching import run
from tests.benchmarks.pages import PIXELS, write_data, write_model
from tests.benchmarks.step import SIZES
from tests.distributed.processes import run_ranks

NUM_ROUNDS = 3
ROWS, STEPS, DIMENSION = 32, 10, 128


def two_processes(folder: Path) -> list[tuple[float, float]]:
    """Seconds for 1,000 tokens of training, of one process and of two, in turns."""
    data, model = write_data(folder / "data", ROWS * STEPS, 8), write_model(folder / "model", **SIZES)
    bytes_of_gradients = sum(file.stat().st_size for file in model.glob("*.safetensors"))
    talk = run_ranks(seconds_of_talk, 2, "ddp", num_bytes=bytes_of_gradients, num_embeddings=ROWS * 3)[0]
    print(
        f"two_processes: the gradients ({bytes_of_gradients / 1e6:.1f} MB) take {talk['gradients'] * 1000:.1f} ms a "
        f"step, the embeddings {talk['embeddings'] * 1000:.1f} ms",
        flush=True,
    )
    return [
        tuple(1000 / tokens_per_second(folder / f"{n}-{processes}", data, model, processes) for processes in (1, 2))  # type: ignore[misc]
        for n in range(NUM_ROUNDS)
    ]


def tokens_per_second(folder: Path, data: Path, model: Path, processes: int) -> float:
    """Of a whole run, evaluations excluded, as result.json says it."""
    folder.mkdir()
    overrides = [
        "+experiment=vdr_2b",
        "model=hub",
        f"model.checkpoint={model}",
        *(f"model.{key}={value}" for key, value in PIXELS.items()),
        f"data.path={data}",
        "data.jpeg_pixels=${model.max_pixels}",
        "dims=none",
        "trainer.num_train_epochs=1",
        f"trainer.per_device_train_batch_size={ROWS // processes}",
        "trainer.bf16=false",
        "trainer.eval_strategy=no",
        "trainer.save_strategy=no",
        "tracking=none",
        "tracking.grid=null",
    ]
    launch = ["launch=accelerate", f"launch.num_processes={processes}"] if processes > 1 else []
    run(["-m", "mmexp", *overrides, *launch, f"output_root={folder}"], folder, processes)
    [result] = folder.glob("*/*/result.json")
    return float(json.loads(result.read_text())["throughput"]["tokens_per_second"])


def seconds_of_talk(num_bytes: int, num_embeddings: int) -> dict[str, float]:
    """The collectives of one step by themselves: the sum of all gradients, and the embeddings of all ranks."""
    import torch
    from accelerate import PartialState
    from torch import distributed

    PartialState()
    gradients, embeddings = torch.ones(num_bytes // 4), torch.ones(num_embeddings // 2, DIMENSION)
    of_all = [torch.empty_like(embeddings) for _ in range(distributed.get_world_size())]
    return {
        "gradients": timed(lambda: distributed.all_reduce(gradients)),
        "embeddings": timed(lambda: distributed.all_gather(of_all, embeddings)),
    }


def timed(collective, repetitions: int = 30) -> float:
    """The median of its seconds."""
    from torch import distributed

    seconds = []
    for _ in range(repetitions):
        distributed.barrier()
        started = time.perf_counter()
        collective()
        seconds.append(time.perf_counter() - started)
    return statistics.median(seconds)
