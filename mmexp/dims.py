"""Embedding sizes: those trained together by Matryoshka, those evaluated, and the one the model is saved with."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

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

    matryoshka_weights: list[float] = field(default_factory=list)
    """Weight of each size in the loss. Empty: 1 for all."""

    truncate_dim: int | None = None
    """The size that the saved model gives by default. null: the full size."""

    def __post_init__(self) -> None:
        dims = self.matryoshka_dims
        if dims != sorted(set(dims), reverse=True) or any(dim < 1 for dim in dims):
            descending = sorted({dim for dim in dims if dim > 0}, reverse=True)
            raise ConfigError(f"dims.matryoshka_dims={dims} is not descending. Use dims.matryoshka_dims={descending}.")
        if self.matryoshka_weights and len(self.matryoshka_weights) != len(dims):
            raise ConfigError(
                f"dims.matryoshka_weights has {len(self.matryoshka_weights)} weights for {len(dims)} sizes. "
                "Give one per size, or [] for equal weights."
            )

    def check(self, embedding_dimension: int) -> None:
        """Raise `ConfigError` where a size exceeds the model's embedding."""
        for key, dim in [
            ("matryoshka_dims", max(self.matryoshka_dims, default=0)),
            ("truncate_dim", self.truncate_dim or 0),
        ]:
            if dim > embedding_dimension:
                raise ConfigError(
                    f"dims.{key}={dim} is larger than the model's embedding, which has {embedding_dimension} dimensions. "
                    f"Use {embedding_dimension} or less, or another dims option (dims=none: the full size only)."
                )

    def evaluated(self, embedding_dimension: int) -> list[int]:
        """The sizes to evaluate, from large to small; the full size is always among them."""
        return sorted({embedding_dimension, *self.matryoshka_dims}, reverse=True)

    def wrap(self, model: SentenceTransformer, loss: nn.Module) -> nn.Module:
        """`loss` at every size, summed; `loss` itself where no sizes are given."""
        from sentence_transformers.sentence_transformer.losses import MatryoshkaLoss

        if not self.matryoshka_dims:
            return loss
        return MatryoshkaLoss(model, loss, self.matryoshka_dims, self.matryoshka_weights or None)
