"""Batches in which no query and no page occurs twice, found by id: a duplicate would be a false negative."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
import torch
from sentence_transformers.base.sampler import DefaultBatchSampler

if TYPE_CHECKING:
    from datasets import Dataset


class NoDuplicateIds(DefaultBatchSampler):
    """Greedy batches over a shuffled epoch; a row that would repeat a query or page waits for a later batch.

    It takes the data set of `Examples` and reads its ids only, so no page is decoded. Every row comes once
    an epoch. Batches are the same as those of the library's NoDuplicatesBatchSampler for the same seed, as
    long as equal ids mean equal content; `len()` differs: here it is the number of batches that come.

    Where many rows share a page, the last batches are smaller and their number depends on the shuffle. So that
    the learning-rate schedule ends with the data, every one of `num_epochs` epochs has as many batches as
    the longest: shorter epochs get there by halving their largest batches.
    """

    def __init__(self, dataset: Dataset, batch_size: int, drop_last: bool, *, num_epochs: int = 1, **kwargs) -> None:
        super().__init__(dataset, batch_size=batch_size, drop_last=drop_last, **kwargs)
        self._row_ids = _row_ids(dataset, kwargs.get("valid_label_columns") or [])
        self._plans: dict[int, list[list[int]]] = {}
        lengths = [len(self._greedy(epoch)) for epoch in range(num_epochs)]
        self._num_batches = min(lengths) if drop_last else max(lengths)

    def __len__(self) -> int:
        return self._num_batches

    def __iter__(self) -> Iterator[list[int]]:
        yield from self._split_to(self._greedy(self.epoch), self._num_batches)

    def _greedy(self, epoch: int) -> list[list[int]]:
        """The batches of one epoch. Kept for the epoch they were last asked for."""
        if epoch not in self._plans:
            generator = torch.Generator().manual_seed(self.seed + epoch)
            # Shuffled as the library does it, dtype included, so that the order is the same.
            order = torch.randperm(len(self._row_ids), generator=generator, dtype=torch.int32).tolist()
            batches = greedy_batches(order, self._row_ids, self.batch_size)
            full = [batch for batch in batches if len(batch) == self.batch_size]
            self._plans = {epoch: full if self.drop_last else batches}
        return self._plans[epoch]

    def _split_to(self, batches: list[list[int]], count: int) -> list[list[int]]:
        batches = batches[:count] if self.drop_last else list(batches)
        while len(batches) < count:
            largest = max(range(len(batches)), key=lambda n: len(batches[n]))
            batch = batches[largest]
            batches[largest : largest + 1] = [batch[: len(batch) // 2], batch[len(batch) // 2 :]]
        return batches


def greedy_batches(order: list[int], row_ids: list[tuple[int, ...]], batch_size: int) -> list[list[int]]:
    """Fill batches with rows in `order`. Rows that clash with the batch being filled go first into the next one."""
    batches: list[list[int]] = []
    waiting: list[int] = []
    position = 0
    while waiting or position < len(order):
        batch: list[int] = []
        used: set[int] = set()
        still_waiting: list[int] = []
        earlier = iter(waiting)
        while len(batch) < batch_size:
            row = next(earlier, None)
            if row is None:
                if position == len(order):
                    break
                row, position = order[position], position + 1
            if used.isdisjoint(row_ids[row]):
                used.update(row_ids[row])
                batch.append(row)
            else:
                still_waiting.append(row)
        waiting = still_waiting + list(earlier)
        batches.append(batch)
    return batches


def _row_ids(dataset: Dataset, label_columns: list[str]) -> list[tuple[int, ...]]:
    """Per row, the ids of its query and its documents as integers; even for queries, odd for documents."""
    columns = [name for name in dataset.column_names if name not in label_columns]
    table = dataset.with_format("arrow")[:]
    ids = np.stack([table.column(name).to_numpy() * 2 + (name != "query") for name in columns], axis=1)
    return list(map(tuple, ids.tolist()))
