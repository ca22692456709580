"""GIST with a guide whose embeddings are known already: they come with the batch, as its labels."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.base.losses.merged_forward import embed_columns
from sentence_transformers.sentence_transformer.losses import CachedGISTEmbedLoss
from torch import nn

from mmexp.gradient_cache import OnceIfItFits

# Rows of the score matrix at a time; the library's cosine similarity takes rows * batch size * embedding size numbers.
LOSS_ROWS = 32


class GuidedLoss(CachedGISTEmbedLoss):
    """The library's GIST loss of embeddings that have gradients. Labels: (batch, columns, 1, the guide's dimension)."""

    uses_gradient_cache = False

    def __init__(self, model: SentenceTransformer, **options: Any) -> None:
        # The library wants a guide; this one is never asked, and let go of.
        super().__init__(model, guide=model, mini_batch_size=LOSS_ROWS, **options)
        self.guide: Any = None

    def forward(self, sentence_features: Iterable[dict[str, Any]], labels: torch.Tensor) -> torch.Tensor:
        embeddings = embed_columns(self.model, sentence_features)
        return self.calculate_loss([[embedding] for embedding in embeddings], by_column(labels))

    def get_config_dict(self) -> dict[str, Any]:
        options = super().get_config_dict()
        return {name: value for name, value in options.items() if name != "guide" and "mini_batch" not in name}


class CachedGuidedLoss(OnceIfItFits, nn.Module):
    """The same loss and gradients, one mini-batch in memory at a time."""

    def __init__(
        self,
        model: SentenceTransformer,
        options: dict[str, Any],
        mini_batch_size: int,
        mini_batch_num_tokens: int | None = None,
    ) -> None:
        super().__init__()
        self.model = model
        self.mini_batch_size = mini_batch_size
        self.mini_batch_num_tokens = mini_batch_num_tokens
        self.of_embeddings = GuidedLoss(model, **options)

    def calculate_loss(
        self, reps: list[list[torch.Tensor]], labels: torch.Tensor | None = None, *, with_backward: bool = False
    ) -> torch.Tensor:
        assert labels is not None
        return self.of_embeddings.calculate_loss(reps, by_column(labels), with_backward=with_backward)

    def forward(self, sentence_features: Iterable[dict[str, Any]], labels: torch.Tensor) -> torch.Tensor:
        return self.forward_cached(sentence_features, labels)

    def get_config_dict(self) -> dict[str, Any]:
        mini_batches = {"mini_batch_size": self.mini_batch_size, "mini_batch_num_tokens": self.mini_batch_num_tokens}
        return {**self.of_embeddings.get_config_dict(), **mini_batches}


def by_column(labels: torch.Tensor) -> list[list[torch.Tensor]]:
    """The guide's embeddings of every column, in one part each."""
    return [[column.squeeze(1)] for column in labels.unbind(1)]
