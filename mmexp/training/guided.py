"""GIST with a guide whose embeddings are known already: they come with the batch, as its labels."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from sentence_transformers import SentenceTransformer, util
from sentence_transformers.base.losses.merged_forward import embed_columns
from sentence_transformers.sentence_transformer.losses import CachedGISTEmbedLoss

# Rows of the score matrix at a time.
LOSS_ROWS = 1024


class GuidedLoss(CachedGISTEmbedLoss):
    """The library's GIST loss of embeddings that have gradients. Labels: (batch, columns, 1, the guide's dimension)."""

    uses_gradient_cache = False

    def __init__(self, model: SentenceTransformer, *, contrast_anchors: bool, **options: Any) -> None:
        # The library wants a guide; this one is never asked, and let go of.
        super().__init__(model, guide=model, mini_batch_size=LOSS_ROWS, contrast_anchors=False, **options)
        self.guide: Any = None
        self.contrasts_anchors = contrast_anchors

    def forward(self, sentence_features: Iterable[dict[str, Any]], labels: torch.Tensor) -> torch.Tensor:
        embeddings = embed_columns(self.model, sentence_features)
        guides = [column.squeeze(1) for column in labels.unbind(1)]
        if self.contrasts_anchors:
            # The library gathers documents only. As one more column of documents, queries are scored just the same.
            embeddings, guides = [*embeddings, embeddings[0]], [*guides, guides[0]]
        return self.calculate_loss([[column] for column in embeddings], [[column] for column in guides])

    def sim_matrix(self, embed1: torch.Tensor, embed2: torch.Tensor) -> torch.Tensor:
        """Cosine similarities (rows, columns). The library's take memory of rows * columns * the embedding's size."""
        return util.cos_sim(embed1, embed2)

    def get_config_dict(self) -> dict[str, Any]:
        options = super().get_config_dict() | {"contrast_anchors": self.contrasts_anchors}
        return {name: value for name, value in options.items() if name != "guide" and "mini_batch" not in name}
