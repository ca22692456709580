"""In-batch negatives: (Cached)MultipleNegativesRankingLoss."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from mmexp.losses import EmbedderLoss
from mmexp.losses.mini_batches import MiniBatches
from mmexp.schema import schema

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
class CachedMnrl(MiniBatches, EmbedderLoss):
    """The same loss and gradients as `mnrl`, with one mini-batch in memory at a time (GradCache)."""

    scale: float = 20.0
    """Factor on the cosine similarities: 1 / temperature."""

    def build(self, model: SentenceTransformer) -> nn.Module:
        from mmexp.gradient_cache import OnceIfItFits

        if self.mini_batch_size is not None:
            return OnceIfItFits(model, scale=self.scale, mini_batch_size=self.mini_batch_size)
        return OnceIfItFits(
            model,
            scale=self.scale,
            mini_batch_num_tokens=self.mini_batch_num_tokens,
            mini_batch_size=LOSS_ROWS,
        )
