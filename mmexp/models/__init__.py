"""Models: a checkpoint and how it loads.

hub.py       any checkpoint of the Hub or a local folder
tiny_vlm.py  Qwen3-VL's architecture, tiny, made on the spot
facts.py     what a loaded model is: modalities, size, tokens per page, a checksum of its weights
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

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
        if self.min_pixels is not None and self.max_pixels is not None and self.min_pixels > self.max_pixels:
            raise ConfigError(
                f"model.min_pixels={self.min_pixels} is above model.max_pixels={self.max_pixels}. "
                f"Use model.min_pixels={self.max_pixels} or less."
            )

    def is_reranker(self) -> bool:
        """Whether the checkpoint is a reranker, read without loading weights."""
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


@contextmanager
def named(key: str) -> Iterator[None]:
    """Make errors of a model that is not the experiment's own name its keys: `key` for `model`."""
    try:
        yield
    except ConfigError as error:
        message = re.sub(r"\bmodel\.(?=[a-z])", f"{key}.", str(error))
        raise ConfigError(re.sub(r"\bmodel=", f"model@{key}=", message)) from error
