"""Embedding size and precision: rankings against NumPy, sizes by hand, the recommendation, and the command."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from mmexp.quantize.indexes import Bfloat16Index, BinaryIndex, Float32Index, Int8Index
from mmexp.quantize.search import Search, prepared

NUM_DOCUMENTS, NUM_QUERIES = 60, 7
IDS = [f"page-{37 * n % NUM_DOCUMENTS:02d}" for n in range(NUM_DOCUMENTS)]


def embeddings(dim: int) -> tuple[np.ndarray, np.ndarray]:
    """Queries near documents; some documents are twice there, and one dimension is the same in all of them."""
    random = np.random.default_rng(3)
    documents = random.normal(size=(NUM_DOCUMENTS, 24)).astype(np.float32)
    documents[50:] = documents[:10]
    documents[:, 2] = 0.25
    queries = documents[5 : 5 + NUM_QUERIES] + random.normal(size=(NUM_QUERIES, 24)).astype(np.float32)
    cut = [side[:, :dim].astype(np.float64) for side in (queries, documents)]
    return tuple(side / np.linalg.norm(side, axis=1, keepdims=True) for side in cut)  # type: ignore[return-value]


def best(scores: np.ndarray, count: int) -> np.ndarray:
    """The highest scores of each query, ties by id."""
    return np.array([sorted(range(NUM_DOCUMENTS), key=lambda d: (-row[d], IDS[d]))[:count] for row in scores])


def int8_codes(side: np.ndarray, documents: np.ndarray) -> np.ndarray:
    low, step = documents.min(axis=0), np.ptp(documents, axis=0) / 255
    return np.clip(np.floor((side - low) / np.where(step == 0, 1, step)), 0, 255) - 128


def expected(precision: str, multiplier: int | None, dim: int) -> np.ndarray:
    """The rankings, by definition."""
    queries, documents = (side.astype(np.float32).astype(np.float64) for side in embeddings(dim))
    if precision == "float32":
        return best(queries @ documents.T, 10)
    if precision == "bfloat16":
        exponent = np.floor(np.log2(np.abs(documents)))  # 8 bits that count, the first of which is always 1
        rounded = np.round(documents / 2 ** (exponent - 7)) * 2 ** (exponent - 7)
        return best(queries @ rounded.T, 10)
    if precision == "int8":
        codes = int8_codes(documents, documents)
        scores = int8_codes(queries, documents) @ codes.T
        decoded = (codes + 128) * np.ptp(documents, axis=0) / 255 + documents.min(axis=0)
    else:
        scores = -((queries[:, None] > 0) != (documents[None] > 0)).sum(axis=2)
        decoded = np.where(documents > 0, 1.0, -1.0)
    if multiplier is None:
        return best(scores, 10)
    found = best(scores, 10 * multiplier)
    return np.array(
        [
            [d for _, _, d in sorted((-(query @ decoded[d]).round(5), place, d) for place, d in enumerate(row))][:10]
            for query, row in zip(queries, found, strict=True)
        ]
    )


@pytest.mark.parametrize("dim", [24, 13, 8])
@pytest.mark.parametrize(
    ("index_class", "multiplier"),
    [
        (Float32Index, None),
        (Bfloat16Index, None),
        (Int8Index, None),
        (Int8Index, 2),
        (BinaryIndex, None),
        (BinaryIndex, 1),
        (BinaryIndex, 3),
    ],
)
def test_rankings_equal_those_of_numpy(index_class, multiplier, dim):
    queries, documents = (prepared(torch.from_numpy(side).float(), dim, "dot") for side in embeddings(dim))
    found = Search(index_class(documents), multiplier).rank(queries, IDS).documents
    np.testing.assert_array_equal(found, expected(index_class.precision, multiplier, dim))


def test_sizes_are_cut_before_they_are_normalised_and_only_where_the_model_compares_by_cosine():
    raw = torch.tensor([[3.0, 4.0, 12.0]])
    assert prepared(raw, 2, "cosine").tolist() == [[pytest.approx(0.6), pytest.approx(0.8)]]
    assert prepared(raw, 2, "dot").tolist() == [[3.0, 4.0]]


@pytest.mark.parametrize(
    ("index_class", "dim", "bytes_per_document"),
    [
        (Float32Index, 2048, 8192),
        (Bfloat16Index, 2048, 4096),
        (Int8Index, 2048, 2048),
        (BinaryIndex, 2048, 256),
        (BinaryIndex, 20, 3),
    ],
)
def test_bytes_per_document_are_those_of_the_codes(index_class, dim, bytes_per_document):
    index = index_class(torch.randn(3, dim, generator=torch.manual_seed(1)))
    assert index.bytes_per_document == bytes_per_document
    codes = torch.as_tensor(index.codes)
    assert codes.nelement() * codes.element_size() == 3 * bytes_per_document


def test_a_search_takes_time_that_is_measured_in_one_thread_of_torch():
    threads = torch.get_num_threads()
    documents = torch.randn(50, 16, generator=torch.manual_seed(1))
    assert 0 < Search(BinaryIndex(documents), 2).seconds_per_query(documents[:3]) < 1
    assert torch.get_num_threads() == threads
