"""Losses of rerankers: of pairs, of lists, and of in-batch negatives."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from mmexp.data.pairs import Rows
from mmexp.losses import TAKES_ONE_BACKWARD, Label, RerankerLoss
from mmexp.schema import ConfigError, schema

if TYPE_CHECKING:
    from sentence_transformers import CrossEncoder
    from torch import nn


@schema("loss", "binary_cross_entropy")
@dataclass
class BinaryCrossEntropy(RerankerLoss):
    """Every pair by itself: does the document match?"""

    rows: ClassVar[Rows] = Rows.pairs
    label: ClassVar[Label] = Label.binary

    pos_weight: float | None = None
    """Weight of matching pairs against the others. null: 1."""

    def build(self, model: CrossEncoder) -> nn.Module:
        import torch
        from sentence_transformers.cross_encoder.losses import BinaryCrossEntropyLoss

        weight = None if self.pos_weight is None else torch.tensor(self.pos_weight, device=model.device)
        return BinaryCrossEntropyLoss(model, pos_weight=weight)


@dataclass
class InBatchNegatives(RerankerLoss):
    """The positive against its negatives and other rows' documents, drawn from the batch of the same process."""

    min_negatives: ClassVar[int] = 0

    scale: int = 10
    """Factor on the scores after their activation: 1 / temperature."""

    num_in_batch_negatives: int | None = 4
    """Documents drawn from other rows of the batch for each query. null: all of them."""


@schema("loss", "reranker_mnrl")
@dataclass
class RerankerMnrl(InBatchNegatives):
    """MultipleNegativesRankingLoss for rerankers. All pairs of a batch are in memory at once."""

    def build(self, model: CrossEncoder) -> nn.Module:
        from sentence_transformers.cross_encoder.losses import MultipleNegativesRankingLoss

        return MultipleNegativesRankingLoss(model, num_negatives=self.num_in_batch_negatives, scale=self.scale)


@schema("loss", "reranker_cached_mnrl")
@dataclass
class RerankerCachedMnrl(InBatchNegatives):
    """The same loss and gradients as `reranker_mnrl`, with `mini_batch_size` pairs in memory at a time."""

    mini_batch_size: int = 16
    """Pairs of a mini-batch."""

    def check_distributed(self, engine: str | None) -> None:
        if engine in TAKES_ONE_BACKWARD:
            raise ConfigError(
                f"loss=reranker_cached_mnrl has a backward pass for every mini-batch, and launch/accelerate={engine} "
                "takes one for each batch. Use loss=reranker_mnrl, or launch/accelerate=zero1."
            )

    def build(self, model: CrossEncoder) -> nn.Module:
        from sentence_transformers.cross_encoder.losses import CachedMultipleNegativesRankingLoss

        return CachedMultipleNegativesRankingLoss(
            model,
            num_negatives=self.num_in_batch_negatives,
            scale=self.scale,
            mini_batch_size=self.mini_batch_size,
        )


@dataclass
class Listwise(RerankerLoss):
    """All documents of a query together."""

    rows: ClassVar[Rows] = Rows.lists

    mini_batch_size: int | None = 16
    """Pairs that are passed through the model at a time. null: all of a batch."""


@schema("loss", "lambda")
@dataclass
class Lambda(Listwise):
    """LambdaLoss with the NDCG-Loss2++ weighting: pairs of documents, weighted by what their order is worth."""

    def build(self, model: CrossEncoder) -> nn.Module:
        from sentence_transformers.cross_encoder.losses import LambdaLoss

        return LambdaLoss(model, mini_batch_size=self.mini_batch_size)


@schema("loss", "list_net")
@dataclass
class ListNet(Listwise):
    """Cross-entropy between the softmax over a query's labels and over its scores."""

    def build(self, model: CrossEncoder) -> nn.Module:
        from sentence_transformers.cross_encoder.losses import ListNetLoss

        return ListNetLoss(model, mini_batch_size=self.mini_batch_size)


@schema("loss", "plist_mle")
@dataclass
class PListMle(Listwise):
    """The likelihood of the order by label, position by position, the first ones weighted most."""

    def build(self, model: CrossEncoder) -> nn.Module:
        from sentence_transformers.cross_encoder.losses import PListMLELoss

        return PListMLELoss(model, mini_batch_size=self.mini_batch_size)
