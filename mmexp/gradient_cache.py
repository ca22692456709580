"""GradCache only where it is needed: a batch that fits in one mini-batch altogether is embedded once, not twice."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cached_property
from typing import Any

import torch
from sentence_transformers.base.losses.gradcache import CachedLossMixin
from sentence_transformers.sentence_transformer.losses import CachedMultipleNegativesRankingLoss

from mmexp.tokens import patch_size, tokens_of_each


class OnceIfItFits(CachedLossMixin):
    """A cached loss of the library, without the first of its two forward passes where memory does not ask for it.

    GradCache embeds a batch without gradients, finds the gradient of every embedding, and embeds again, mini-batch by
    mini-batch, to pass it on. Where the tokens of all columns together are within `mini_batch_num_tokens`, one pass
    with gradients takes no more memory than that. Losses and gradients are the same.
    """

    @cached_property
    def patch_size(self) -> int | None:
        return patch_size(self.model)

    def forward_cached(
        self, sentence_features: Iterable[dict[str, Any]], labels: torch.Tensor | None = None
    ) -> torch.Tensor:
        columns = list(sentence_features)
        budget = self.mini_batch_num_tokens
        if budget is None:
            return super().forward_cached(columns, labels)
        tokens = [tokens_of_each(column, self.patch_size) for column in columns]
        if not torch.is_grad_enabled() or sum(int(column.sum()) for column in tokens) > budget:
            if all("attention_mask" in column or "cu_seq_lens_q" in column for column in columns):
                return super().forward_cached(columns, labels)
            longest = max(int(column.max()) for column in tokens)
            return self._cut_by_rows(max(1, budget // longest), columns, labels)
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

    def _cut_by_rows(self, num_rows: int, columns: list[dict[str, Any]], labels: torch.Tensor | None) -> torch.Tensor:
        """The library cuts by tokens only where an attention mask counts them, which CLIP's images do not have."""
        before = self.mini_batch_num_tokens, self.mini_batch_size
        self.mini_batch_num_tokens, self.mini_batch_size = None, num_rows
        try:
            return super().forward_cached(columns, labels)
        finally:
            self.mini_batch_num_tokens, self.mini_batch_size = before


class CachedMnrlOnceIfItFits(OnceIfItFits, CachedMultipleNegativesRankingLoss):
    """The library's cached in-batch negatives, embedded once where the batch fits."""
