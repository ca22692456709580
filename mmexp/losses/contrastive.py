"""Pairs of a query and a page that answers it or does not: (Online)ContrastiveLoss."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, ClassVar

from mmexp.data.pairs import Rows
from mmexp.losses import EmbedderLoss, Label, several_processes
from mmexp.schema import schema

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer
    from torch import nn


class PairDistance(Enum):
    cosine = "COSINE_DISTANCE"
    euclidean = "EUCLIDEAN"
    manhattan = "MANHATTAN"


@dataclass
class LabelledPairs(EmbedderLoss):
    """Pairs of label 1 get closer, pairs of label 0 further apart than the margin."""

    rows: ClassVar[Rows] = Rows.pairs
    label: ClassVar[Label] = Label.binary
    min_negatives: ClassVar[int] = 1

    distance: PairDistance = PairDistance.cosine
    """What is measured between two embeddings: cosine (1 - similarity), euclidean, manhattan."""

    margin: float = 0.5
    """Distance from which on a pair of label 0 is far enough apart."""


@schema("loss", "contrastive")
@dataclass
class Contrastive(LabelledPairs):
    """Every pair by itself."""

    def build(self, model: SentenceTransformer) -> nn.Module:
        from sentence_transformers.sentence_transformer.losses import ContrastiveLoss, SiameseDistanceMetric

        metric = getattr(SiameseDistanceMetric, self.distance.value)
        return ContrastiveLoss(model, distance_metric=metric, margin=self.margin)


@schema("loss", "online_contrastive")
@dataclass
class OnlineContrastive(LabelledPairs):
    """The hard pairs of a batch: 0 closer than the furthest 1, and 1 further apart than the closest 0."""

    def build(self, model: SentenceTransformer) -> nn.Module:
        from sentence_transformers.sentence_transformer.losses import OnlineContrastiveLoss, SiameseDistanceMetric

        from mmexp.distributed.gathered import GatheredOnlineContrastiveLoss

        metric = getattr(SiameseDistanceMetric, self.distance.value)
        loss_class = GatheredOnlineContrastiveLoss if several_processes() else OnlineContrastiveLoss
        return loss_class(model, distance_metric=metric, margin=self.margin)
