"""GradCache only where it is needed: a batch that fits in one mini-batch altogether is embedded once, not twice."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from sentence_transformers.base.losses.gradcache import CachedLossMixin
from sentence_transformers.sentence_transformer.losses import CachedMultipleNegativesRankingLoss


class OnceIfItFits(CachedLossMixin):
    """A cached loss of the library, without the first of its two forward passes where memory does not ask for it.

    GradCache embeds a batch without gradients, finds the gradient of every embedding, and embeds again, mini-batch by
    mini-batch, to pass it on. Where the tokens of all columns together are within `mini_batch_num_tokens`, one pass
    with gradients takes no more memory than that. Losses and gradients are the same.
    """

    def forward_cached(
        self, sentence_features: Iterable[dict[str, Any]], labels: torch.Tensor | None = None
    ) -> torch.Tensor:
        columns = list(sentence_features)
        fits = self.mini_batch_num_tokens is not None and sum(map(num_tokens, columns)) <= self.mini_batch_num_tokens
        if not fits or not torch.is_grad_enabled():
            return super().forward_cached(columns, labels)
        embeddings = [self.model(column)["sentence_embedding"] for column in columns]
        # Matryoshka's wrapper of `calculate_loss` goes backward to the tensors that it is given, so those are leaves.
        leaves = [embedding.detach().requires_grad_() for embedding in embeddings]
        loss = self.calculate_loss([[leaf] for leaf in leaves], labels, with_backward=True)
        # Its gradient with respect to the embeddings is the loss's; its value is taken off again.
        products = [
            (embedding.float() * leaf.grad.float()).sum()
            for embedding, leaf in zip(embeddings, leaves, strict=True)
            if leaf.grad is not None
        ]
        surrogate = torch.stack(products).sum()
        return loss.detach() + surrogate - surrogate.detach()


class CachedMnrlOnceIfItFits(OnceIfItFits, CachedMultipleNegativesRankingLoss):
    """The library's cached in-batch negatives, embedded once where the batch fits."""


def num_tokens(column: dict[str, Any]) -> int:
    """The non-padding tokens of one column of a batch, padded or flattened."""
    if "cu_seq_lens_q" in column:
        return int(column["cu_seq_lens_q"][-1])
    return int(column["attention_mask"].sum())
