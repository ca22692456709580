"""Embedder architectures: what a query or a page becomes.

single_vector.py  one vector
multi_vector.py   a vector for every token, compared by MaxSim (late interaction)
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar

from mmexp.model_kind import ModelKind
from mmexp.models import Model


@dataclass
class EmbedderArch(ABC):
    """Base of every embedder architecture config (config group `embedder_arch`)."""

    kind: ClassVar[ModelKind]
    """The kind of model that it makes."""

    @abstractmethod
    def build(self, model: Model) -> Any:
        """Load `model` in this architecture, ready to train."""
