"""GradCache for multi-vector models, only where it is needed: as gradient_cache.py does it for embeddings."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from sentence_transformers.multi_vector_encoder.losses import (
    CachedMultiVectorMultipleNegativesRankingLoss,
    MultiVectorMultipleNegativesRankingLoss,
)

from mmexp.tokens import tokens_of_each


class MultiVectorOnceIfItFits(CachedMultiVectorMultipleNegativesRankingLoss):
    """The library's cached loss; its loss without a cache where a batch fits in `mini_batch_num_tokens` altogether."""

    def forward(self, sentence_features: Iterable[dict[str, Any]], labels: torch.Tensor | None = None) -> torch.Tensor:
        columns = list(sentence_features)
        budget = self.mini_batch_num_tokens
        # Multi-vector models have a mask for every input, so that no patch size is needed to count its tokens.
        if budget is None or sum(int(tokens_of_each(column, None).sum()) for column in columns) > budget:
            return super().forward(columns, labels)
        once = MultiVectorMultipleNegativesRankingLoss(
            self.model,
            scale=self.scale,
            similarity_fct=self.similarity_fct,
            score_mini_batch_size=self.score_mini_batch_size,
            gather_across_devices=self.gather_across_devices,
        )
        return once(columns, labels)
