"""What a training really allocates on a CPU: by PyTorch's own profiler, which sees what kernels hold too."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch._C._profiler import _EventType

from mmexp.data.workers import fork_workers
from mmexp.experiment import Experiment
from mmexp.kinds import kind_of
from mmexp.training.arguments import training_arguments
from mmexp.training.fit import build_trainer
from mmexp.training.tuning import Tuning


def measured_peak(experiment: Experiment, folder: Path) -> tuple[int, int]:
    """The most bytes that tensors of the library's own training held at a time, and those of the inputs among them."""
    trainer, loss = built(experiment, folder)
    inputs: list[int] = []
    loss.register_forward_pre_hook(lambda _, given: inputs.append(bytes_of(given[0])))
    weights = bytes_of([dict(enumerate([*loss.parameters(), *loss.buffers()]))])
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # kernels hold scratch for every thread, which a plan leaves out, and says so
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as profiler:
        trainer.train()
    torch.set_num_threads(threads)
    # Inputs come from a worker process, in shared memory, some batches ahead.
    of_inputs = max(inputs) * trainer.args.gradient_accumulation_steps
    return weights + of_inputs + allocated(profiler), of_inputs


def measured_on_gpu(experiment: Experiment, folder: Path) -> int:
    """The most bytes of the GPU that the library's own training held at a time."""
    trainer, _ = built(experiment, folder)
    torch.cuda.reset_peak_memory_stats()
    trainer.train()
    return torch.cuda.max_memory_allocated()


def built(experiment: Experiment, folder: Path) -> tuple[Any, torch.nn.Module]:
    """The library's trainer and the loss, as a run builds them."""
    fork_workers()
    kind = kind_of(experiment)
    args = training_arguments(experiment, kind, folder)
    data = experiment.data.build(for_training=True)
    model = kind.build_model()
    Tuning(experiment, model).apply(args, folder / "base")
    loss = kind.build_loss(model)
    datasets = {name: examples.dataset() for name, examples in kind.examples(data.train).items()}
    return build_trainer(kind, args, model, loss, datasets, None, []), loss  # type: ignore[arg-type]


def bytes_of(columns: list[Any]) -> int:
    """Of all storages, each once. Texts and pages, which a reranker's loss is called with, are none."""
    tensors = [v for column in columns if isinstance(column, dict) for v in column.values() if torch.is_tensor(v)]
    storages = {tensor.untyped_storage().data_ptr(): tensor.untyped_storage().nbytes() for tensor in tensors}
    return sum(storages.values())


def allocated(profiler: Any) -> int:
    """The most bytes that were allocated at a time since the profiler started, but for what came from data workers."""
    events = list(profiler.profiler.kineto_results.experimental_event_tree())
    found = []
    while events:
        event = events.pop()
        events += event.children
        if event.tag == _EventType.Allocation:
            found.append(event)
    live: dict[int, int] = {}
    held = peak = 0
    for event in sorted(found, key=lambda event: event.start_time_ns):
        pointer, size = event.extra_fields.ptr, event.extra_fields.alloc_size
        if size > 0 and not from_worker(event):
            live[pointer] = size
            held += size
            peak = max(peak, held)
        elif size < 0:
            held -= live.pop(pointer, 0)
    return peak


def from_worker(event: Any) -> bool:
    while event is not None:
        if "DataLoader" in event.name:
            return True
        event = event.parent
    return False
