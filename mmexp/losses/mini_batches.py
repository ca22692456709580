"""What the cached losses have in common: they embed a batch of any size in mini-batches."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Any

from mmexp.losses import TAKES_ONE_BACKWARD
from mmexp.schema import ConfigError

if TYPE_CHECKING:
    from sentence_transformers import MultiVectorEncoder, SentenceTransformer
    from torch import nn

# Rows of the score matrix that the library's cached losses compute at a time where inputs are cut by tokens.
LOSS_ROWS = 1024


class Recompute(Enum):
    checkpoint = "checkpoint"
    gradcache = "gradcache"


@dataclass
class MiniBatches:
    """How a cached loss cuts a batch: one mini-batch is in memory at a time."""

    mini_batch_num_tokens: int = 4096
    """Tokens of a mini-batch: as many inputs as fit, at least one. Bounds the memory whatever the batch size is;
    more is faster while it fits, and fastest where the whole batch fits, which is then embedded once instead of twice.
    Used where mini_batch_size is null."""

    mini_batch_size: int | None = None
    """Inputs of a mini-batch, whatever their length; 1 in the published recipe. null: cut by mini_batch_num_tokens."""

    recompute: Recompute = Recompute.checkpoint
    """How a mini-batch is computed a second time. checkpoint: by the one backward pass of the batch, with any engine.
    gradcache: the library's cached loss, by a backward pass for every mini-batch; the same losses and gradients."""

    def in_mini_batches(self, model: SentenceTransformer | MultiVectorEncoder, loss: nn.Module) -> nn.Module:
        """A loss of the library that has no cache, with `model` embedding its batches in mini-batches."""
        from mmexp.training.mini_batches import MiniBatchedForward

        return MiniBatchedForward(model, self.mini_batch_num_tokens, self.mini_batch_size).of_loss(loss)

    def check_distributed(self, engine: str | None) -> None:
        if self.recompute is Recompute.gradcache and engine in TAKES_ONE_BACKWARD:
            raise ConfigError(
                f"loss.recompute=gradcache has a backward pass for every mini-batch, and launch/accelerate={engine} "
                "takes one for each batch. Use loss.recompute=checkpoint, or launch/accelerate=zero1."
            )
        if self.recompute is Recompute.gradcache and engine == "fsdp2" and self.mini_batch_size is None:
            raise ConfigError(
                "loss.recompute=gradcache with loss.mini_batch_num_tokens cuts in every process as its tokens fall, "
                "and launch/accelerate=fsdp2 needs as many mini-batches in all. Use loss.recompute=checkpoint, "
                "or loss.mini_batch_size=1."
            )

    def mini_batches(self, model: SentenceTransformer | MultiVectorEncoder) -> dict[str, Any]:
        """The arguments of the library's cached losses. Raises `ConfigError` for inputs that they cannot cut."""
        from sentence_transformers.base.losses.gradcache import has_static_embedding_input

        if has_static_embedding_input(model):
            raise ConfigError(
                "loss.recompute=gradcache cannot cut the inputs of static embeddings. Use loss.recompute=checkpoint."
            )
        if self.mini_batch_size is not None:
            return {"mini_batch_size": self.mini_batch_size}
        return {"mini_batch_num_tokens": self.mini_batch_num_tokens, "mini_batch_size": LOSS_ROWS}
