"""A corpus as each precision keeps it, and the scores of all its documents, exactly.

Codes are those of the library's `quantize_embeddings`. Binary ones are compared as its `semantic_search_faiss` compares
them, without that package.
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


class Bfloat16Index(Float32Index):
    """Documents rounded to bfloat16. Queries stay float32, and so does what is computed: products that were rounded
    too would make many scores equal."""

    precision = "bfloat16"
    dtype = torch.bfloat16

    def scores(self, queries: torch.Tensor) -> torch.Tensor:
        return products(queries, self.codes)


class Int8Index(Index):
    """256 steps between the lowest and the highest value that the corpus has in each dimension. Compared by the inner
    product of the float32 query and what the codes say, as vector databases do.

    The library's `semantic_search_usearch` compares the codes of both as integers, which counts a dimension for more
    the less it varies: on the embedded model, that alone loses a tenth of NDCG@10.
    """

    precision = "int8"

    def __init__(self, documents: torch.Tensor) -> None:
        super().__init__(documents)
        lowest, highest = documents.amin(0), documents.amax(0)
        ranges = torch.stack([lowest, highest]).numpy()
        self.codes = torch.from_numpy(quantize_embeddings(documents.numpy(), "int8", ranges=ranges))
        self.steps = (highest - lowest) / 255
        self.origin = lowest + 128 * self.steps
        self.bytes_per_document = self.dim

    def scores(self, queries: torch.Tensor) -> torch.Tensor:
        return products(queries * self.steps, self.codes) + (queries @ self.origin)[:, None]


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
        """What the codes of some documents say of their embeddings, for the query in full to be compared with: float32
        (*documents.shape, dim). 1 for what is above 0, else 0; products with these rank as those with 1 and -1 do."""
        return torch.from_numpy(np.unpackbits(self.codes[documents], axis=-1)[..., : self.dim]).float()


def products(queries: torch.Tensor, codes: torch.Tensor) -> torch.Tensor:
    """Inner products in float32, of codes that are kept in less: (queries, documents)."""
    found = torch.empty(len(queries), len(codes))
    block = torch.empty(min(BLOCK, len(codes)), codes.shape[1])
    for start in range(0, len(codes), BLOCK):
        some = codes[start : start + BLOCK]
        found[:, start : start + BLOCK] = queries @ block[: len(some)].copy_(some).T
    return found


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
