"""What the library's trainers lack where several ranks train one model: checkpoints that are written and read right.

Left alone, every rank writes the same files; weights that are split over ranks are saved empty; and FSDP cannot resume.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from accelerate.utils import load_fsdp_model
from transformers.integrations.deepspeed import deepspeed_load_checkpoint
from transformers.trainer import TRAINING_ARGS_NAME

from mmexp.checkpoints import world_size_of
from mmexp.ddp import wait_for_all_weights
from mmexp.sharding import whole_weights

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
        """DeepSpeed reads its own checkpoint in the world size that wrote it. In another, training goes on from the
        weights, with an optimizer that begins anew."""
        # accelerate would take the library's Normalize, which has no weights, for a layer to split.
        self.model.base_model_prefix = "has_no_final_norm"  # type: ignore[assignment]
        wait_for_all_weights(self)
        elsewhere = resume_from_checkpoint is not None and (
            world_size_of(Path(resume_from_checkpoint)) != self.args.world_size and self.is_deepspeed_enabled
        )
        if not elsewhere:
            return super()._prepare_for_training(max_steps, train_dataloader, resume_from_checkpoint)
        assert resume_from_checkpoint is not None
        log.warning(
            "DeepSpeed's optimizer begins anew: its states in %s are of another world size", resume_from_checkpoint
        )
        super()._load_from_checkpoint(resume_from_checkpoint)
        prepared = super()._prepare_for_training(max_steps, train_dataloader, None)
        self._load_optimizer_and_scheduler(resume_from_checkpoint)  # of DeepSpeed's, the scheduler alone
        return prepared

    def _load_from_checkpoint(self, checkpoint_path: str, model: Any = None) -> None:
        """Load the weights: of the best checkpoint, or, of one that is continued, those that FSDP splits."""
        if self.is_fsdp_enabled:
            plugin = self.accelerator.state.fsdp_plugin
            load_fsdp_model(plugin, self.accelerator, model or self.model, checkpoint_path)
        elif self.is_deepspeed_enabled:
            deepspeed_load_checkpoint(self.model_wrapped, checkpoint_path)
        else:
            super()._load_from_checkpoint(checkpoint_path)


def on_ranks(trainer_class: type[BaseTrainer]) -> type[BaseTrainer]:
    """The trainer for several ranks."""
    return type(trainer_class.__name__, (TrainsOnRanks, trainer_class), {})
