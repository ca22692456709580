"""A generative model as a reranker: the log-odds of one answer over another."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mmexp.reranker_archs import TokenJudge
from mmexp.schema import schema

if TYPE_CHECKING:
    from sentence_transformers import CrossEncoder

    from mmexp.models.hub import HubModel


@schema("reranker_arch", "any_to_any")
@dataclass
class AnyToAny(TokenJudge):
    """Score = log P(true_token) - log P(false_token) of the next token. Computes the language-model head."""

    def build(self, model: HubModel, **arguments: Any) -> CrossEncoder:
        from sentence_transformers import CrossEncoder
        from sentence_transformers.cross_encoder.modules import LogitScore

        transformer, true_token_id, false_token_id = self.load(model, "any-to-any")
        return CrossEncoder(modules=[transformer, LogitScore(true_token_id, false_token_id)], num_labels=1, **arguments)
