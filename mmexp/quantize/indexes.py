"""A corpus as each precision keeps it, and the scores of all its documents, exactly.

Codes are those of the library's `quantize_embeddings`, and compared as its `semantic_search_usearch` and
`semantic_search_faiss` compare them, without their packages.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

import numpy as np
import torch
from sentence_transformers.util.quantization import quantize_embeddings

# Documents that are converted at once: few enough for a cache.
BLOCK = 512
WORD_BYTES = 8


class Index(ABC):
    """A corpus at one size and precision. Embeddings are compared by inner product, or what stands for it."""

    precision: ClassVar[str]

    bytes_per_document: int
    """What is kept of a document. What is kept once for all of them, the ranges of int8, does not count."""

    def __init__(self, documents: torch.Tensor) -> None:
        """`documents`: float32 (documents, dimension), cut and normalised."""
        self.num_documents, self.dim = documents.shape

    def __len__(self) -> int:
        return self.num_documents

    @abstractmethod
    def scores(self, queries: torch.Tensor) -> torch.Tensor:
        """The scores of all documents, higher is better: (queries, documents). `queries`: float32 (queries, dim)."""

    @abstractmethod
    def decoded(self, documents: np.ndarray) -> torch.Tensor:
        """What the codes of some documents say of their embeddings: float32 (*documents.shape, dim)."""


class Float32Index(Index):
    """Embeddings as they are."""

    precision = "float32"
    dtype = torch.float32

    def __init__(self, documents: torch.Tensor) -> None:
        super().__init__(documents)
        self.codes = documents.to(self.dtype)
        self.bytes_per_document = self.dim * self.codes.element_size()

    def scores(self, queries: torch.Tensor) -> torch.Tensor:
        return queries @ self.codes.T

    def decoded(self, documents: np.ndarray) -> torch.Tensor:
        return self.codes[torch.from_numpy(documents)].float()


class Bfloat16Index(Float32Index):
    """Documents rounded to bfloat16. Queries stay float32, and so does what is computed: products that were rounded
    too would make many scores equal."""

    precision = "bfloat16"
    dtype = torch.bfloat16

    def scores(self, queries: torch.Tensor) -> torch.Tensor:
        found = torch.empty(len(queries), len(self))
        block = torch.empty(min(BLOCK, len(self)), self.dim)
        for start in range(0, len(self), BLOCK):
            codes = self.codes[start : start + BLOCK]
            found[:, start : start + BLOCK] = queries @ block[: len(codes)].copy_(codes).T
        return found


class Int8Index(Index):
    """256 steps between the lowest and the highest value that the corpus has in each dimension; queries likewise, with
    the corpus' ranges. Compared by the inner product of the codes, as integers."""

    precision = "int8"

    def __init__(self, documents: torch.Tensor) -> None:
        super().__init__(documents)
        self.ranges = torch.stack([documents.amin(0), documents.amax(0)]).numpy()
        self.codes = self._quantized(documents)
        self.bytes_per_document = self.dim

    def _quantized(self, embeddings: torch.Tensor) -> torch.Tensor:
        return torch.from_numpy(quantize_embeddings(embeddings.numpy(), "int8", ranges=self.ranges))

    def scores(self, queries: torch.Tensor) -> torch.Tensor:
        # The one product of int8 that torch has, on a CPU in the processor's own instructions.
        return torch._int_mm(self._quantized(queries), self.codes.T)

    def decoded(self, documents: np.ndarray) -> torch.Tensor:
        lowest, highest = torch.from_numpy(self.ranges)
        steps = (highest - lowest) / 255
        steps[steps == 0] = 1
        return (self.codes[torch.from_numpy(documents)].float() + 128) * steps + lowest


class BinaryIndex(Index):
    """The sign of every value, a bit each. Queries likewise; compared by how many bits are equal."""

    precision = "binary"

    def __init__(self, documents: torch.Tensor) -> None:
        super().__init__(documents)
        self.codes = bits(documents)
        self.bytes_per_document = self.codes.shape[1]
        self._words = words(self.codes)

    def scores(self, queries: torch.Tensor) -> torch.Tensor:
        found = np.full((len(queries), len(self)), self.dim, dtype=np.int32)
        for query, scores in zip(words(bits(queries)).T, found, strict=True):
            for word, column in zip(query, self._words, strict=True):
                scores -= np.bitwise_count(column ^ word)
        return torch.from_numpy(found)

    def decoded(self, documents: np.ndarray) -> torch.Tensor:
        """1 for what is above 0, else 0; a query's products with these rank as those with 1 and -1 do."""
        return torch.from_numpy(np.unpackbits(self.codes[documents], axis=-1)[..., : self.dim]).float()


def bits(embeddings: torch.Tensor) -> np.ndarray:
    """A bit for each value, whether it is above 0: uint8 (count, bytes)."""
    codes = quantize_embeddings(embeddings.numpy(), "ubinary")
    assert isinstance(codes, np.ndarray)
    return codes


def words(codes: np.ndarray) -> np.ndarray:
    """Packed bits, uint8 (count, bytes), in words that are counted at once: uint64 (words, count), filled up with 0."""
    missing = -codes.shape[1] % WORD_BYTES
    return np.ascontiguousarray(np.pad(codes, ((0, 0), (0, missing))).view(np.uint64).T)


INDEXES: tuple[type[Index], ...] = (Float32Index, Bfloat16Index, Int8Index, BinaryIndex)
