"""Retrieval metrics per query, from a ranking. Values equal the library's InformationRetrievalEvaluator."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from mmexp.distributed import ranks

PRIMARY_METRIC = "ndcg@10"
CUTOFFS = {
    "accuracy": (1, 3, 5, 10),
    "precision": (1, 3, 5, 10),
    "recall": (1, 3, 5, 10),
    "ndcg": (10,),
    "mrr": (10,),
    "map": (100,),
}
MAX_RANK = max(k for cutoffs in CUTOFFS.values() for k in cutoffs)
# One embedding for each input: vectors (count, dim), or for each input the vectors of its tokens (tokens, dim).
Embeddings = torch.Tensor | list[torch.Tensor]
Similarity = Callable[[Embeddings, Embeddings], torch.Tensor]
# Queries that are scored at once: few, so that ranks share them, and the same however many ranks there are.
QUERY_BLOCK = 64
# Scores held at once while ranking: 64 Mi float32 values are 256 MiB.
MAX_SCORES = 1 << 26


@dataclass
class Ranking:
    """The best documents of every query, best first.

    Attributes:
        documents: int64 (queries, ranks), positions in the corpus.
        scores: float32 (queries, ranks).
    """

    documents: np.ndarray
    scores: np.ndarray


def rank(
    queries: Embeddings,
    documents: Embeddings,
    document_ids: Sequence[str],
    similarity: Similarity,
    depth: int = MAX_RANK,
) -> Ranking:
    """Rank all documents for every query by exact search, ties by ascending document id. A collective.

    Args:
        queries: (num_queries, dim), or for each (tokens, dim). documents: (num_documents, dim), or likewise.
        document_ids: one per document.
        similarity: the model's: two batches of embeddings -> (num_queries, num_documents).
        depth: number of ranks; no less than the metrics look at.
    """
    return rank_by(lambda block: similarity(queries[block], documents), len(queries), document_ids, depth)


def rank_by(
    scores: Callable[[slice], torch.Tensor], num_queries: int, document_ids: Sequence[str], depth: int = MAX_RANK
) -> Ranking:
    """The same by the scores of all documents for some of the queries: (queries of the slice, documents)."""
    num_documents = len(document_ids)
    depth = min(max(depth, MAX_RANK), num_documents)
    id_order = np.empty(num_documents, dtype=np.int64)
    id_order[np.argsort(np.array(document_ids, dtype=object), kind="stable")] = np.arange(num_documents)
    size = min(QUERY_BLOCK, max(1, MAX_SCORES // num_documents))

    def best_of_block(block: int) -> Ranking:
        return _best(scores(slice(block * size, (block + 1) * size)), id_order, depth)

    blocks = ranks.spread(-(-num_queries // size), best_of_block)
    return Ranking(np.concatenate([b.documents for b in blocks]), np.concatenate([b.scores for b in blocks]))


def _best(scores: torch.Tensor, id_order: np.ndarray, depth: int) -> Ranking:
    """The first `depth` documents by `scores` (queries, documents), ties by `id_order` (documents,)."""
    # Everything at or above the last rank's score is a candidate, so that ties at the cut are broken by id too.
    candidates = (scores >= scores.topk(depth, dim=1).values[:, -1:]).numpy()
    top = np.empty((len(scores), depth), dtype=np.int64)
    values = scores.numpy()
    for query, row in enumerate(values):
        among = np.flatnonzero(candidates[query])
        top[query] = among[np.lexsort((id_order[among], -row[among]))][:depth]
    return Ranking(top, np.take_along_axis(values, top, axis=1))


def per_query_metrics(ranking: Ranking, relevant: Sequence[set[int]]) -> dict[str, np.ndarray]:
    """Every metric of every query: {"ndcg@10": float64 (queries,), ...}.

    Args:
        relevant: for each query, the positions of its relevant documents in the corpus; at least one.
    """
    depth = ranking.documents.shape[1]
    hits = np.array(
        [[d in answers for d in top] for top, answers in zip(ranking.documents.tolist(), relevant, strict=True)]
    )
    hits = np.pad(hits.reshape(len(relevant), depth), ((0, 0), (0, max(0, MAX_RANK - depth)))).astype(np.float64)
    num_relevant = np.array([len(answers) for answers in relevant], dtype=np.float64)
    values = {}
    for name, cutoffs in CUTOFFS.items():
        for k in cutoffs:
            values[f"{name}@{k}"] = METRICS[name](hits[:, :k], num_relevant)
    return values


def means(per_query: dict[str, np.ndarray]) -> dict[str, float]:
    """The mean of every metric over queries."""
    return {name: float(values.mean()) for name, values in per_query.items()}


def _accuracy(hits: np.ndarray, num_relevant: np.ndarray) -> np.ndarray:
    return np.asarray(hits.any(axis=1), dtype=np.float64)


def _precision(hits: np.ndarray, num_relevant: np.ndarray) -> np.ndarray:
    return hits.mean(axis=1)


def _recall(hits: np.ndarray, num_relevant: np.ndarray) -> np.ndarray:
    return hits.sum(axis=1) / num_relevant


def _mrr(hits: np.ndarray, num_relevant: np.ndarray) -> np.ndarray:
    return np.where(hits.any(axis=1), 1 / (hits.argmax(axis=1) + 1), 0.0)


def _ndcg(hits: np.ndarray, num_relevant: np.ndarray) -> np.ndarray:
    discounts = 1 / np.log2(np.arange(2, hits.shape[1] + 2))
    ideal = np.cumsum(discounts)[np.minimum(num_relevant, hits.shape[1]).astype(int) - 1]
    return hits @ discounts / ideal


def _map(hits: np.ndarray, num_relevant: np.ndarray) -> np.ndarray:
    precisions = np.cumsum(hits, axis=1) / np.arange(1, hits.shape[1] + 1)
    return (precisions * hits).sum(axis=1) / np.minimum(num_relevant, hits.shape[1])


METRICS: dict[str, Callable[[np.ndarray, np.ndarray], np.ndarray]] = {
    "accuracy": _accuracy,
    "precision": _precision,
    "recall": _recall,
    "ndcg": _ndcg,
    "mrr": _mrr,
    "map": _map,
}
