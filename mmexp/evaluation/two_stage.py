"""Evaluation of retrieve-then-rerank: an embedder finds the best documents, a reranker puts them into a new order."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from mmexp.evaluation.evaluate import Evaluator
from mmexp.evaluation.metrics import PRIMARY_METRIC, Ranking, means, per_query_metrics
from mmexp.evaluation.model_evaluator import OutputEvaluator, Phase
from mmexp.evaluation.output_cache import determinants
from mmexp.evaluation.report import Metrics, Report
from mmexp.evaluation.reranking import PreprocessedPairs, score_pairs
from mmexp.models.facts import weights_checksum

if TYPE_CHECKING:
    from sentence_transformers import CrossEncoder, SentenceTransformer

    from mmexp.evaluation.two_stage_settings import TwoStage

CEILING = f"ceiling_{PRIMARY_METRIC}"


@dataclass
class TopKReport(Report):
    """The metrics of the reranked orders, by how many documents were reranked."""

    part = "top_k"
    shown = (CEILING, "pages_per_second", "seconds_per_query")

    metrics: dict[int, Metrics]
    """Beside those that the first stage has: `ceiling_ndcg@10` of a reranker that is never wrong; `pages_per_second`
    that it scores; `seconds_per_query`, both stages together, the encoding of the corpus excluded."""

    per_query: dict[int, dict[str, np.ndarray]]
    rankings: dict[int, Ranking]
    before: TopKReport | None = None
    """The first stage alone, whatever the number."""

    def values(self, part: int, metric: str) -> np.ndarray | None:
        return self.per_query[part][metric] if part in self.per_query else None

    @property
    def full(self) -> Metrics:
        """The metrics of the most documents reranked."""
        return self.metrics[max(self.metrics)]


class TwoStageEvaluator(OutputEvaluator[TopKReport]):
    """The corpus is searched once, and each pair of a query and one of its best documents is scored once."""

    outputs = "embeddings and scores"

    def __init__(
        self, retriever: Evaluator, reranker: CrossEncoder, settings: TwoStage, batch_size: int, phase: Phase
    ) -> None:
        super().__init__(retriever.encoder, phase)
        self.retriever = retriever
        self.reranker = reranker
        self.settings = settings
        self.batch_size = batch_size
        self.queries, self.corpus = retriever.queries, retriever.corpus
        self.depth = min(max(settings.top_k), len(self.corpus))

    @staticmethod
    def flat(report: TopKReport) -> dict[str, float]:
        """The metrics of the most documents reranked, and the primary metric of every number of them."""
        by_top_k = {f"{PRIMARY_METRIC}_top_{k}": metrics[PRIMARY_METRIC] for k, metrics in report.metrics.items()}
        return {**report.full, **by_top_k}

    def key_parts(self, model: SentenceTransformer) -> dict[str, Any]:
        split = self.retriever.split
        pair = (split.queries[self.queries[0]], split.documents[self.corpus[0]])
        samples = {"pair": self.reranker.preprocess([pair], prompt=self._prompt())}
        return {
            **self.retriever.key_parts(model),
            "reranker": determinants(self.reranker, weights_checksum(self.reranker), self.encoder, samples),
            "activation": str(self.reranker.activation_fn),
            "dim": self.retriever.dims[-1],
            "depth": self.depth,
        }

    @property
    def num_pages(self) -> None:
        return None

    def compute(self, model: SentenceTransformer) -> dict[str, torch.Tensor]:
        """`queries` and `documents` as the retriever's, `scores` (queries, depth) of its best documents, and `seconds`
        (2,) that finding and scoring them took."""
        documents = self.retriever.encode(model, "documents")
        started = time.perf_counter()
        encoded = documents | self.retriever.encode(model, "queries")
        retrieved = self._retrieve(model, encoded)
        found = time.perf_counter()
        with self.phase("rerank"):
            scores = self._scores(retrieved.documents[:, : self.depth])
        seconds = torch.tensor([found - started, time.perf_counter() - found], dtype=torch.float64)
        return {**encoded, "scores": scores, "seconds": seconds}

    def _retrieve(self, model: SentenceTransformer, embeddings: dict[str, torch.Tensor]) -> Ranking:
        return self.retriever.rank(model, embeddings, self.retriever.dims[-1], self.depth)

    def _scores(self, documents: np.ndarray) -> torch.Tensor:
        """The reranker's scores of `documents`, positions in the corpus, for every query: both (queries, depth)."""
        split = self.retriever.split
        pairs = [
            (query, self.corpus[document])
            for query, best in zip(self.queries, documents.tolist(), strict=True)
            for document in best
        ]
        # A page that many queries find is decoded once where its pairs are neighbours.
        order = np.argsort([document for _, document in pairs], kind="stable")
        batches = PreprocessedPairs(
            self.reranker,
            split.queries,
            split.documents,
            [pairs[n] for n in order],
            self.batch_size,
            self._prompt(),
        )
        scores = torch.empty(len(pairs))
        scores[torch.from_numpy(order)] = score_pairs(self.encoder, self.reranker, batches, "Rerank")
        return scores.view(documents.shape)

    def _prompt(self) -> str | None:
        prompts = self.reranker.prompts
        return prompts.get(self.settings.direction.value, prompts.get(self.reranker.default_prompt_name or ""))

    def report(self, model: SentenceTransformer, computed: dict[str, torch.Tensor]) -> TopKReport:
        retrieved = self._retrieve(model, computed)
        relevant = self.retriever.relevant
        is_relevant = np.array(
            [[d in answers for d in top] for top, answers in zip(retrieved.documents.tolist(), relevant, strict=True)]
        )
        find_seconds, score_seconds = computed["seconds"].tolist()
        pages_per_second = computed["scores"].numel() / score_seconds
        seconds_per_query = find_seconds / len(self.queries)
        index_size = self.retriever.index_size(computed, self.retriever.dims[-1])
        rankings, per_query, metrics = {}, {}, {}
        for k in self.settings.top_k:
            scores = blended(computed["scores"].numpy()[:, :k], retrieved.scores[:, :k], self.settings.retrieval_weight)
            rankings[k] = reordered(retrieved, scores)
            per_query[k] = per_query_metrics(rankings[k], relevant)
            never_wrong = per_query_metrics(reordered(retrieved, is_relevant[:, :k].astype(np.float32)), relevant)
            metrics[k] = {
                **means(per_query[k]),
                **index_size,
                CEILING: float(never_wrong[PRIMARY_METRIC].mean()),
                "pages_per_second": pages_per_second,
                "seconds_per_query": seconds_per_query + min(k, self.depth) / pages_per_second,
            }
        of_queries = per_query_metrics(retrieved, relevant)
        alone = means(of_queries) | index_size | {"seconds_per_query": seconds_per_query}
        every = self.settings.top_k
        before = TopKReport(
            dict.fromkeys(every, alone), dict.fromkeys(every, of_queries), dict.fromkeys(every, retrieved)
        )
        return TopKReport(metrics, per_query, rankings, before)

    def write(self, report: TopKReport, file: Path) -> None:
        """Write a row per (query, number of reranked documents), as the retriever does per size."""
        self.retriever.write_rankings("top_k", report.rankings, report.per_query, file)


def blended(reranker: np.ndarray, retriever: np.ndarray, weight: float) -> np.ndarray:
    """The scores of both stages, standardised query by query, the retriever's by `weight`: all are (queries, k).

    Without weight they are the reranker's as they are.
    """
    if weight == 0:
        return reranker
    return (1 - weight) * standardised(reranker) + weight * standardised(retriever)


def standardised(scores: np.ndarray) -> np.ndarray:
    """Scores less their mean over each query, in units of their standard deviation."""
    deviations = scores - scores.mean(axis=1, keepdims=True)
    return deviations / np.maximum(deviations.std(axis=1, keepdims=True), np.finfo(scores.dtype).tiny)


def reordered(ranking: Ranking, scores: np.ndarray) -> Ranking:
    """The ranking whose first documents are put in the order of `scores` (queries, k), ties as they were.

    Scores of the documents after them, which are of another kind, are NaN.
    """
    k = scores.shape[1]
    order = np.argsort(-scores, axis=1, kind="stable")
    documents, new_scores = ranking.documents.copy(), np.full(ranking.scores.shape, np.nan, dtype=np.float32)
    documents[:, :k] = np.take_along_axis(ranking.documents[:, :k], order, axis=1)
    new_scores[:, :k] = np.take_along_axis(scores, order, axis=1)
    return Ranking(documents, new_scores)
