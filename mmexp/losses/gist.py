"""In-batch negatives without those that a guide finds closer than the positive: (Cached)GISTEmbedLoss."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Any, ClassVar

from omegaconf import MISSING

from mmexp.losses import EmbedderLoss, several_processes
from mmexp.losses.mini_batches import MiniBatches, Recompute
from mmexp.losses.taught import Taught
from mmexp.models import Model
from mmexp.schema import ConfigError, schema

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer
    from torch import nn

    from mmexp.data.training import Examples
    from mmexp.training.teacher import Teacher


class MarginStrategy(Enum):
    absolute = "absolute"
    relative = "relative"


@dataclass
class Guided(Taught, EmbedderLoss):
    """A negative that the guide finds as similar to the query as its positive is no negative."""

    teacher_field: ClassVar[str] = "guide"
    needs_embeddings: ClassVar[bool] = True

    guide: Model = MISSING
    """The model that guides, such as model@loss.guide=qwen3_vl_embedding_2b, or loss.guide.checkpoint=... for any. Its
    embeddings of the training rows, by its own processor and prompts, are computed once and kept on disk."""

    temperature: float = 0.01
    """What the cosine similarities are divided by: 1 / scale."""

    margin_strategy: MarginStrategy = MarginStrategy.absolute
    """absolute: leave out what is more similar than the positive less the margin. relative: than (1 - margin) of it."""

    margin: float = 0.0
    """How much less similar than the positive a negative must be, to the guide."""

    contrast_anchors: bool = True
    """Whether other queries are negatives too."""

    contrast_positives: bool = True
    """Whether positives are told from each other too."""

    def teach(self, examples: Examples, teacher: Teacher) -> None:
        # One more axis keeps Matryoshka from cutting the guide's embeddings to the size of the model's.
        examples.labels = teacher.embeddings(examples, num_axes=3)

    def options(self) -> dict[str, Any]:
        """The library's arguments."""
        return {
            "temperature": self.temperature,
            "margin_strategy": self.margin_strategy.value,
            "margin": self.margin,
            "contrast_anchors": self.contrast_anchors,
            "contrast_positives": self.contrast_positives,
            "gather_across_devices": several_processes(),
        }


@schema("loss", "gist")
@dataclass
class Gist(Guided):
    """Guided in-batch negatives. The whole batch is in memory at once."""

    def build(self, model: SentenceTransformer) -> nn.Module:
        from mmexp.training.guided import GuidedLoss

        return GuidedLoss(model, **self.options())


@schema("loss", "cached_gist")
@dataclass
class CachedGist(MiniBatches, Guided):
    """The same loss and gradients as `gist`, with one mini-batch in memory at a time."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.recompute is Recompute.gradcache:
            raise ConfigError(
                "loss.recompute=gradcache is the library's cached loss, which embeds every batch with the guide too, "
                "and the guide's embeddings come with the data. Use loss.recompute=checkpoint."
            )

    def build(self, model: SentenceTransformer) -> nn.Module:
        from mmexp.training.guided import GuidedLoss

        return self.in_mini_batches(model, GuidedLoss(model, **self.options()))
