"""In-batch negatives: (Cached)MultipleNegativesRankingLoss."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from mmexp.losses import EmbedderLoss
from mmexp.schema import ConfigError, schema

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer
    from torch import nn


# Rows of the score matrix that a cached loss computes at a time where inputs are cut by tokens: embeddings are small.
LOSS_ROWS = 1024


@schema("loss", "mnrl")
@dataclass
class Mnrl(EmbedderLoss):
    """Every other page of the batch is a negative. The whole batch is in memory at once."""

    scale: float = 20.0
    """Factor on the cosine similarities: 1 / temperature."""

    def build(self, model: SentenceTransformer) -> nn.Module:
        from sentence_transformers.sentence_transformer.losses import MultipleNegativesRankingLoss

        return MultipleNegativesRankingLoss(model, scale=self.scale)


@schema("loss", "cached_mnrl")
@dataclass
class CachedMnrl(EmbedderLoss):
    """The same loss and gradients as `mnrl`, with one mini-batch in memory at a time (GradCache)."""

    scale: float = 20.0
    """Factor on the cosine similarities: 1 / temperature."""

    mini_batch_num_tokens: int = 4096
    """Tokens of a mini-batch: as many inputs as fit, at least one. Bounds the memory whatever the batch size is;
    more is faster while it fits, and fastest where the whole batch fits, which is then embedded once instead of twice.
    Used where mini_batch_size is null."""

    mini_batch_size: int | None = None
    """Inputs of a mini-batch, whatever their length; 1 in the published recipe. null: cut by mini_batch_num_tokens."""

    def __post_init__(self) -> None:
        for key in ("mini_batch_num_tokens", "mini_batch_size"):
            value = getattr(self, key)
            if value is not None and value < 1:
                raise ConfigError(f"loss.{key}={value} is below 1. Use 1 or more.")

    def build(self, model: SentenceTransformer) -> nn.Module:
        from sentence_transformers.base.losses.gradcache import has_static_embedding_input

        from mmexp.gradient_cache import OnceIfItFits

        if has_static_embedding_input(model):
            raise ConfigError("loss=cached_mnrl cannot cut the inputs of static embeddings. Use loss=mnrl.")
        if self.mini_batch_size is not None:
            return OnceIfItFits(model, scale=self.scale, mini_batch_size=self.mini_batch_size)
        return OnceIfItFits(
            model,
            scale=self.scale,
            mini_batch_num_tokens=self.mini_batch_num_tokens,
            mini_batch_size=LOSS_ROWS,
        )
