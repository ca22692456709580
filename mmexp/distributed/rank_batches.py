"""Batches of all ranks together, dealt out to the ranks: what is true of a batch is true over all of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from sentence_transformers.base.sampler import MultiDatasetDefaultBatchSampler
from torch.utils.data import BatchSampler, ConcatDataset

from mmexp.training.sampler import ShuffledBatches

if TYPE_CHECKING:
    from datasets import Dataset


class RankBatches:
    """Each batch of `batches` as equal parts that follow each other, one for each rank.

    accelerate gives each rank every n-th batch of a sampler, which is its part of a batch then; the parts of all ranks,
    one after the other, are the batch. Its own `split_batches` leaves out batches that are not full.
    """

    batch_size = None  # tells accelerate that batches differ in size
    drop_last = True  # of parts that not every rank has one of: there are none

    def __init__(self, batches: ShuffledBatches | MultiDatasetDefaultBatchSampler, num_ranks: int) -> None:
        self.batches = batches
        self.num_ranks = num_ranks

    def set_epoch(self, epoch: int) -> None:
        self.batches.set_epoch(epoch)

    def __len__(self) -> int:
        return len(self.batches) * self.num_ranks

    def __iter__(self) -> Iterator[list[int]]:
        for batch in self.batches:
            size = len(batch) // self.num_ranks
            yield from (batch[start : start + size] for start in range(0, len(batch), size))


def rank_batches(
    dataset: Dataset, batch_size: int, *, sampler: type[ShuffledBatches], num_ranks: int, **kwargs
) -> RankBatches:
    """`trainer.batch_sampler` for several ranks, each of which gets `batch_size` rows of a batch."""
    return RankBatches(sampler(dataset, batch_size * num_ranks, num_ranks=num_ranks, **kwargs), num_ranks)


def mixed_rank_batches(
    dataset: ConcatDataset,
    batch_samplers: list[RankBatches],
    *,
    sampler: Callable[..., MultiDatasetDefaultBatchSampler],
    num_ranks: int,
    **kwargs,
) -> RankBatches:
    """`trainer.multi_dataset_batch_sampler` for several ranks, which all draw from the same data set at a time."""
    batches: list[BatchSampler] = [of_dataset.batches for of_dataset in batch_samplers]
    return RankBatches(sampler(dataset, batch_samplers=batches, **kwargs), num_ranks)
