"""Losses: the library's, chosen by name. `dims` wraps Matryoshka around any of an embedder's, last."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from mmexp.data.pairs import Rows  # at run time: the schema resolves every annotation

if TYPE_CHECKING:
    from torch import nn


@dataclass
class Loss(ABC):
    """Base of every loss config (config group `loss`)."""

    takes_label: ClassVar[bool] = False
    """Whether the loss reads a label or score column."""

    rows: ClassVar[Rows | None] = None
    """The form in which a reranker's loss takes its examples. None: a loss for embedders."""

    @abstractmethod
    def build(self, model: Any) -> nn.Module:
        """The library's loss around `model`."""
