"""GradCache for multi-vector models, only where it is needed: as gradient_cache.py does it for embeddings."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from sentence_transformers.multi_vector_encoder.losses import (
    CachedMultiVectorMultipleNegativesRankingLoss,
    MultiVectorMultipleNegativesRankingLoss,
)

from mmexp.gradient_cache import num_tokens


class MultiVectorOnceIfItFits(CachedMultiVectorMultipleNegativesRankingLoss):
    """The library's cached loss; its loss without a cache where a batch fits in `mini_batch_num_tokens` altogether."""

    def forward(self, sentence_features: Iterable[dict[str, Any]], labels: torch.Tensor | None = None) -> torch.Tensor:
        columns = list(sentence_features)
        if self.mini_batch_num_tokens is None or sum(map(num_tokens, columns)) > self.mini_batch_num_tokens:
            return super().forward(columns, labels)
        once = MultiVectorMultipleNegativesRankingLoss(
            self.model,
            scale=self.scale,
            similarity_fct=self.similarity_fct,
            score_mini_batch_size=self.score_mini_batch_size,
            gather_across_devices=self.gather_across_devices,
        )
        return once(columns, labels)
