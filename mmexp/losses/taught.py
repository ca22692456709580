"""What losses that learn from another model share: the model, and the labels that are made with it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from mmexp.models import Model, named
from mmexp.schema import ConfigError

if TYPE_CHECKING:
    from mmexp.data.training import Examples
    from mmexp.training.teacher import Teacher


@dataclass
class Taught(ABC):
    """A loss that learns from what another model makes of the training rows.

    That model never trains, so what it makes of them is computed once, before the first step, and kept on disk.
    """

    teacher_field: ClassVar[str] = "teacher"
    """The field of the loss that holds the other model."""

    needs_embeddings: ClassVar[bool] = False
    """Whether the other model must be an embedder; scores can be had from a reranker too."""

    @property
    def teacher_model(self) -> Model:
        """The other model."""
        model: Model = getattr(self, self.teacher_field)
        return model

    @property
    def teacher_key(self) -> str:
        """The key of the config that says which model it is."""
        return f"loss.{self.teacher_field}"

    def check_teacher(self, student: int | None) -> None:
        """Raise `ConfigError` where the other model cannot be reached, or is not what the loss learns from.

        Reads no weights. `student` is the size of the embeddings to train; None for a reranker, and where only the
        loaded model can tell.
        """
        with named(self.teacher_key, self.teacher_model):
            self.teacher_model.embedding_dimension()
            is_reranker = self.teacher_model.is_reranker()
        if self.needs_embeddings and is_reranker:
            raise ConfigError(
                f"{self.teacher_key} is a reranker, which has no embeddings, and {type(self).__name__} learns from "
                "them. Give an embedding model, or learn from a reranker's scores (loss=margin_mse)."
            )

    @abstractmethod
    def teach(self, examples: Examples, teacher: Teacher) -> None:
        """Give the examples the labels that the loss learns from."""
