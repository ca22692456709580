"""From embeddings to rows of negatives: search, margins, own document, duplicates."""

from __future__ import annotations

from collections import Counter
from itertools import chain
from typing import TYPE_CHECKING

import torch
from tqdm.auto import tqdm

from mmexp.data.negatives import MinedRow, fingerprint
from mmexp.data.splits import Split
from mmexp.mine.candidates import Candidates
from mmexp.mine.embeddings import Embeddings
from mmexp.mine.search import ceilings, nearest, without_duplicates
from mmexp.mine.settings import Mine

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer


class Miner:
    """Mines one split.

    Attributes:
        refused: how many candidates were not taken, over all queries. own_document: pages of a positive's document,
            beside the positives. margin: scored above the bound. duplicate: like one with a higher score.
    """

    def __init__(
        self,
        settings: Mine,
        train: Split,
        candidates: Candidates,
        queries: Embeddings,
        pages: Embeddings,
        model: SentenceTransformer,
    ) -> None:
        self.settings = settings
        self.train = train
        self.candidates = candidates
        self.queries = queries
        self.pages = pages
        self.model = model
        self.refused: Counter[str] = Counter(own_document=0, margin=0, duplicate=0)

    def mine(self) -> list[MinedRow]:
        """A row per (query, positive), in the order in which the training rows ask."""
        asked = list(self.train.relevant.items())
        rows: list[MinedRow] = []
        with tqdm(desc="Search", total=len(asked), leave=False) as progress:
            for start, queries in self.queries.shards():
                rows += self._mine(queries.to(self.model.device), asked[start : start + len(queries)])
                progress.update(len(queries))
        return rows

    def _mine(self, queries: torch.Tensor, asked: list[tuple[int, set[int]]]) -> list[MinedRow]:
        """The rows of one shard of queries, given with their positives as (query, documents)."""
        settings = self.settings
        positives = [[self.candidates.position[page] for page in sorted(answers)] for _, answers in asked]
        positive_scores = self._positive_scores(queries, positives)
        barred = [self.candidates.of_same_documents(own) for own in positives]
        for own, others in zip(positives, barred, strict=True):
            self.refused["own_document"] += sum(other < self.candidates.count for other in others.difference(own))
        ceiling = ceilings(positive_scores, settings)
        found, num_above = nearest(
            queries, self.pages, self.candidates.count, barred, ceiling, settings.depth, self.model.similarity
        )
        self.refused["margin"] += num_above
        kept = found.scores > -torch.inf
        if settings.duplicate_score is not None:
            distinct = without_duplicates(found, positives, self.pages, settings.duplicate_score)
            self.refused["duplicate"] += int(kept.sum() - distinct.sum())
            kept = distinct
        chosen = slice(settings.range_min, settings.range_min + settings.num_negatives)
        rows: list[MinedRow] = []
        for n, ((query, answers), scores) in enumerate(zip(asked, positive_scores, strict=True)):
            negatives = [self.candidates.pages[at] for at in found.positions[n][kept[n]][chosen].tolist()]
            negative_scores = found.scores[n][kept[n]][chosen].tolist()
            for page, score in zip(sorted(answers), scores.tolist(), strict=True):
                rows.append(self._row(query, page, negatives, negative_scores, score))
        return rows

    def _positive_scores(self, queries: torch.Tensor, positives: list[list[int]]) -> tuple[torch.Tensor, ...]:
        """The scores of each query's positives."""
        counts = [len(own) for own in positives]
        asking = queries.repeat_interleave(torch.tensor(counts, device=queries.device), dim=0)
        answering = self.pages.rows(torch.tensor(list(chain.from_iterable(positives)))).to(queries.device)
        return self.model.similarity_pairwise(asking, answering).cpu().split(counts)

    def _row(self, query: int, page: int, negatives: list[int], scores: list[float], score: float) -> MinedRow:
        ids = self.train.documents.ids
        return MinedRow(
            query_id=self.train.queries.ids[query],
            positive_id=ids[page],
            negatives=[ids[negative] for negative in negatives],
            scores=scores,
            positive_score=score,
            fingerprint=fingerprint(self.train, query, [page, *negatives]),
        )
