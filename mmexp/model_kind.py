"""The kinds of models, by name. What they mean is in kinds.py, which imports torch; configs do not."""

from enum import Enum


class ModelKind(Enum):
    """What a model gives: one vector for an input, one for each of its tokens, one score for a query and a document, or
    a ranking by both."""

    embedder = "embedder"
    multi_vector = "multi-vector embedder"
    reranker = "reranker"
    two_stage = "two-stage pipeline"
    benchmark = "embedder on a benchmark"
