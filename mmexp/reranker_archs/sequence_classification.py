"""The classic cross-encoder: query and document in one sequence, and a classification head."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mmexp.reranker_archs import RerankerArch
from mmexp.schema import schema

if TYPE_CHECKING:
    from sentence_transformers import CrossEncoder

    from mmexp.models.hub import HubModel


@schema("reranker_arch", "sequence_classification")
@dataclass
class SequenceClassification(RerankerArch):
    """A text encoder, such as cross-encoder/ms-marco-MiniLM-L6-v2. A fresh encoder gets a new head with one label."""

    def build(self, model: HubModel, **arguments: Any) -> CrossEncoder:
        from sentence_transformers import CrossEncoder

        return CrossEncoder(model.checkpoint, num_labels=1, **model.loading_arguments(), **arguments)
