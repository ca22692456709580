"""Losses: the library's, chosen by name. `dims` wraps Matryoshka around any of an embedder's, last.

A loss derives from the class of the kind of model that it trains: EmbedderLoss, MultiVectorLoss or RerankerLoss.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from mmexp.data.pairs import Rows  # at run time, as the next: the schema resolves every annotation
from mmexp.model_kind import ModelKind

if TYPE_CHECKING:
    from torch import nn


@dataclass
class Loss(ABC):
    """Base of every loss config (config group `loss`)."""

    trains: ClassVar[ModelKind]
    """The kind of model that the loss trains."""

    rows: ClassVar[Rows] = Rows.columns
    """The form in which the loss takes its examples."""

    takes_label: ClassVar[bool] = False
    """Whether the loss reads a label or score column of the data."""

    @abstractmethod
    def build(self, model: Any) -> nn.Module:
        """The library's loss around `model`."""


class EmbedderLoss(Loss):
    """Base of the losses of embedders."""

    trains: ClassVar[ModelKind] = ModelKind.embedder


class MultiVectorLoss(Loss):
    """Base of the losses of multi-vector models."""

    trains: ClassVar[ModelKind] = ModelKind.multi_vector


class RerankerLoss(Loss):
    """Base of the losses of rerankers."""

    trains: ClassVar[ModelKind] = ModelKind.reranker
