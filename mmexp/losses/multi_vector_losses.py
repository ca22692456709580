"""Losses of multi-vector models: in-batch negatives, scored by MaxSim."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mmexp.losses import MultiVectorLoss
from mmexp.losses.mini_batches import MiniBatches
from mmexp.schema import ConfigError, schema

if TYPE_CHECKING:
    import torch
    from sentence_transformers import MultiVectorEncoder
    from torch import nn


@dataclass
class MaxSimLoss(MultiVectorLoss):
    """What losses have in common that score as the model does: by maxsim or meanmaxsim."""

    scale: float = 1.0
    """Factor on the scores: 1 / temperature. MaxSim grows with the tokens of a query, so 1 where cosines take 20."""

    score_mini_batch_size: int | None = 16
    """Queries that are scored against all documents of the batch at a time. null: all, for more memory."""

    def __post_init__(self) -> None:
        if self.score_mini_batch_size is not None and self.score_mini_batch_size < 1:
            raise ConfigError(f"loss.score_mini_batch_size={self.score_mini_batch_size} is below 1. Use 1 or more.")

    def arguments(self, model: MultiVectorEncoder) -> dict[str, Any]:
        """What the library's losses take."""
        return {
            "scale": self.scale,
            "similarity_fct": scores_of(model),
            "score_mini_batch_size": self.score_mini_batch_size,
        }


def scores_of(model: MultiVectorEncoder) -> Callable[..., torch.Tensor]:
    """The model's similarity, as losses compute it: queries against every document of a batch."""
    from sentence_transformers.multi_vector_encoder.scoring import colbert_scores, mean_colbert_scores

    return {"maxsim": colbert_scores, "meanmaxsim": mean_colbert_scores}[model.similarity_fn_name]


@schema("loss", "multi_vector_mnrl")
@dataclass
class MultiVectorMnrl(MaxSimLoss):
    """Every other page of the batch is a negative. The whole batch is in memory at once."""

    def build(self, model: MultiVectorEncoder) -> nn.Module:
        from sentence_transformers.multi_vector_encoder.losses import MultiVectorMultipleNegativesRankingLoss

        return MultiVectorMultipleNegativesRankingLoss(model, **self.arguments(model))


@schema("loss", "multi_vector_cached_mnrl")
@dataclass
class MultiVectorCachedMnrl(MiniBatches, MaxSimLoss):
    """The same loss and gradients as `multi_vector_mnrl`, with one mini-batch in memory at a time (GradCache)."""

    def __post_init__(self) -> None:
        MiniBatches.__post_init__(self)
        MaxSimLoss.__post_init__(self)

    def build(self, model: MultiVectorEncoder) -> nn.Module:
        from mmexp.multi_vector_gradient_cache import MultiVectorOnceIfItFits

        if self.mini_batch_size is not None:
            return MultiVectorOnceIfItFits(model, mini_batch_size=self.mini_batch_size, **self.arguments(model))
        return MultiVectorOnceIfItFits(model, mini_batch_num_tokens=self.mini_batch_num_tokens, **self.arguments(model))
