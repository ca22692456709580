"""Graded pairs: CoSENT."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from mmexp.data.pairs import Rows
from mmexp.losses import EmbedderLoss, Label, several_processes
from mmexp.schema import schema

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer
    from torch import nn


@schema("loss", "cosent")
@dataclass
class CoSent(EmbedderLoss):
    """Ranks (query, page) pairs by a score of the data: higher scores get higher similarities."""

    rows: ClassVar[Rows] = Rows.pairs
    label: ClassVar[Label] = Label.score

    scale: float = 20.0
    """Factor on the cosine similarities: 1 / temperature."""

    def build(self, model: SentenceTransformer) -> nn.Module:
        from sentence_transformers.sentence_transformer.losses import CoSENTLoss

        from mmexp.distributed.gathered import GatheredCoSENTLoss

        loss_class = GatheredCoSENTLoss if several_processes() else CoSENTLoss
        return loss_class(model, scale=self.scale)
