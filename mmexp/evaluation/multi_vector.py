"""Evaluation of a multi-vector model: the tokens of corpus and queries are encoded once, and scored by MaxSim."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import torch

from mmexp.evaluation.evaluate import Evaluator
from mmexp.evaluation.metrics import Similarity

if TYPE_CHECKING:
    from sentence_transformers import MultiVectorEncoder


class MultiVectorEvaluator(Evaluator):
    """Exact search over the whole corpus with the model's own similarity; it has one size, that of its vectors.

    Values equal the library's MultiVectorInformationRetrievalEvaluator. The library scores in chunks of bounded memory.
    """

    def encode(self, model: MultiVectorEncoder, *names: str) -> dict[str, torch.Tensor]:
        """The vectors of all inputs of a side, one after the other: float32 (vectors, dimension). Under `num_vectors_`
        and the side's name, how many each input has: int64 (count,)."""
        encoded = {}
        for name, inputs in zip(
            names, self.encoder.encode_tokens(model, *(self.sides[name] for name in names)), strict=True
        ):
            encoded[name] = torch.cat(inputs)
            encoded[f"num_vectors_{name}"] = torch.tensor([len(vectors) for vectors in inputs])
        return encoded

    def vectors(self, encoded: dict[str, torch.Tensor], name: str, dim: int) -> list[torch.Tensor]:
        return list(encoded[name].split(encoded[f"num_vectors_{name}"].tolist()))

    def similarity(self, model: MultiVectorEncoder) -> Similarity:
        """MaxSim or MeanMaxSim, computed where the model is: its cost grows with the tokens of both sides."""
        return partial(model.similarity, device=model.device)

    def vectors_per_document(self, encoded: dict[str, torch.Tensor]) -> float:
        return float(encoded["num_vectors_documents"].double().mean())
