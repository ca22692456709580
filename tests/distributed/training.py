"""What every rank of a test trains: a few steps of the library's trainer, whose losses and gradients are returned."""

from __future__ import annotations

import os
import tempfile
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import Any

import torch
from datasets import Dataset
from torch import nn
from torch.distributed.tensor import DTensor
from transformers.trainer_callback import TrainerCallback

from mmexp.dims import Dims
from mmexp.distributed.rank_trainer import on_ranks
from mmexp.distributed.sharding import is_sharded
from mmexp.embedder_archs import EmbedderArch
from mmexp.embedder_archs.single_vector import SingleVector
from mmexp.kinds import RETRIEVERS
from mmexp.losses import Loss
from mmexp.models.hub import HubModel
from tests.distributed.engines import TRAINING_ARGUMENTS

NUM_STEPS = 2


@dataclass
class Case:
    """One training, the same for any number of processes."""

    model: HubModel
    loss: Loss
    columns: dict[str, list[Any]]
    arch: EmbedderArch = field(default_factory=SingleVector)
    dims: list[int] = field(default_factory=list)
    accumulation: int = 1
    batch_size: int = 8
    """Rows of a batch, over all processes."""
    gradient_checkpointing: bool = False


def train_all(cases: dict[str, Case]) -> dict[str, dict[str, Any]]:
    """Train every case in this rank, one after another."""
    return {name: train(case) for name, case in cases.items()}


def train(case: Case) -> dict[str, Any]:
    """Train, and tell what `Steps` saw."""
    kind = RETRIEVERS[case.arch.kind]
    num_processes = int(os.environ.get("WORLD_SIZE", "1"))
    with tempfile.TemporaryDirectory() as folder:
        args = kind.arguments_class(
            output_dir=folder,
            max_steps=NUM_STEPS,
            per_device_train_batch_size=case.batch_size // num_processes,
            gradient_accumulation_steps=case.accumulation,
            gradient_checkpointing=case.gradient_checkpointing,
            # What one such step takes off the weights is their gradient.
            **{"optim": "sgd", "learning_rate": 1.0, "lr_scheduler_type": "constant", "max_grad_norm": 0},
            **{"logging_steps": 1, "save_strategy": "no", "report_to": "none", "disable_tqdm": True},
            **(TRAINING_ARGUMENTS if num_processes > 1 else {"use_cpu": True}),
        )
        torch.manual_seed(0)  # a multi-vector model's last layer is drawn
        model = without_dropout(case.arch.build(case.model))
        loss = case.loss.build(model)
        if case.dims:
            loss = Dims(matryoshka_dims=case.dims).wrap(model, loss)
        steps = Steps(loss)
        data = Dataset.from_dict(case.columns)
        trainer_class = on_ranks(kind.trainer_class) if num_processes > 1 else kind.trainer_class
        trainer = trainer_class(model=model, args=args, train_dataset=data, loss=loss, callbacks=[steps])
        trainer.train()
        return steps.outcome(trainer)


def without_dropout(model: nn.Module) -> nn.Module:
    """Every rank would draw its own."""
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    return model


class Steps(TrainerCallback):
    """Follows a training: its rows, its losses, and all weights before and after every step."""

    def __init__(self, loss: nn.Module) -> None:
        self.rows: list[list[int]] = []
        self.weights: list[torch.Tensor] = []
        loss.register_forward_pre_hook(lambda _, inputs: self.rows.extend(tokens_of_rows(inputs[0])))

    def on_train_begin(self, args, state, control, model, **kwargs) -> None:
        self.weights.append(weights_of(model))

    def on_step_end(self, args, state, control, model, **kwargs) -> None:
        self.weights.append(weights_of(model))

    def outcome(self, trainer: Any) -> dict[str, Any]:
        return {
            "engine": trainer.accelerator.distributed_type.value,
            "is_sharded": is_sharded(trainer.model),
            "wrapper": type(trainer.model_wrapped).__name__,
            "num_processes": trainer.accelerator.num_processes,
            "losses": [row["loss"] for row in trainer.state.log_history if "loss" in row],
            "gradient": self.weights[0] - self.weights[1],
            "weights": self.weights[-1],
            "rows": self.rows,
        }


def tokens_of_rows(columns: list[dict[str, torch.Tensor]]) -> list[list[int]]:
    """The tokens of every row, those of all of its texts and pages one after another."""
    return [
        [token for column in columns for token in column["input_ids"][n][column["attention_mask"][n] > 0].tolist()]
        for n in range(len(columns[0]["input_ids"]))
    ]


def weights_of(model: nn.Module) -> torch.Tensor:
    """All weights in one row, put together from the ranks where the engine has sharded them."""
    parameters = list(model.parameters())
    with _whole(parameters):
        whole = [p.full_tensor() if isinstance(p, DTensor) else p for p in parameters]
        return torch.cat([p.detach().flatten() for p in whole])


def _whole(parameters: list[nn.Parameter]) -> Any:
    if not hasattr(parameters[0], "ds_id"):
        return nullcontext()
    import deepspeed

    return deepspeed.zero.GatheredParameters(parameters)
