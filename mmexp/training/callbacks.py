"""What watches the library's trainer: a first line, counting pages and tokens, logging, progress, profiling."""

from __future__ import annotations

import logging
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from tqdm.auto import tqdm
from transformers.trainer_callback import ExportableState, TrainerCallback

from mmexp.data.training import LABEL_COLUMNS
from mmexp.distributed import ranks
from mmexp.distributed.rank_batches import RankBatches
from mmexp.evaluation.encode import Diverged
from mmexp.evaluation.metrics import PRIMARY_METRIC
from mmexp.models.facts import tokens_per_page
from mmexp.training.tokens import patch_size, tokens_of_each

if TYPE_CHECKING:
    from datasets import Dataset
    from sentence_transformers.base.model import BaseModel
    from transformers import TrainerState

    from mmexp.evaluation.model_evaluator import ModelEvaluator
    from mmexp.processes.interruption import Interruption
    from mmexp.recording.record import Record

log = logging.getLogger(__name__)

# Input tensors with a row, or a grid, for each page: the first that a batch has counts them.
PAGE_FEATURES = ("image_grid_thw", "video_grid_thw", "pixel_values", "input_features", "input_values")


class Announce(TrainerCallback):
    """The first line: what is about to happen, and how much of it."""

    def __init__(self, model: BaseModel, datasets: dict[str, Dataset], evaluator: ModelEvaluator[Any]) -> None:
        self.model = model
        self.datasets = datasets
        self.evaluator = evaluator

    def on_train_begin(self, args, state, control, **kwargs) -> None:
        rows_of_step = args.world_size * args.train_batch_size * args.gradient_accumulation_steps
        rows = (state.max_steps - state.global_step) * rows_of_step
        pages = rows * max(map(pages_per_row, self.datasets.values()))
        evaluations = 0
        if args.eval_strategy == "steps":
            evaluations = state.max_steps // state.eval_steps - state.global_step // state.eval_steps
        log.info(
            "training: steps %d to %d of %d rows each, at most %s pages and %s page tokens; %d evaluations of %d "
            "queries over %d documents",
            state.global_step + 1,
            state.max_steps,
            rows_of_step,
            f"{pages:,}",
            f"{pages * tokens_per_page(self.model):,}",
            evaluations,
            len(self.evaluator.queries),
            len(self.evaluator.corpus),
        )


def pages_per_row(dataset: Dataset) -> int:
    """Documents beside the query in the first row of a training data set, read without decoding one."""
    row = dataset.with_format("arrow")[:1].to_pylist()[0]
    documents = [value for column, value in row.items() if column not in ("query", *LABEL_COLUMNS)]
    return sum(len(value) if isinstance(value, list) else 1 for value in documents)


class Counter(TrainerCallback):
    """Counts the rows, pages (images, videos, recordings) and tokens that all ranks pass through the model in training.

    Pages and tokens are counted on the way into the model, on its own device and without waiting for it. What is
    computed a second time, within the backward pass, is not counted again.
    """

    def __init__(self, model: BaseModel, num_rows: int, record: Record) -> None:
        self.model = model
        self.num_rows = num_rows
        self.record = record
        self.patch_size = patch_size(model)
        self.pages = 0
        self.tokens = torch.zeros((), dtype=torch.int64, device=model.device)

    def on_train_begin(self, args, state, control, **kwargs) -> None:
        self._rows_before = self._rows(state)
        self._seconds_before = self.record.seconds("train")
        self._handle = self.model[0].register_forward_pre_hook(self._count)

    def on_step_end(self, args, state, control, **kwargs) -> None:
        self.record.samples_seen = self._rows(state)

    def on_train_end(self, args, state, control, **kwargs) -> None:
        self._handle.remove()

    def _rows(self, state: TrainerState) -> int:
        """Rows so far. From the epoch rather than from the batches, which differ in size where rows share pages."""
        return round((state.epoch or 0) * self.num_rows)

    def _count(self, module: torch.nn.Module, inputs: tuple[dict[str, Any]]) -> None:
        if not module.training or torch._C._current_graph_task_id() != -1:
            return
        features = inputs[0]
        self.tokens += tokens_of_each(features, self.patch_size).sum()
        self.pages += next((len(features[key]) for key in PAGE_FEATURES if key in features), 0)

    def throughput(self) -> dict[str, float]:
        """Pages, tokens and rows of all ranks per second of training time, evaluations excluded. A collective."""
        seconds = max(self.record.seconds("train") - self._seconds_before, 1e-9)
        pages, tokens = map(sum, zip(*ranks.gather((self.pages, int(self.tokens))), strict=True))
        return {
            "pages_per_second": pages / seconds,
            "tokens_per_second": tokens / seconds,
            "samples_per_second": (self.record.samples_seen - self._rows_before) / seconds,
        }


class LogToRecord(TrainerCallback):
    """Sends what the trainer logs to the record, and stops a run whose loss is not a number."""

    def __init__(self, record: Record, counter: Counter) -> None:
        self.record = record
        self.counter = counter

    def on_log(self, args, state, control, **kwargs) -> None:
        logs: dict[str, float] = kwargs["logs"]
        if "loss" in logs:
            names = {"loss": "train/loss", "grad_norm": "train/grad_norm", "learning_rate": "train/learning_rate"}
            row = {names[key]: float(value) for key, value in logs.items() if key in names}
            row |= {f"train/{name}": value for name, value in self.counter.throughput().items()}
            self.record.log(row, step=state.global_step)
            if not math.isfinite(logs["loss"]):
                raise Diverged(
                    f"the training loss is {logs['loss']} at step {state.global_step}. Lower trainer.learning_rate, "
                    "raise trainer.warmup_steps, or set trainer.max_grad_norm."
                )

    def on_evaluate(self, args, state, control, **kwargs) -> None:
        kept = {
            key.replace("eval_", "eval/", 1): value
            for key, value in kwargs["metrics"].items()
            if "@" in key or key == "eval_loss"
        }
        self.record.log(kept, step=state.global_step)


class EpochOfBatches(TrainerCallback):
    """Tells the batches of several ranks which epoch a resumed run is in.

    The library tells the sampler that it finds two wrappers deep, which it is not where batches are skipped as well.
    """

    def on_train_begin(self, args, state, control, **kwargs) -> None:
        dealt_out = getattr(kwargs["train_dataloader"].batch_sampler, "batch_sampler", None)
        if isinstance(dealt_out, RankBatches):
            dealt_out.set_epoch(int(state.epoch or 0))


class MeasureTogether(TrainerCallback):
    """Evaluates on all ranks when an evaluation is due, just before the library calls the evaluator.

    The library calls it on rank 0 alone under DDP, and ours takes all ranks.
    """

    def __init__(self, evaluator: ModelEvaluator[Any]) -> None:
        self.evaluator = evaluator

    def on_train_begin(self, args, state, control, **kwargs) -> None:
        if args.eval_on_start:
            self.evaluator.measure(kwargs["model"])

    def on_step_end(self, args, state, control, **kwargs) -> None:
        if control.should_evaluate:
            self.evaluator.measure(kwargs["model"])

    on_epoch_end = on_step_end


class ProgressBar(TrainerCallback):
    """One bar over the steps, with the last loss and the last primary metric beside it."""

    def on_train_begin(self, args, state, control, **kwargs) -> None:
        self.shown: dict[str, str] = {}
        self.bar = tqdm(
            total=state.max_steps,
            initial=state.global_step,
            desc="Train",
            unit="step",
            disable=not state.is_world_process_zero,
        )

    def on_step_end(self, args, state, control, **kwargs) -> None:
        self.bar.update(state.global_step - self.bar.n)

    def on_log(self, args, state, control, **kwargs) -> None:
        for key, name in (("loss", "loss"), (f"eval_{PRIMARY_METRIC}", PRIMARY_METRIC)):
            if key in kwargs["logs"]:
                self.shown[name] = f"{kwargs['logs'][key]:.4f}"
        self.bar.set_postfix(self.shown)

    def on_train_end(self, args, state, control, **kwargs) -> None:
        self.bar.close()


class WorldSize(TrainerCallback, ExportableState):
    """Notes in every checkpoint how many ranks wrote it: a batch was that of all of them."""

    def state(self) -> dict[str, Any]:
        return {"args": {}, "attributes": {"world_size": ranks.world_size()}}


class StopWhenAsked(TrainerCallback):
    """Ends training with a checkpoint at the end of the step in which any rank was asked to stop."""

    def __init__(self, interruption: Interruption) -> None:
        self.interruption = interruption

    def on_train_begin(self, args, state, control, **kwargs) -> None:
        self.interruption.waits_for_step = True

    def on_step_end(self, args, state, control, **kwargs) -> None:
        if self.interruption.agreed() and state.global_step < state.max_steps:
            control.should_save = control.should_training_stop = True

    def on_train_end(self, args, state, control, **kwargs) -> None:
        self.interruption.waits_for_step = False


class AllStepsMade(Exception):
    """The checkpoint that training continues from is that of its last step."""


class NoStepMore(TrainerCallback):
    """Raises `AllStepsMade` in place of a step that is none of the run's.

    Continuing from the checkpoint of `max_steps` within an epoch, the library makes one more step before it counts.
    Comes last, so that all others have begun and can be ended.
    """

    def on_train_begin(self, args, state, control, **kwargs) -> None:
        if state.global_step >= state.max_steps:
            raise AllStepsMade


class Profile(TrainerCallback):
    """Profiles a few steps into a Chrome trace, after two steps that warm up."""

    WARM_UP = 2

    def __init__(self, steps: int, file: Path) -> None:
        self.file = file
        self.steps = steps

    def on_train_begin(self, args, state, control, **kwargs) -> None:
        self.profiler = torch.profiler.profile(
            schedule=torch.profiler.schedule(wait=0, warmup=self.WARM_UP, active=self.steps, repeat=1),
            on_trace_ready=lambda profiler: profiler.export_chrome_trace(str(self.file)),
            record_shapes=True,
            profile_memory=True,
        )
        self.profiler.start()

    def on_step_end(self, args, state, control, **kwargs) -> None:
        self.profiler.step()

    def on_train_end(self, args, state, control, **kwargs) -> None:
        self.profiler.stop()
