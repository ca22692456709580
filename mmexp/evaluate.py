"""Evaluation: the corpus and the queries are encoded once, and every embedding size is scored from that."""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from sentence_transformers.base.evaluation import BaseEvaluator

from mmexp.baseline_cache import BaselineCache
from mmexp.data.splits import Split
from mmexp.encode import Encoder, Preprocess, Side
from mmexp.metrics import PRIMARY_METRIC, Ranking, per_query_metrics, rank
from mmexp.models.facts import weights_checksum
from mmexp.report import Metrics, Report

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

log = logging.getLogger(__name__)

Phase = Callable[[str], AbstractContextManager[None]]
QUERY_BATCH_SIZE = 64
# Small enough that workers and model both have something to do; large enough for any accelerator.
MAX_DOCUMENT_BATCH_SIZE = 16
TOP_DOCUMENTS = 10


def no_phase(name: str) -> AbstractContextManager[None]:
    """Books nothing."""
    return nullcontext()


@dataclass
class Embeddings:
    """One encoding of an evaluation set: float32 tensors (num_queries, dim) and (num_documents, dim)."""

    queries: torch.Tensor
    documents: torch.Tensor


@dataclass
class DimReport(Report):
    """The metrics of one evaluation, by embedding size, the full size first."""

    part = "dim"

    metrics: dict[int, Metrics]

    per_query: dict[int, dict[str, np.ndarray]]
    """{dimension: {metric: value of every query}}."""

    rankings: dict[int, Ranking]

    @property
    def full(self) -> Metrics:
        """The metrics at the full embedding size."""
        return self.metrics[max(self.metrics)]


class Evaluator(BaseEvaluator):
    """Searches the evaluation corpus with its queries. Also the evaluator that the library's trainer calls.

    The last encoding is kept with a checksum of the weights it was made with, so that the final evaluation of a
    model that was just evaluated in training costs no second encoding. `phase` says where the time and energy of an
    evaluation in training are booked.
    """

    def __init__(
        self, split: Split, dims: list[int], encoder: Encoder, document_batch_size: int, phase: Phase = no_phase
    ) -> None:
        super().__init__()
        self.primary_metric = PRIMARY_METRIC
        self.split = split
        self.dims = dims
        self.encoder = encoder
        self.document_batch_size = min(MAX_DOCUMENT_BATCH_SIZE, document_batch_size)
        self.phase = phase
        self.corpus = split.corpus
        self.queries = list(split.relevant)
        position = {document: n for n, document in enumerate(self.corpus)}
        self._relevant = [{position[d] for d in answers} for answers in split.relevant.values()]
        self._last: tuple[str, Embeddings] | None = None

    def __call__(
        self, model: Any, output_path: str | None = None, epoch: int = -1, steps: int = -1
    ) -> dict[str, float]:
        """What the trainer reports and selects checkpoints by."""
        with self.phase("evaluation"):
            report = self.evaluate(model)
        self.store_metrics_in_model_card_data(model, dict(report.full), epoch, steps)
        return self.flat(report)

    @staticmethod
    def flat(report: DimReport) -> dict[str, float]:
        """The metrics at the full size, and the primary metric at each size."""
        by_dim = {f"{PRIMARY_METRIC}_{dim}d": metrics[PRIMARY_METRIC] for dim, metrics in report.metrics.items()}
        return {**report.full, **by_dim}

    def evaluate(self, model: SentenceTransformer, cache: BaselineCache | None = None) -> DimReport:
        """Encode, or find the encoding of these very weights again, and score every size."""
        checksum = weights_checksum(model)
        if self._last is None or self._last[0] != checksum:
            self._last = checksum, self._embeddings(model, checksum, cache)
        return self._score(model, self._last[1])

    def _embeddings(self, model: SentenceTransformer, checksum: str, cache: BaselineCache | None) -> Embeddings:
        if cache is None:
            return self._encode(model)
        split = self.split
        samples = {
            "query": Preprocess(model, "query")([split.queries[self.queries[0]]]),
            "document": Preprocess(model, "document")([split.documents[self.corpus[0]]]),
        }
        key = cache.key(model, checksum, self.encoder, samples)
        found = cache.find(key)
        if found is not None:
            log.info("baseline: found the embeddings of this model and data in %s", cache.file(key))
            return Embeddings(**found)
        embeddings = self._encode(model)
        cache.keep(key, vars(embeddings))
        return embeddings

    def _encode(self, model: SentenceTransformer) -> Embeddings:
        split = self.split
        queries, documents = self.encoder.encode(
            model,
            Side("query", split.queries, self.queries, QUERY_BATCH_SIZE),
            Side("document", split.documents, self.corpus, self.document_batch_size),
        )
        return Embeddings(queries, documents)

    def _score(self, model: SentenceTransformer, embeddings: Embeddings) -> DimReport:
        document_ids = [self.split.documents.ids[document] for document in self.corpus]
        rankings = {
            dim: rank(embeddings.queries[:, :dim], embeddings.documents[:, :dim], document_ids, model.similarity)
            for dim in self.dims
        }
        per_query = {dim: per_query_metrics(ranking, self._relevant) for dim, ranking in rankings.items()}
        metrics = {
            dim: {name: float(values.mean()) for name, values in by_metric.items()}
            for dim, by_metric in per_query.items()
        }
        return DimReport(metrics, per_query, rankings)

    def write(self, report: DimReport, file: Path) -> None:
        """Write a row per (query, dimension): every metric, and the best documents with their scores."""
        import pyarrow as pa
        from pyarrow import parquet

        ids = self.split.documents.ids
        table: dict[str, list[Any]] = {}
        for dim, metrics in report.per_query.items():
            ranking = report.rankings[dim]
            rows: dict[str, Any] = {
                "query_id": [self.split.queries.ids[query] for query in self.queries],
                "query": [str(self.split.queries[query]) for query in self.queries],
                "dim": [dim] * len(self.queries),
                **{name: values.tolist() for name, values in metrics.items()},
                "relevant": [[ids[self.corpus[d]] for d in sorted(answers)] for answers in self._relevant],
                "top": [[ids[self.corpus[d]] for d in top[:TOP_DOCUMENTS]] for top in ranking.documents],
                "top_scores": ranking.scores[:, :TOP_DOCUMENTS].tolist(),
            }
            for name, values in rows.items():
                table.setdefault(name, []).extend(values)
        file.parent.mkdir(parents=True, exist_ok=True)
        parquet.write_table(pa.table(table), file)
