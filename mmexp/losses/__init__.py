"""Losses: the library's, chosen by name. `dims` wraps Matryoshka around any of them, last."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer
    from torch import nn


@dataclass
class Loss(ABC):
    """Base of every loss config (config group `loss`)."""

    takes_label: ClassVar[bool] = False
    """Whether the loss reads a label or score column."""

    @abstractmethod
    def build(self, model: SentenceTransformer) -> nn.Module:
        """The library's loss around `model`."""
