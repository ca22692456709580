"""A vector for every token of a query or a page: late interaction, as ColBERT, ColPali and ColQwen do it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, ClassVar

from mmexp.embedder_archs import EmbedderArch
from mmexp.model_kind import ModelKind
from mmexp.models import Model
from mmexp.ranges import check_least
from mmexp.schema import ConfigError, schema

if TYPE_CHECKING:
    from sentence_transformers import MultiVectorEncoder


class MultiVectorSimilarity(Enum):
    maxsim = "maxsim"
    meanmaxsim = "meanmaxsim"


@schema("embedder_arch", "multi_vector")
@dataclass
class MultiVector(EmbedderArch):
    """An embedding model or a fresh VLM gets a new projection of its tokens, which needs training. What is a
    multi-vector model already (saved by this or by PyLate, ColBERT, ColPali, ColQwen) is loaded as what it is."""

    kind: ClassVar[ModelKind] = ModelKind.multi_vector

    dimension: int | None = None
    """Size of the vectors. null: 128 for a new projection, else as the checkpoint has it."""

    similarity: MultiVectorSimilarity | None = None
    """maxsim: for every token of the query its best match in the document, summed. meanmaxsim: averaged, so that scores
    do not grow with the query; raise loss.scale with it. null: as the checkpoint says, maxsim for a new projection."""

    image_tokens_only: bool = False
    """Keep the vectors of a document's image tokens only, not those of the text around them."""

    skiplist_words: list[str] | None = None
    """Tokens that are left out of documents, such as punctuation. null: as the checkpoint says, none for a new
    projection."""

    pool_factor: float = 1.0
    """Keep about one in this many vectors of a document, clustered by similarity, in training too. 1: all. With
    task=evaluate it says what a smaller index costs."""

    def __post_init__(self) -> None:
        for key in ("dimension", "pool_factor"):
            check_least(f"embedder_arch.{key}", getattr(self, key), 1)

    def build(self, model: Model) -> MultiVectorEncoder:
        return model.build_multi_vector(self)

    def finish(self, model: MultiVectorEncoder, is_new: bool) -> None:
        """Make a loaded model what this config says. `is_new`: its projection was drawn at random just now.

        Raises `ConfigError` for what the checkpoint cannot be.
        """
        if self.dimension not in (None, model.get_embedding_dimension()):
            self._project(model, is_new)
        if self.similarity is not None:
            model.similarity_fn_name = self.similarity.value
        self._mask(model)
        if self.pool_factor > 1:
            self._pool(model)

    def _project(self, model: MultiVectorEncoder, is_new: bool) -> None:
        """The library's new projection, in another size."""
        from sentence_transformers.base.modules import Dense
        from torch import nn

        if not is_new:
            raise ConfigError(
                f"embedder_arch.dimension={self.dimension} cannot apply: the checkpoint has vectors of "
                f"{model.get_embedding_dimension()} already. Use embedder_arch.dimension=null."
            )
        assert self.dimension is not None
        [(place, new)] = [(n, module) for n, module in enumerate(model) if isinstance(module, Dense)]
        projection = Dense(
            in_features=new.in_features,
            out_features=self.dimension,
            bias=False,
            activation_function=nn.Identity(),
            module_input_name="token_embeddings",
        )
        model[place] = projection.to(device=model.device, dtype=model.dtype)

    def _mask(self, model: MultiVectorEncoder) -> None:
        """Say which tokens of a document count."""
        from sentence_transformers.multi_vector_encoder.modules import MultiVectorMask

        for mask in (module for module in model if isinstance(module, MultiVectorMask)):
            if self.skiplist_words is not None:
                mask.skiplist_words = list(self.skiplist_words)
                mask.resolve_with_tokenizer(model.tokenizer)
            if self.image_tokens_only:
                mask.keep_only_token_ids = [image_token_id(model)]

    def _pool(self, model: MultiVectorEncoder) -> None:
        from sentence_transformers.multi_vector_encoder.modules import BaseTokenPooling, HierarchicalTokenPooling

        if any(isinstance(module, BaseTokenPooling) for module in model):
            raise ConfigError(
                f"embedder_arch.pool_factor={self.pool_factor} would pool what the checkpoint has pooled already. "
                "Use embedder_arch.pool_factor=1."
            )
        model.append(HierarchicalTokenPooling(self.pool_factor, num_protected_tokens=0))


def image_token_id(model: MultiVectorEncoder) -> int:
    """The id of the token that stands for a patch of an image. Raises `ConfigError` where the model has none."""
    token = getattr(model.processor, "image_token", None)
    if token is None:
        raise ConfigError(
            "embedder_arch.image_tokens_only=true: the model's processor has no image token. "
            "Use embedder_arch.image_tokens_only=false."
        )
    return model.tokenizer.convert_tokens_to_ids(token)
