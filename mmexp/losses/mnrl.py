"""In-batch negatives: (Cached)MultipleNegativesRankingLoss, also known as InfoNCE."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING, Any

from mmexp.losses import EmbedderLoss, several_processes
from mmexp.losses.mini_batches import MiniBatches, Recompute
from mmexp.schema import ConfigError, schema

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer
    from torch import nn

    from mmexp.experiment import Experiment


class Interaction(Enum):
    query_to_doc = "query_to_doc"
    query_to_query = "query_to_query"
    doc_to_query = "doc_to_query"
    doc_to_doc = "doc_to_doc"


class PartitionMode(Enum):
    joint = "joint"
    per_direction = "per_direction"


class HardnessMode(Enum):
    in_batch_negatives = "in_batch_negatives"
    hard_negatives = "hard_negatives"
    all_negatives = "all_negatives"


@dataclass
class InBatchNegatives(EmbedderLoss):
    """The positive against every other page of the batch."""

    scale: float = 20.0
    """Factor on the cosine similarities: 1 / temperature."""

    directions: list[Interaction] = field(default_factory=lambda: [Interaction.query_to_doc])
    """What is told from what: query_to_doc (always), query_to_query, doc_to_query, doc_to_doc."""

    partition_mode: PartitionMode = PartitionMode.joint
    """joint: one softmax over all directions. per_direction: one for each, averaged; for query_to_doc and doc_to_query
    only."""

    hardness_mode: HardnessMode | None = None
    """Negatives that weigh more the more similar they are: in_batch_negatives, hard_negatives, all_negatives. null:
    all weigh the same."""

    hardness_strength: float = 0.0
    """How much more: hardness_strength times the similarity is added to the scaled similarity of those negatives.
    Published with 9 for in_batch_negatives and 5 for hard_negatives."""

    def __post_init__(self) -> None:
        super().__post_init__()
        names = [direction.value for direction in dict.fromkeys([Interaction.query_to_doc, *self.directions])]
        if len(names) != len(self.directions):
            given = ", ".join(direction.value for direction in self.directions)
            raise ConfigError(
                f"loss.directions=[{given}] must name query_to_doc, which holds the positive pair, and none twice. "
                f"Use loss.directions=[{','.join(names)}]."
            )
        if self.partition_mode is PartitionMode.per_direction and {"query_to_query", "doc_to_doc"} & {*names}:
            raise ConfigError(
                "loss.partition_mode=per_direction has a softmax for every direction, and query_to_query and "
                "doc_to_doc hold no positive pair. Use loss.partition_mode=joint, or leave them out of loss.directions."
            )
        if (self.hardness_mode is None) != (self.hardness_strength == 0) or self.hardness_strength < 0:
            mode = "null" if self.hardness_mode is None else self.hardness_mode.value
            raise ConfigError(
                f"loss.hardness_mode={mode} with loss.hardness_strength={self.hardness_strength:g} weights nothing. "
                "Use both (loss.hardness_mode=in_batch_negatives loss.hardness_strength=9), or neither (null and 0)."
            )

    def check(self, experiment: Experiment) -> None:
        super().check(experiment)
        if self.hardness_mode is HardnessMode.hard_negatives and not experiment.data.num_negatives:
            raise ConfigError(
                "loss.hardness_mode=hard_negatives with data.num_negatives=0 weights nothing. Use "
                "data.num_negatives=1 or more, or loss.hardness_mode=in_batch_negatives."
            )

    def options(self) -> dict[str, Any]:
        """The library's arguments."""
        return {
            "scale": self.scale,
            "directions": tuple(direction.value for direction in self.directions),
            "partition_mode": self.partition_mode.value,
            "hardness_mode": None if self.hardness_mode is None else self.hardness_mode.value,
            "hardness_strength": self.hardness_strength,
            "gather_across_devices": several_processes(),
        }


@schema("loss", "mnrl")
@dataclass
class Mnrl(InBatchNegatives):
    """Every other page of the batch is a negative. The whole batch is in memory at once."""

    def build(self, model: SentenceTransformer) -> nn.Module:
        from sentence_transformers.sentence_transformer.losses import MultipleNegativesRankingLoss

        return MultipleNegativesRankingLoss(model, **self.options())


@schema("loss", "cached_mnrl")
@dataclass
class CachedMnrl(MiniBatches, InBatchNegatives):
    """The same loss and gradients as `mnrl`, with one mini-batch in memory at a time."""

    def build(self, model: SentenceTransformer) -> nn.Module:
        from sentence_transformers.sentence_transformer import losses

        if self.recompute is Recompute.gradcache:
            options = self.options() | self.mini_batches(model)
            return losses.CachedMultipleNegativesRankingLoss(model, **options)
        return self.in_mini_batches(model, losses.MultipleNegativesRankingLoss(model, **self.options()))
