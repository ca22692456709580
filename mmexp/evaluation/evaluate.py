"""Evaluation: the corpus and the queries are encoded once, and every embedding size is scored from that."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from mmexp.data.attributes import prefixed
from mmexp.data.cells import text_of
from mmexp.data.splits import Split
from mmexp.evaluation.encode import Encoder, Preprocess, Side
from mmexp.evaluation.metrics import (
    MAX_RANK,
    PRIMARY_METRIC,
    Embeddings,
    Ranking,
    Similarity,
    means,
    per_query_metrics,
    rank,
)
from mmexp.evaluation.model_evaluator import TOP_DOCUMENTS, OutputEvaluator, Phase, no_phase
from mmexp.evaluation.report import Metrics, Report

if TYPE_CHECKING:
    from sentence_transformers.base.model import BaseModel

QUERY_BATCH_SIZE = 64
# Small enough that workers and model both have something to do; large enough for any accelerator.
MAX_DOCUMENT_BATCH_SIZE = 16
BYTES_PER_VALUE = 4  # of float32, in which everything is encoded and scored


@dataclass
class DimReport(Report):
    """The metrics of one evaluation, by embedding size, the full size first."""

    part = "dim"
    shown = ("bytes_per_document",)

    metrics: dict[int, Metrics]
    """Beside the metrics of retrieval: `vectors_per_document`, and `bytes_per_document`, which they take as float32."""

    per_query: dict[int, dict[str, np.ndarray]]
    """{dimension: {metric: value of every query}}."""

    rankings: dict[int, Ranking]

    def values(self, part: int, metric: str) -> np.ndarray | None:
        return self.per_query[part][metric] if part in self.per_query else None

    @property
    def full(self) -> Metrics:
        """The metrics at the full embedding size."""
        return self.metrics[max(self.metrics)]


class Evaluator(OutputEvaluator[DimReport]):
    """Searches the evaluation corpus with its queries: both are encoded once, and every size is scored from that."""

    outputs = "embeddings"

    def __init__(
        self, split: Split, dims: list[int], encoder: Encoder, document_batch_size: int, phase: Phase = no_phase
    ) -> None:
        super().__init__(encoder, phase)
        self.split = split
        self.dims = dims
        self.document_batch_size = min(MAX_DOCUMENT_BATCH_SIZE, document_batch_size)
        self.corpus = split.corpus
        self.queries = list(split.relevant)
        position = {document: n for n, document in enumerate(self.corpus)}
        self.relevant = [{position[d] for d in answers} for answers in split.relevant.values()]

    @staticmethod
    def flat(report: DimReport) -> dict[str, float]:
        """The metrics at the full size, and the primary metric at each size."""
        by_dim = {f"{PRIMARY_METRIC}_{dim}d": metrics[PRIMARY_METRIC] for dim, metrics in report.metrics.items()}
        return {**report.full, **by_dim}

    def key_parts(self, model: BaseModel) -> dict[str, Any]:
        samples = {
            "query": Preprocess(model, "query")([self.split.queries[self.queries[0]]]),
            "document": Preprocess(model, "document")([self.split.documents[self.corpus[0]]]),
        }
        return {"samples": samples}

    @property
    def sides(self) -> dict[str, Side]:
        """What is encoded: the queries, and the corpus."""
        return {
            "queries": Side("query", self.split.queries, self.queries, QUERY_BATCH_SIZE),
            "documents": Side("document", self.split.documents, self.corpus, self.document_batch_size),
        }

    @property
    def num_pages(self) -> int:
        return len(self.corpus)

    def compute(self, model: BaseModel) -> dict[str, torch.Tensor]:
        return self.encode(model, "queries", "documents")

    def encode(self, model: Any, *names: str) -> dict[str, torch.Tensor]:
        """The embeddings of the sides that are named: float32 (count, dimension)."""
        return dict(zip(names, self.encoder.encode(model, *(self.sides[name] for name in names)), strict=True))

    def vectors(self, encoded: dict[str, torch.Tensor], name: str, dim: int) -> Embeddings:
        """What is compared of a side at one embedding size, one item for each input."""
        return encoded[name][:, :dim]

    def similarity(self, model: Any) -> Similarity:
        """How queries and documents are compared."""
        return model.similarity

    def vectors_per_document(self, encoded: dict[str, torch.Tensor]) -> float:
        """The mean over the corpus."""
        return 1.0

    def index_size(self, encoded: dict[str, torch.Tensor], dim: int) -> Metrics:
        """What is kept of a document to search the corpus at one embedding size, as float32."""
        num_vectors = self.vectors_per_document(encoded)
        return {"vectors_per_document": num_vectors, "bytes_per_document": num_vectors * dim * BYTES_PER_VALUE}

    def rank(self, model: BaseModel, encoded: dict[str, torch.Tensor], dim: int, depth: int = MAX_RANK) -> Ranking:
        """The best documents of every query at one embedding size."""
        document_ids = [self.split.documents.ids[document] for document in self.corpus]
        queries, documents = (self.vectors(encoded, name, dim) for name in ("queries", "documents"))
        return rank(queries, documents, document_ids, self.similarity(model), depth)

    def report(self, model: BaseModel, computed: dict[str, torch.Tensor]) -> DimReport:
        rankings = {dim: self.rank(model, computed, dim) for dim in self.dims}
        per_query = {dim: per_query_metrics(ranking, self.relevant) for dim, ranking in rankings.items()}
        metrics = {dim: means(by_metric) | self.index_size(computed, dim) for dim, by_metric in per_query.items()}
        return DimReport(metrics, per_query, rankings)

    def write(self, report: DimReport, file: Path) -> None:
        """Write a row per (query, dimension): every metric, the best documents with their scores, the attributes."""
        self.write_rankings("dim", report.rankings, report.per_query, file)

    def write_rankings(
        self,
        part: str,
        rankings: dict[int, Ranking],
        per_query: dict[int, dict[str, np.ndarray]],
        file: Path,
    ) -> None:
        """Write a row per query and key of `rankings`, which is in column `part`."""
        import pyarrow as pa
        from pyarrow import parquet

        ids = self.split.documents.ids
        described = self.split.described(lambda row: row.query)
        attributes = {name: [described[query][name] for query in self.queries] for name in described[self.queries[0]]}
        table: dict[str, list[Any]] = {}
        for key, metrics in per_query.items():
            ranking = rankings[key]
            rows: dict[str, Any] = {
                "query_id": [self.split.queries.ids[query] for query in self.queries],
                "query": [text_of(self.split.queries[query]) for query in self.queries],
                part: [key] * len(self.queries),
                **{name: values.tolist() for name, values in metrics.items()},
                "relevant": [[ids[self.corpus[d]] for d in sorted(answers)] for answers in self.relevant],
                "top": [[ids[self.corpus[d]] for d in top[:TOP_DOCUMENTS]] for top in ranking.documents],
                "top_scores": ranking.scores[:, :TOP_DOCUMENTS].tolist(),
                **prefixed(attributes),
            }
            for name, values in rows.items():
                table.setdefault(name, []).extend(values)
        file.parent.mkdir(parents=True, exist_ok=True)
        parquet.write_table(pa.table(table), file)
