"""Exact search of a corpus at one size and precision: what it finds, and how long it takes."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from torch.nn.functional import normalize

from mmexp.evaluation.metrics import QUERY_BLOCK, Ranking, rank_by
from mmexp.evaluation.two_stage import reordered
from mmexp.quantize.indexes import BinaryIndex, Index

TOP_K = 10  # all that the primary metric looks at
# Search times: the median of so many searches of one query each, fewer where they take long.
MAX_SEARCHES, MIN_SEARCHES, MAX_SECONDS = 100, 5, 2.0


def prepared(embeddings: torch.Tensor, dim: int, similarity: str) -> torch.Tensor:
    """Embeddings (count, full size) cut to `dim`, and normalised where the model's similarity is the cosine."""
    cut = embeddings[:, :dim]
    return normalize(cut, dim=-1) if similarity == "cosine" else cut.contiguous()


@dataclass
class Search:
    """The best documents of a query in `index`.

    With `rescore_multiplier`, so many times TOP_K candidates are searched, and put in the order of the inner product
    of the query in float32 and what their codes say of their embeddings, as the library's search does.
    """

    index: Index
    rescore_multiplier: int | None = None

    @property
    def depth(self) -> int:
        """How many documents the codes alone must find."""
        return min(TOP_K * (self.rescore_multiplier or 1), len(self.index))

    def rank(self, queries: torch.Tensor, document_ids: Sequence[str]) -> Ranking:
        """The best TOP_K documents of every query, ties by ascending id, then as the codes have them."""
        found = rank_by(lambda block: self.index.scores(queries[block]), len(queries), document_ids, self.depth)
        best = Ranking(found.documents[:, : self.depth], found.scores[:, : self.depth])
        if self.rescore_multiplier is not None:
            best = reordered(best, self._rescored(queries, best.documents))
        return Ranking(best.documents[:, :TOP_K], best.scores[:, :TOP_K])

    def _rescored(self, queries: torch.Tensor, candidates: np.ndarray) -> np.ndarray:
        """float32 (queries, candidates)."""
        assert isinstance(self.index, BinaryIndex), "the others are compared with the query in full already"
        index = self.index
        blocks = [slice(start, start + QUERY_BLOCK) for start in range(0, len(queries), QUERY_BLOCK)]
        products = [(index.decoded(candidates[block]) @ queries[block, :, None])[..., 0] for block in blocks]
        return torch.cat(products).numpy()

    def seconds_per_query(self, queries: torch.Tensor) -> float:
        """The median time to find the best documents of one query, in one thread. Encoding the query is not in it."""
        seconds: list[float] = []
        with one_thread():
            self._find(queries[:1])  # what is only done the first time
            while len(seconds) < MAX_SEARCHES and (len(seconds) < MIN_SEARCHES or sum(seconds) < MAX_SECONDS):
                place = len(seconds) % len(queries)
                started = time.perf_counter()
                self._find(queries[place : place + 1])
                seconds.append(time.perf_counter() - started)
        return float(np.median(seconds))

    def _find(self, query: torch.Tensor) -> np.ndarray:
        """As `rank` does for one query (1, dim), but for the order of documents that score the same."""
        found = self.index.scores(query).topk(self.depth).indices.numpy()
        if self.rescore_multiplier is None:
            return found
        return np.take_along_axis(found, np.argsort(-self._rescored(query, found), kind="stable"), axis=1)[:, :TOP_K]


@contextmanager
def one_thread() -> Iterator[None]:
    """Have torch compute in one thread, so that times are comparable with those of NumPy, which has no other."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
