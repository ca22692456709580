"""Losses of multi-vector models: in-batch negatives, scored by MaxSim."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mmexp.losses import MultiVectorLoss, several_processes
from mmexp.losses.mini_batches import MiniBatches, Recompute
from mmexp.ranges import check_least
from mmexp.schema import schema

if TYPE_CHECKING:
    import torch
    from sentence_transformers import MultiVectorEncoder
    from torch import nn


@dataclass
class MaxSimLoss(MultiVectorLoss):
    """What losses have in common that score as the model does: by maxsim or meanmaxsim."""

    scale: float = 1.0
    """Factor on the scores: 1 / temperature. MaxSim grows with the tokens of a query, so 1 where cosines take 20."""

    score_mini_batch_size: int = 16
    """Queries that are scored against all documents of the batch at a time."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_least("loss.score_mini_batch_size", self.score_mini_batch_size, 1)

    def options(self, model: MultiVectorEncoder) -> dict[str, Any]:
        """The library's arguments."""
        return {
            "scale": self.scale,
            "similarity_fct": scores_of(model),
            "score_mini_batch_size": self.score_mini_batch_size,
            "gather_across_devices": several_processes(),
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

        return MultiVectorMultipleNegativesRankingLoss(model, **self.options(model))


@schema("loss", "multi_vector_cached_mnrl")
@dataclass
class MultiVectorCachedMnrl(MiniBatches, MaxSimLoss):
    """The same loss and gradients as `multi_vector_mnrl`, with one mini-batch in memory at a time."""

    def build(self, model: MultiVectorEncoder) -> nn.Module:
        from sentence_transformers.multi_vector_encoder import losses

        if self.recompute is Recompute.gradcache:
            options = self.options(model) | self.mini_batches(model)
            return losses.CachedMultiVectorMultipleNegativesRankingLoss(model, **options)
        loss = losses.MultiVectorMultipleNegativesRankingLoss(model, **self.options(model))
        return self.in_mini_batches(model, loss)
