"""Models: a checkpoint and how it loads.

hub.py         any checkpoint of the Hub or a local folder
checkpoint.py  what a checkpoint says of itself, without its weights
weights.py     how weights are loaded
router.py      separate encoders, chosen by modality and by task
tiny_vlm.py    Qwen3-VL's architecture, tiny, made on the spot
facts.py       what a loaded model is: modalities, size, tokens per page, a checksum of its weights
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

from mmexp.ranges import check_least
from mmexp.schema import ConfigError

if TYPE_CHECKING:
    from sentence_transformers import CrossEncoder, MultiVectorEncoder, SentenceTransformer

    from mmexp.embedder_archs.multi_vector import MultiVector
    from mmexp.reranker_archs import RerankerArch


@dataclass
class Model(ABC):
    """Base of every model config (config group `model`)."""

    min_pixels: int | None = None
    """Lower bound of a page's area in pixels after resizing. null: as the checkpoint says."""

    max_pixels: int | None = None
    """Upper bound of a page's area in pixels after resizing. null: as the checkpoint says."""

    def __post_init__(self) -> None:
        for key in ("min_pixels", "max_pixels"):
            check_least(f"model.{key}", getattr(self, key), 1)
        if self.min_pixels is not None and self.max_pixels is not None and self.min_pixels > self.max_pixels:
            raise ConfigError(
                f"model.min_pixels={self.min_pixels} is above model.max_pixels={self.max_pixels}. "
                f"Use model.min_pixels={self.max_pixels} or less."
            )

    def is_reranker(self) -> bool:
        """Whether the checkpoint is a reranker, read without loading weights."""
        return False

    def is_embedder(self) -> bool:
        """Whether the checkpoint was saved as an embedder, read without loading weights."""
        return False

    @abstractmethod
    def embedding_dimension(self) -> int | None:
        """The size of the embeddings, read without loading weights. None where only the loaded model can tell.

        Raises `ConfigError` where the checkpoint cannot be reached.
        """

    @abstractmethod
    def build(self) -> SentenceTransformer:
        """Load the model as an embedder, ready to train."""

    def build_multi_vector(self, arch: MultiVector) -> MultiVectorEncoder:
        """Load the model as a multi-vector model, ready to train; a saved one as what it is."""
        raise ConfigError(
            f"{type(self).__name__} cannot become a multi-vector model. Use embedder_arch=single_vector, or model=hub."
        )

    @abstractmethod
    def build_reranker(self, arch: RerankerArch, prompts: dict[str, str]) -> CrossEncoder:
        """Load the model as a reranker of that architecture, ready to train; a saved reranker as what it is."""

    def set_pixel_bounds(self, model: SentenceTransformer | MultiVectorEncoder | CrossEncoder) -> None:
        """Bound the area of a page, as the Qwen-VL processors do. Set on the processor, so that it is saved with it."""
        from transformers.image_utils import SizeDict

        from mmexp.models.facts import architectures, processor_parts

        asked = {"min_pixels": self.min_pixels, "max_pixels": self.max_pixels}
        if not any(asked.values()):
            return
        bounded = [
            processor for processor in processor_parts(model, "image_processor") if _takes_pixel_bounds(processor)
        ]
        if not bounded:
            keys = ", ".join(f"model.{key}={value}" for key, value in asked.items() if value is not None)
            raise ConfigError(
                f"{keys} would have no effect on {' + '.join(architectures(model))}: its processor has a page size of "
                "its own. Use model.min_pixels=null model.max_pixels=null."
            )
        for processor in bounded:
            processor.size = SizeDict(
                shortest_edge=self.min_pixels or processor.size["shortest_edge"],
                longest_edge=self.max_pixels or processor.size["longest_edge"],
            )
            # Where a checkpoint has these too, they would win over the size.
            processor.min_pixels = processor.max_pixels = None


def _takes_pixel_bounds(image_processor: Any) -> bool:
    """Whether an image processor bounds the area of an image, rather than resizing it to one size."""
    return "max_pixels" in getattr(getattr(image_processor, "valid_kwargs", None), "__annotations__", {})


@contextmanager
def named(key: str, model: Model) -> Iterator[None]:
    """Make errors of `model`, which is not the experiment's own but at `key`, name its keys as they are typed."""
    try:
        yield
    except ConfigError as error:
        keys = "|".join(field.name for field in fields(model))
        message = re.sub(rf"\bmodel\.(?=({keys})\b)", f"{key}.", str(error))
        raise ConfigError(re.sub(r"\bmodel=", f"model@{key}=", message)) from error
