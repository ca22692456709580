"""A query, a page that answers it and one that does not: TripletLoss."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, ClassVar

from mmexp.losses import EmbedderLoss
from mmexp.schema import schema

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer
    from torch import nn


class TripletDistance(Enum):
    cosine = "COSINE"
    euclidean = "EUCLIDEAN"
    manhattan = "MANHATTAN"


@schema("loss", "triplet")
@dataclass
class Triplet(EmbedderLoss):
    """The negative further from the query than the positive, by the margin. Takes data.num_negatives=1."""

    min_negatives: ClassVar[int] = 1
    max_negatives: ClassVar[int | None] = 1

    distance: TripletDistance = TripletDistance.cosine
    """What is measured between two embeddings: cosine (1 - similarity, so 0 to 2), euclidean, manhattan."""

    margin: float = 0.5
    """How much further the negative must be. The library's 5 is out of reach of normalised embeddings."""

    def build(self, model: SentenceTransformer) -> nn.Module:
        from sentence_transformers.sentence_transformer.losses import TripletDistanceMetric, TripletLoss

        metric = getattr(TripletDistanceMetric, self.distance.value)
        return TripletLoss(model, distance_metric=metric, triplet_margin=self.margin)
