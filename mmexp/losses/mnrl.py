"""In-batch negatives: (Cached)MultipleNegativesRankingLoss, also known as InfoNCE."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING, Any

from mmexp.losses import EmbedderLoss
from mmexp.schema import ConfigError, schema

if TYPE_CHECKING:
    from sentence_transformers import MultiVectorEncoder, SentenceTransformer
    from torch import nn

    from mmexp.experiment import Experiment


# Rows of the score matrix that a cached loss computes at a time where inputs are cut by tokens: embeddings are small.
LOSS_ROWS = 1024


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
        }


@dataclass
class MiniBatches:
    """How a cached loss cuts a batch: one mini-batch is in memory at a time (GradCache)."""

    mini_batch_num_tokens: int = 4096
    """Tokens of a mini-batch: as many inputs as fit, at least one. Bounds the memory whatever the batch size is;
    more is faster while it fits, and fastest where the whole batch fits, which is then embedded once instead of twice.
    Used where mini_batch_size is null."""

    mini_batch_size: int | None = None
    """Inputs of a mini-batch, whatever their length; 1 in the published recipe. null: cut by mini_batch_num_tokens."""

    def mini_batches(self, model: SentenceTransformer | MultiVectorEncoder) -> dict[str, Any]:
        """The library's arguments. Raises `ConfigError` for a model whose inputs it cannot cut."""
        from sentence_transformers.base.losses.gradcache import has_static_embedding_input

        if has_static_embedding_input(model):
            raise ConfigError("cached losses cannot cut the inputs of static embeddings. Use loss=mnrl or loss=gist.")
        if self.mini_batch_size is not None:
            return {"mini_batch_size": self.mini_batch_size}
        return {"mini_batch_num_tokens": self.mini_batch_num_tokens, "mini_batch_size": LOSS_ROWS}


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
    """The same loss and gradients as `mnrl`, with one mini-batch in memory at a time (GradCache)."""

    def build(self, model: SentenceTransformer) -> nn.Module:
        from mmexp.gradient_cache import CachedMnrlOnceIfItFits

        return CachedMnrlOnceIfItFits(model, **self.options(), **self.mini_batches(model))
