"""Graded pairs: CoSENT."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from mmexp.losses import EmbedderLoss
from mmexp.schema import schema

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer
    from torch import nn


@schema("loss", "cosent")
@dataclass
class CoSent(EmbedderLoss):
    """Ranks (query, page) pairs by a score of the data: higher scores get higher similarities. data.num_negatives=0."""

    takes_label: ClassVar[bool] = True

    scale: float = 20.0
    """Factor on the cosine similarities: 1 / temperature."""

    def build(self, model: SentenceTransformer) -> nn.Module:
        from sentence_transformers.sentence_transformer.losses import CoSENTLoss

        return CoSENTLoss(model, scale=self.scale)
