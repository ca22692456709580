"""The nearest candidates of some queries, below what their positives score: exact, one shard of pages at a time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch.nn.functional import normalize

from mmexp.mine.embeddings import Embeddings
from mmexp.mine.settings import Mine

Similarity = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
# Queries whose candidates are compared with each other at once.
COMPARED_QUERIES = 64


@dataclass
class Nearest:
    """The highest scores of each query, falling: float32 and int64 (queries, depth). -inf where there are no more."""

    scores: torch.Tensor
    positions: torch.Tensor


def ceilings(positive_scores: Sequence[torch.Tensor], settings: Mine) -> torch.Tensor:
    """The score that a negative may have at most, for each query, from the scores of its positives."""
    lowest = torch.stack([scores.min() for scores in positive_scores])
    ceiling = torch.full_like(lowest, torch.inf)
    if settings.relative_margin is not None:
        # A share of the magnitude: of a score below 0, a factor would make more.
        ceiling = torch.minimum(ceiling, lowest - lowest.abs() * settings.relative_margin)
    if settings.absolute_margin is not None:
        ceiling = torch.minimum(ceiling, lowest - settings.absolute_margin)
    return ceiling


def nearest(
    queries: torch.Tensor,
    pages: Embeddings,
    num_candidates: int,
    barred: Sequence[set[int]],
    ceiling: torch.Tensor,
    depth: int,
    similarity: Similarity,
) -> tuple[Nearest, int]:
    """Search the first `num_candidates` of `pages`; return the best, and how many scored above their ceiling.

    Args:
        queries: (queries, dimension), on the device that computes. barred: for each, positions that are no candidates.
        ceiling: (queries,).
    """
    ceiling = ceiling.to(queries.device)[:, None]
    rows = torch.tensor([row for row, positions in enumerate(barred) for _ in positions], dtype=torch.long)
    columns = torch.tensor([position for positions in barred for position in positions], dtype=torch.long)
    best = Nearest(
        queries.new_full((len(queries), depth), -torch.inf),
        torch.zeros((len(queries), depth), dtype=torch.long, device=queries.device),
    )
    num_above = 0
    for start, shard in pages.shards():
        shard = shard[: max(0, num_candidates - start)]
        scores = similarity(queries, shard.to(queries.device))
        here = (columns >= start) & (columns < start + len(shard))
        scores[rows[here], columns[here] - start] = -torch.inf
        above = scores > ceiling
        num_above += int(above.count_nonzero())
        top = scores.masked_fill_(above, -torch.inf).topk(min(depth, len(shard)))
        best = _merge(best, Nearest(top.values, top.indices + start))
    return Nearest(best.scores.cpu(), best.positions.cpu()), num_above


def _merge(best: Nearest, found: Nearest) -> Nearest:
    scores, order = torch.cat([best.scores, found.scores], 1).topk(best.scores.shape[1])
    return Nearest(scores, torch.cat([best.positions, found.positions], 1).gather(1, order))


def without_duplicates(
    found: Nearest, positives: Sequence[Sequence[int]], pages: Embeddings, duplicate_score: float
) -> torch.Tensor:
    """Which of `found` are no duplicates, by the cosine similarity of embeddings: bool (queries, depth).

    A duplicate is like a positive of its query, or like one with a higher score that is kept.
    """
    return torch.cat(
        [
            _distinct(Nearest(found.scores[block], found.positions[block]), positives[block], pages, duplicate_score)
            for start in range(0, len(found.scores), COMPARED_QUERIES)
            for block in [slice(start, start + COMPARED_QUERIES)]
        ]
    )


def _distinct(
    found: Nearest, positives: Sequence[Sequence[int]], pages: Embeddings, duplicate_score: float
) -> torch.Tensor:
    width = max(map(len, positives))
    # Queries with fewer positives than others have their first one several times.
    padded = torch.tensor([[*own, *[own[0]] * (width - len(own))] for own in positives])
    vectors = normalize(pages.rows(torch.cat([padded, found.positions], 1)), dim=-1)
    alike = vectors @ vectors.mT >= duplicate_score
    kept = torch.cat([torch.ones_like(padded, dtype=torch.bool), found.scores > -torch.inf], 1)
    for column in range(width, kept.shape[1]):
        kept[:, column] &= ~(alike[:, column, :column] & kept[:, :column]).any(1)
    return kept[:, width:]
