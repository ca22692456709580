"""Evaluation of a reranker: in each direction, the positives of a query among sampled negatives."""

from __future__ import annotations

import random
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from sentence_transformers.cross_encoder.evaluation import CrossEncoderRerankingEvaluator
from torch.utils.data import Dataset

from mmexp.data.attributes import prefixed
from mmexp.data.cells import Cells, text_of
from mmexp.data.pairs import Judged, judged
from mmexp.data.splits import Split
from mmexp.distributed import ranks
from mmexp.evaluation.encode import Encoder, pair_scores
from mmexp.evaluation.model_evaluator import TOP_DOCUMENTS, OutputEvaluator, Phase
from mmexp.evaluation.report import Metrics, Report
from mmexp.evaluation.reranking_settings import Reranking
from mmexp.statistics.strata import Strata

if TYPE_CHECKING:
    from sentence_transformers import CrossEncoder


@dataclass
class Candidates:
    """The documents that one query ranks: its positives first."""

    query: int
    documents: list[int]
    num_positives: int


@dataclass
class DirectionReport(Report):
    """The metrics of one evaluation by direction, and the scores behind them."""

    part = "direction"

    metrics: dict[str, Metrics]

    per_query: dict[str, list[Metrics]]
    """{direction: metrics of every query}."""

    scores: dict[str, list[np.ndarray]]
    """{direction: scores of every query's candidates}, after the model's activation."""

    def values(self, part: str, metric: str) -> np.ndarray:
        return np.array([metrics[metric] for metrics in self.per_query[part]])

    def sample(self, metric: str) -> tuple[np.ndarray, Strata]:
        """Directions are strata, each of which counts as much as any other."""
        values = [self.values(direction, metric) for direction in self.metrics]
        parts = np.repeat(np.arange(len(values)), [len(of_direction) for of_direction in values])
        return np.concatenate(values), Strata.of(parts)

    @property
    def full(self) -> Metrics:
        """The mean over directions."""
        by_direction = list(self.metrics.values())
        return {name: float(np.mean([metrics[name] for metrics in by_direction])) for name in by_direction[0]}


class RerankingEvaluator(OutputEvaluator[DirectionReport]):
    """MAP, MRR@10 and NDCG@10 in every direction; the values of the library's CrossEncoderRerankingEvaluator.

    The negatives are drawn by the data alone, so that runs with different seeds are measured on the same pairs. Each
    (query, document) pair is scored once an evaluation.
    """

    outputs = "scores"

    def __init__(self, split: Split, settings: Reranking, encoder: Encoder, batch_size: int, phase: Phase) -> None:
        super().__init__(encoder, phase)
        self.prompts = settings.trained_prompts
        self.batch_size = batch_size
        self.views = {direction.value: judged(split, direction) for direction in settings.directions}
        self.candidates = {
            name: draw_candidates(view, settings.num_eval_negatives, random.Random(name))
            for name, view in self.views.items()
        }
        self.queries = [(name, candidates.query) for name, drawn in self.candidates.items() for candidates in drawn]
        self.corpus = sorted({(name, d) for name, drawn in self.candidates.items() for c in drawn for d in c.documents})
        self._metrics_of = CrossEncoderRerankingEvaluator(samples=[]).compute_metrics

    @staticmethod
    def flat(report: DirectionReport) -> dict[str, float]:
        """The means over directions, and every metric of each direction."""
        by_direction = {
            f"{metric}_{direction}": value
            for direction, metrics in report.metrics.items()
            for metric, value in metrics.items()
        }
        return {**report.full, **by_direction}

    def key_parts(self, model: CrossEncoder) -> dict[str, Any]:
        batches = {name: self._pairs(model, name) for name in self.views}
        return {
            "samples": {name: pairs.preprocess(pairs.pairs[:1]) for name, pairs in batches.items()},
            "pairs": {name: pairs.pairs for name, pairs in batches.items()},
            "activation": str(model.activation_fn),
        }

    @property
    def num_pages(self) -> int:
        """One of each pair."""
        return sum(len(candidates.documents) for drawn in self.candidates.values() for candidates in drawn)

    def compute(self, model: CrossEncoder) -> dict[str, torch.Tensor]:
        """The scores of every pair, by direction, as `CrossEncoder.predict` gives them: float32 (pairs,)."""
        return {
            name: score_pairs(self.encoder, model, self._pairs(model, name), f"Score {name}") for name in self.views
        }

    def _pairs(self, model: CrossEncoder, direction: str) -> PreprocessedPairs:
        pairs = [(drawn.query, document) for drawn in self.candidates[direction] for document in drawn.documents]
        view = self.views[direction]
        return PreprocessedPairs(
            model, view.queries, view.documents, pairs, self.batch_size, self.prompts.get(direction)
        )

    def report(self, model: CrossEncoder, computed: dict[str, torch.Tensor]) -> DirectionReport:
        scores = {
            name: np.split(computed[name].numpy(), np.cumsum([len(c.documents) for c in drawn])[:-1])
            for name, drawn in self.candidates.items()
        }
        per_query = {
            name: ranks.spread(len(drawn), partial(self._of_query, drawn, scores[name]))
            for name, drawn in self.candidates.items()
        }
        metrics = {
            name: {metric: float(np.mean([query[metric] for query in queries])) for metric in queries[0]}
            for name, queries in per_query.items()
        }
        return DirectionReport(metrics, per_query, scores)

    def _of_query(self, candidates: list[Candidates], scores: list[np.ndarray], query: int) -> Metrics:
        is_relevant = [int(n < candidates[query].num_positives) for n in range(len(scores[query]))]
        mrr, ndcg, average_precision = self._metrics_of(is_relevant, scores[query])
        return {"ndcg@10": float(ndcg), "mrr@10": float(mrr), "map": float(average_precision)}

    def write(self, report: DirectionReport, file: Path) -> None:
        """Write a row per (direction, query): every metric, the best documents with their scores, the attributes."""
        import pyarrow as pa
        from pyarrow import parquet

        rows = []
        for name, view in self.views.items():
            asks_with_text = name.startswith("text")  # a page would be decoded to find that it has none
            for candidates, metrics, scores in zip(
                self.candidates[name], report.per_query[name], report.scores[name], strict=True
            ):
                best = np.argsort(-scores, kind="stable")[:TOP_DOCUMENTS]
                ids = [view.documents.ids[document] for document in candidates.documents]
                rows.append(
                    {
                        "direction": name,
                        "query_id": view.queries.ids[candidates.query],
                        "query": text_of(view.queries[candidates.query]) if asks_with_text else None,
                        **metrics,
                        "relevant": ids[: candidates.num_positives],
                        "num_candidates": len(ids),
                        "top": [ids[n] for n in best],
                        "top_scores": scores[best].tolist(),
                        **prefixed(view.described[candidates.query]),
                    }
                )
        file.parent.mkdir(parents=True, exist_ok=True)
        parquet.write_table(pa.Table.from_pylist(rows), file)


def draw_candidates(view: Judged, num_negatives: int, generator: random.Random) -> list[Candidates]:
    """For every query, its positives and `num_negatives` documents of the pool that are not."""
    return [
        Candidates(
            query,
            [*sorted(answers), *view.sample_negatives(query, num_negatives, generator, besides=[])],
            len(answers),
        )
        for query, answers in view.relevant.items()
    ]


def score_pairs(encoder: Encoder, model: CrossEncoder, pairs: PreprocessedPairs, title: str) -> torch.Tensor:
    """The scores of the pairs, as `CrossEncoder.predict` gives them: float32 (pairs,)."""
    assert model.activation_fn is not None
    return model.activation_fn(logits(encoder, model, pairs, title))


def logits(encoder: Encoder, model: CrossEncoder, pairs: PreprocessedPairs, title: str) -> torch.Tensor:
    """The scores of the pairs before the model's activation: float32 (pairs,)."""
    [scores] = encoder.forward(model, pairs, [len(pairs)], pair_scores, title)
    return torch.cat(scores).squeeze(1)


class PreprocessedPairs(Dataset):
    """The model's input tensors of each batch of pairs, made where they are asked for: in a worker."""

    def __init__(
        self,
        model: CrossEncoder,
        queries: Cells,
        documents: Cells,
        pairs: list[tuple[int, int]],
        batch_size: int,
        prompt: str | None,
    ) -> None:
        self.model = model
        self.queries = queries
        self.documents = documents
        self.pairs = pairs
        self.batch_size = batch_size
        self.prompt = prompt

    def __len__(self) -> int:
        return -(-len(self.pairs) // self.batch_size)

    def __getitem__(self, position: int) -> dict[str, Any]:
        return self.preprocess(self.pairs[position * self.batch_size : (position + 1) * self.batch_size])

    def preprocess(self, pairs: list[tuple[int, int]]) -> dict[str, Any]:
        """The input tensors of these pairs, each query and document read once."""
        queries = {query: self.queries[query] for query in {query for query, _ in pairs}}
        documents = {document: self.documents[document] for document in {document for _, document in pairs}}
        inputs = [(queries[query], documents[document]) for query, document in pairs]
        return self.model.preprocess(inputs, prompt=self.prompt)
