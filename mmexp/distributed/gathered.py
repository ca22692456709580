"""Losses that rank or mine the pairs of a batch, over the batches of all processes together."""

from __future__ import annotations

import torch
from sentence_transformers.sentence_transformer.losses import CoSENTLoss, OnlineContrastiveLoss
from sentence_transformers.util import all_gather, all_gather_with_grad


class GatheredCoSENTLoss(CoSENTLoss):
    """The library's CoSENT of the pairs of all processes, computed in each of them."""

    def compute_loss_from_embeddings(self, embeddings: list[torch.Tensor], labels: torch.Tensor) -> torch.Tensor:
        return super().compute_loss_from_embeddings(*gathered(embeddings, labels))


class GatheredOnlineContrastiveLoss(OnlineContrastiveLoss):
    """The library's loss of the hard pairs among those of all processes, computed in each of them."""

    def compute_loss_from_embeddings(self, embeddings: list[torch.Tensor], labels: torch.Tensor) -> torch.Tensor:
        return super().compute_loss_from_embeddings(*gathered(embeddings, labels))


def gathered(embeddings: list[torch.Tensor], labels: torch.Tensor) -> tuple[list[torch.Tensor], torch.Tensor]:
    """Embeddings and labels of the rows of all processes, which must have equally many.

    Every process computes the same loss of all of them. Its gradients reach the process that an embedding came from
    once from each, and engines average over processes, so that weights get the gradients of one process with all rows.
    """
    return [all_gather_with_grad(column) for column in embeddings], all_gather(labels)
