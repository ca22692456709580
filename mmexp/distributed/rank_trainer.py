"""What the library's trainers lack where several ranks train one model: checkpoints that are written and read right.

Left alone, every rank writes the same files, weights that are split over ranks are saved empty, FSDP cannot resume, and
a schedule begins anew where the optimizer's states are of another engine.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from accelerate.utils import load_fsdp_model
from torch import nn
from transformers.integrations.deepspeed import deepspeed_load_checkpoint
from transformers.trainer import SCHEDULER_NAME, TRAINING_ARGS_NAME

from mmexp.distributed.ddp import wait_for_all_weights
from mmexp.distributed.sharding import whole_weights
from mmexp.training.checkpoints import optimizer_of, world_size_of

if TYPE_CHECKING:
    from sentence_transformers.base.trainer import BaseTrainer

    Base = BaseTrainer
else:
    Base = object

log = logging.getLogger(__name__)


class TrainsOnRanks(Base):
    """In front of a trainer of the library: `on_ranks(trainer_class)`.

    A checkpoint holds the whole model, as a plain process loads it, and beside it the optimizer's states as the engine
    keeps them, split where it splits them.
    """

    def save_model(self, output_dir: str | None = None, _internal_call: bool = False) -> None:
        """Save the whole model, by rank 0. A collective."""
        folder = Path(output_dir or self.args.output_dir)  # type: ignore[arg-type]
        model: Any = self.model
        with whole_weights(model):
            if self.args.should_save:
                model.save_pretrained(str(folder), create_model_card=False)  # which would compute with the model
                torch.save(self.args, folder / TRAINING_ARGS_NAME)
        self.accelerator.wait_for_everyone()

    def _prepare_for_training(self, max_steps: int, train_dataloader: Any, resume_from_checkpoint: str | None) -> Any:
        """Where another engine wrote the checkpoint, or DeepSpeed in another world size, training goes on from the
        weights and the schedule, with an optimizer that begins anew."""
        if self.is_fsdp_enabled:
            self._name_layers()
        wait_for_all_weights(self)
        if resume_from_checkpoint is None or self._reads_optimizer_of(Path(resume_from_checkpoint)):
            return super()._prepare_for_training(max_steps, train_dataloader, resume_from_checkpoint)
        log.warning(
            "the optimizer begins anew: its states in %s are of another engine or world size", resume_from_checkpoint
        )
        super()._load_from_checkpoint(resume_from_checkpoint)
        prepared = super()._prepare_for_training(max_steps, train_dataloader, None)
        schedule: Any = self.lr_scheduler
        schedule.load_state_dict(torch.load(Path(resume_from_checkpoint) / SCHEDULER_NAME, weights_only=True))
        return prepared

    def _name_layers(self) -> None:
        """Tell FSDP what to split by itself: each layer, for the library names none. In one piece, all weights would be
        gathered at a time."""
        # accelerate would take the library's Normalize, which has no weights, for a layer.
        self.model.base_model_prefix = "has_no_final_norm"  # type: ignore[assignment]
        plugin = self.accelerator.state.fsdp_plugin
        if plugin.transformer_cls_names_to_wrap is None:
            plugin.transformer_cls_names_to_wrap = layer_classes(self.model)

    def _reads_optimizer_of(self, checkpoint: Path) -> bool:
        engine = "fsdp" if self.is_fsdp_enabled else "deepspeed" if self.is_deepspeed_enabled else "plain"
        same_world = engine != "deepspeed" or world_size_of(checkpoint) == self.args.world_size
        return optimizer_of(checkpoint) == engine and same_world

    def _load_from_checkpoint(self, checkpoint_path: str, model: Any = None) -> None:
        """Load the weights: of the best checkpoint, or, of one that is continued, those that FSDP splits."""
        if self.is_fsdp_enabled:
            plugin = self.accelerator.state.fsdp_plugin
            load_fsdp_model(plugin, self.accelerator, model or self.model, checkpoint_path)
        elif self.is_deepspeed_enabled:
            deepspeed_load_checkpoint(self.model_wrapped, checkpoint_path)
        else:
            super()._load_from_checkpoint(checkpoint_path)


def layer_classes(model: nn.Module) -> list[str]:
    """The classes of the layers that the model stacks, by name."""
    stacks = (module for module in model.modules() if isinstance(module, nn.ModuleList))
    return sorted(
        {type(layer).__name__ for stack in stacks for layer in stack if any(True for _ in layer.parameters())}
    )


def on_ranks(trainer_class: type[BaseTrainer]) -> type[BaseTrainer]:
    """The trainer for several ranks."""
    return type(trainer_class.__name__, (TrainsOnRanks, trainer_class), {})
