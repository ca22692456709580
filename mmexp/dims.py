"""Embedding sizes: those trained together by Matryoshka, those evaluated, and the one the model is saved with."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from mmexp.ranges import check_least
from mmexp.schema import ConfigError, schema

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer
    from torch import nn


@schema("dims", "dims")
@dataclass
class Dims:
    """Config group `dims`."""

    matryoshka_dims: list[int] = field(default_factory=list)
    """Embedding sizes to train and evaluate, from large to small. Empty: the full size only, no Matryoshka."""

    halvings: int = 0
    """Instead of listing sizes: the full size and this many halvings of it, whatever the model's size is."""

    matryoshka_weights: list[float] = field(default_factory=list)
    """Weight of each size in the loss. Empty: 1 for all."""

    truncate_dim: int | None = None
    """The size that the saved model gives by default. null: the full size."""

    def __post_init__(self) -> None:
        check_least("dims.halvings", self.halvings, 0)
        check_least("dims.truncate_dim", self.truncate_dim, 1)
        dims = self.matryoshka_dims
        if dims != sorted(set(dims), reverse=True) or any(dim < 1 for dim in dims):
            descending = sorted({dim for dim in dims if dim > 0}, reverse=True)
            raise ConfigError(f"dims.matryoshka_dims={dims} is not descending. Use dims.matryoshka_dims={descending}.")
        if dims and self.halvings:
            raise ConfigError(
                f"dims.matryoshka_dims={dims} and dims.halvings={self.halvings} both say which sizes to train. "
                "Use dims.halvings=0, or dims.matryoshka_dims=[]."
            )
        if self.matryoshka_weights and len(self.matryoshka_weights) != len(dims):
            raise ConfigError(
                f"dims.matryoshka_weights has {len(self.matryoshka_weights)} weights for {len(dims)} sizes. "
                "Give one per size, or [] for equal weights."
            )

    @property
    def trains_several(self) -> bool:
        """Whether Matryoshka trains sizes below the full one."""
        return bool(self.matryoshka_dims or self.halvings)

    @property
    def cuts(self) -> bool:
        """Whether any size but the full one is named."""
        return self.trains_several or self.truncate_dim is not None

    def sizes(self, embedding_dimension: int) -> list[int]:
        """The sizes that Matryoshka trains, from large to small. Empty: no Matryoshka.

        Raises `ConfigError` where a size exceeds the model's embedding.
        """
        for key, dim in (
            ("matryoshka_dims", max(self.matryoshka_dims, default=0)),
            ("truncate_dim", self.truncate_dim),
        ):
            if dim is not None and dim > embedding_dimension:
                raise ConfigError(
                    f"dims.{key}={dim} is larger than the model's embedding, which has {embedding_dimension}. "
                    f"Use {embedding_dimension} or less, or another dims option (dims=halves fits any model)."
                )
        if self.halvings:
            return [embedding_dimension >> n for n in range(self.halvings + 1) if embedding_dimension >> n]
        return self.matryoshka_dims

    def evaluated(self, embedding_dimension: int) -> list[int]:
        """The sizes to evaluate, from large to small: those that are trained, the full one, and the saved model's."""
        sizes = {embedding_dimension, self.truncate_dim or embedding_dimension, *self.sizes(embedding_dimension)}
        return sorted(sizes, reverse=True)

    def wrap(self, model: SentenceTransformer, loss: nn.Module) -> nn.Module:
        """`loss` at every size, summed; `loss` itself where no sizes are given."""
        from sentence_transformers.sentence_transformer.losses import MatryoshkaLoss

        embedding_dimension = model.get_embedding_dimension()
        assert embedding_dimension is not None
        sizes = self.sizes(embedding_dimension)
        return MatryoshkaLoss(model, loss, sizes, self.matryoshka_weights or None) if sizes else loss
