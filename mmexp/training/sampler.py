"""Batches in which no query and no page occurs twice, found by id: a duplicate would be a false negative.

With several ranks a batch here is that of all ranks together; `rank_batches` deals it out.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import torch
from sentence_transformers.base.sampler import DefaultBatchSampler

from mmexp.training.packing import RowIds, even_batches, halve_largest

if TYPE_CHECKING:
    from datasets import Dataset

log = logging.getLogger(__name__)


class ShuffledBatches(DefaultBatchSampler):
    """A shuffled epoch in batches that can be dealt out evenly to `num_ranks` ranks. Every row comes once.

    But for fewer rows than there are ranks, where the rows do not divide by the ranks: other rows in every epoch, which
    the log counts. Repeating rows instead would weigh them twice, and ranks cannot gather batches of unequal sizes.

    So that the learning-rate schedule ends with the data, every one of `num_epochs` epochs has as many batches as
    the longest: shorter epochs get there by halving their largest batches.
    """

    order_dtype: ClassVar[torch.dtype] = torch.int64
    """Of the shuffled rows. It decides the order, which is the same as that of the library's sampler for one rank."""

    def __init__(
        self,
        dataset: Dataset,
        batch_size: int,
        drop_last: bool,
        *,
        num_epochs: int = 1,
        num_ranks: int = 1,
        **kwargs,
    ) -> None:
        super().__init__(dataset, batch_size=batch_size, drop_last=drop_last, **kwargs)
        self.num_ranks = num_ranks
        self._row_ids = self._ids_of_rows(dataset)
        self._plans: dict[int, list[list[int]]] = {}
        plans = [self._plan(epoch) for epoch in range(num_epochs)]
        lengths = [len(batches) for batches in plans]
        # A batch has no fewer rows than there are ranks, so that no epoch can have more batches than this.
        most = min(sum(map(len, batches)) for batches in plans) // num_ranks
        self._num_batches = min(lengths) if drop_last else min(max(lengths), most)

    def __len__(self) -> int:
        return self._num_batches

    def __iter__(self) -> Iterator[list[int]]:
        batches = self._plan(self.epoch)[: self._num_batches]
        while len(batches) < self._num_batches and halve_largest(batches, self.num_ranks):
            pass
        self._log_left_out(len(self._row_ids) - sum(map(len, batches)))
        yield from batches

    def _ids_of_rows(self, dataset: Dataset) -> RowIds:
        """What may not occur twice in a batch, of every row."""
        return [()] * len(dataset)

    def _plan(self, epoch: int) -> list[list[int]]:
        """The batches of one epoch. Kept for the epoch they were last asked for."""
        if epoch not in self._plans:
            generator = torch.Generator().manual_seed(self.seed + epoch)
            order = torch.randperm(len(self._row_ids), generator=generator, dtype=self.order_dtype).tolist()
            batches = even_batches(order, self._row_ids, self.batch_size, self.num_ranks)
            full = [batch for batch in batches if len(batch) == self.batch_size]
            self._plans = {epoch: full if self.drop_last else batches}
        return self._plans[epoch]

    def _log_left_out(self, num_rows: int) -> None:
        if num_rows and not self.drop_last:
            log.log(
                logging.INFO if num_rows < self.num_ranks else logging.WARNING,
                "epoch %d leaves out %d of %d rows, which cannot be dealt out to %d processes",
                self.epoch,
                num_rows,
                len(self._row_ids),
                self.num_ranks,
            )


class NoDuplicateIds(ShuffledBatches):
    """Greedy batches over a shuffled epoch; a row that would repeat a query or page waits for a later batch.

    It takes the data set of `Examples` and reads its ids only, so no page is decoded. For one rank, batches are the
    same as those of the library's NoDuplicatesBatchSampler for the same seed, as long as equal ids mean equal content;
    `len()` differs: here it is the number of batches that come. Where many rows share a page, the last batches are
    smaller and their number depends on the shuffle.
    """

    order_dtype = torch.int32

    def _ids_of_rows(self, dataset: Dataset) -> RowIds:
        """The ids of each row's query and documents as integers; even for queries, odd for documents."""
        columns = [name for name in dataset.column_names if name not in (self.valid_label_columns or [])]
        table = dataset.with_format("arrow")[:]
        ids = np.stack([table.column(name).to_numpy() * 2 + (name != "query") for name in columns], axis=1)
        return list(map(tuple, ids.tolist()))
