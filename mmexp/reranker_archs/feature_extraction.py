"""The last token's hidden state, projected to a score: a reranker without a language-model head."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from mmexp.reranker_archs import TokenJudge
from mmexp.schema import schema

if TYPE_CHECKING:
    import torch
    from sentence_transformers import CrossEncoder

    from mmexp.models.hub import HubModel


@schema("reranker_arch", "feature_extraction")
@dataclass
class FeatureExtraction(TokenJudge):
    """Score = hidden state times (embedding of true_token - embedding of false_token), which is then trained.

    Where a checkpoint ties its head to its input embeddings, it starts with the scores of `any_to_any`, for a
    fraction of the memory: no logits over the vocabulary.
    """

    def build(self, model: HubModel, **arguments: Any) -> CrossEncoder:
        from sentence_transformers import CrossEncoder
        from sentence_transformers.sentence_transformer.modules import Dense, Pooling

        transformer, true_token_id, false_token_id = self.load(model, "feature-extraction")
        dimension = transformer.get_embedding_dimension()
        embeddings = cast("torch.Tensor", transformer.model.get_input_embeddings().weight).detach()
        dense = Dense(
            in_features=dimension,
            out_features=1,
            bias=False,
            activation_function=None,
            init_weight=(embeddings[true_token_id] - embeddings[false_token_id]).unsqueeze(0),
            module_output_name="scores",
        )
        return CrossEncoder(modules=[transformer, Pooling(dimension, "lasttoken"), dense], **arguments)
