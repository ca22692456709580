"""What a model has made of a task's queries and documents, as mteb asks a model for it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from mteb.models.model_meta import ModelMeta
from mteb.types import PromptType

from mmexp.benchmark.splits import TaskSplit
from mmexp.evaluation.metrics import Embeddings, Similarity

if TYPE_CHECKING:
    from mteb.abstasks.task_metadata import TaskMetadata


class Embedded:
    """mteb's `EncoderProtocol`, by looking up. mteb would encode the whole corpus again for every language."""

    def __init__(self, split: TaskSplit, queries: Embeddings, documents: Embeddings, similarity: Similarity) -> None:
        """`queries` and `documents` hold an item for each place of the split."""
        self.split = split
        self.embeddings = {PromptType.query: queries, PromptType.document: documents}
        self._similarity = similarity
        modalities = split.task.metadata.modalities  # which were checked with the model itself
        self.mteb_model_meta = ModelMeta.create_empty({"name": "mmexp/model", "modalities": modalities})

    def encode(
        self,
        inputs: Any,
        *,
        task_metadata: TaskMetadata,
        hf_split: str,
        hf_subset: str,
        prompt_type: PromptType | None = None,
        **kwargs: Any,
    ) -> Any:
        """The embeddings of inputs (a loader), by their ids: (count, dim), or for each (tokens, dim)."""
        assert prompt_type is not None
        of_side = self.split.places[hf_split, hf_subset, prompt_type.value]
        places = [of_side[id_] for id_ in inputs.dataset["id"]]
        embeddings = self.embeddings[prompt_type]
        return embeddings[places] if torch.is_tensor(embeddings) else [embeddings[place] for place in places]

    def similarity(self, embeddings1: Any, embeddings2: Any) -> torch.Tensor:
        """(queries, documents)."""
        return self._similarity(embeddings1, embeddings2)

    def similarity_pairwise(self, embeddings1: Any, embeddings2: Any) -> torch.Tensor:
        """(queries,), of each query and the document beside it."""
        return self._similarity(embeddings1, embeddings2).diagonal()
