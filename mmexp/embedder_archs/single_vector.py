"""One vector for a query or a page."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from mmexp.embedder_archs import EmbedderArch
from mmexp.model_kind import ModelKind
from mmexp.models import Model
from mmexp.schema import schema

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer


@schema("embedder_arch", "single_vector")
@dataclass
class SingleVector(EmbedderArch):
    """An embedding model as it is; the config group `dims` says at which sizes."""

    kind: ClassVar[ModelKind] = ModelKind.embedder

    def build(self, model: Model) -> SentenceTransformer:
        return model.build()
