"""Retrieve, then rerank: what the second stage is, typed."""

from __future__ import annotations

from dataclasses import dataclass, field

from omegaconf import MISSING

from mmexp.data.pairs import Direction
from mmexp.models import Model
from mmexp.reranker_archs import RerankerArch
from mmexp.schema import ConfigError, schema


@schema("two_stage", "two_stage")
@dataclass
class TwoStage:
    """A reranker that puts the best documents of `model`, an embedder, into a new order."""

    reranker: Model = MISSING
    """The second stage's model: model@two_stage.reranker=..., or two_stage.reranker.checkpoint=..."""

    reranker_arch: RerankerArch = MISSING
    """How a checkpoint that is no saved reranker becomes one: reranker_arch@two_stage.reranker_arch=..."""

    direction: Direction = Direction.text_to_image
    """Whose prompt, of those that the reranker was trained with, goes with every pair."""

    top_k: list[int] = field(default_factory=lambda: [10, 50, 100])
    """How many of the first stage's documents are reranked; every depth is measured, each pair is scored once."""

    retrieval_weight: float = 0.0
    """Weight of the first stage's score in the new order, 0 to 1; the reranker's has the rest. Both are standardised
    over the documents that are reranked, query by query. 0: the reranker alone decides."""

    def __post_init__(self) -> None:
        if self.top_k != sorted({k for k in self.top_k if k > 0}) or not self.top_k:
            ascending = sorted({k for k in self.top_k if k > 0}) or [10]
            raise ConfigError(f"two_stage.top_k={self.top_k} is not ascending. Use two_stage.top_k={ascending}.")
        if not 0 <= self.retrieval_weight <= 1:
            raise ConfigError(
                f"two_stage.retrieval_weight={self.retrieval_weight} is no weight. Use 0 (the reranker alone) to 1."
            )
