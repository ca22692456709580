"""A batch like those of the data: a few of its rows, preprocessed as for training, and repeated to a batch's size."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from sentence_transformers.base.losses.gradcache import _create_minibatch, _get_batch_size
from torch._subclasses.fake_tensor import FakeTensorMode

from mmexp.training.tokens import patch_size, tokens_of_each

if TYPE_CHECKING:
    from datasets import Dataset

    from mmexp.plan.preparation import Prepared

# Rows that are preprocessed, spread evenly over the data. Pages are decoded for it.
SAMPLE = 8


@dataclass
class Batch:
    """What the loss is called with. Integers are real; pixels have no content."""

    columns: list[Any]
    """Features of every column; of a reranker, the texts and pages themselves."""
    labels: Any
    more: dict[str, Any]
    """What a reranker's loss takes beside them."""
    num_rows: int

    def of(self, num_rows: int) -> Batch:
        """Its first rows, as a batch of their own."""
        if num_rows == self.num_rows:
            return self
        columns = [
            copied(_create_minibatch(column, 0, num_rows)) if isinstance(column, dict) else column[:num_rows]
            for column in self.columns
        ]
        labels = None if self.labels is None else self.labels[:num_rows]
        return Batch(columns, labels, self.more, num_rows)

    @property
    def tensors(self) -> list[torch.Tensor]:
        """All that is on the device before the loss is called."""
        values = [value for column in self.columns if isinstance(column, dict) for value in column.values()]
        return [value for value in [*values, self.labels] if torch.is_tensor(value)]

    @property
    def num_bytes(self) -> int:
        return sum(tensor.nbytes for tensor in self.tensors)


def sample_batch(prepared: Prepared, num_rows: int) -> Batch:
    """`num_rows` rows of the training data; of several data sets, of the one with the most documents in a row."""
    trainer: Any = prepared.trainer
    raw = sampled_rows(widest(prepared), min(SAMPLE, num_rows), prepared)
    inputs = trainer.data_collator(raw)
    more = {key: inputs.pop(key, None) for key in ("prompt", "task")} if not prepared.kind.workers_preprocess else {}
    inputs.pop("dataset_name", None)
    columns, labels = trainer.collect_features(inputs)
    times = -(-num_rows // len(raw))
    columns = [repeated(column, times, prepared.mode) for column in columns]
    return Batch(columns, None if labels is None else repeated(labels, times), more, len(raw) * times).of(num_rows)


def widest(prepared: Prepared) -> str:
    """The data set whose rows have the most documents: its batches need the most memory."""
    return max(prepared.examples, key=lambda name: sum(map(len, prepared.examples[name].rows[:100])))


def sampled_rows(name: str, count: int, prepared: Prepared) -> list[dict[str, Any]]:
    """Rows as the data loader hands them to the collator."""
    datasets: Any = prepared.trainer.train_dataset
    dataset: Dataset = datasets if hasattr(datasets, "features") else datasets[name]
    return [dataset[n * len(dataset) // count] for n in range(count)]


def repeated(value: Any, times: int, mode: FakeTensorMode | None = None) -> Any:
    """Rows of features, labels or texts, several times over."""
    if isinstance(value, dict):
        return {key: repeated(inner, times, mode) for key, inner in value.items()}
    if isinstance(value, list):
        return value * times
    if not torch.is_tensor(value) or value.ndim == 0:
        return value
    if mode is not None and value.is_floating_point():
        with mode:
            return torch.empty((len(value) * times, *value.shape[1:]), dtype=value.dtype)
    return value.repeat(times, *[1] * (value.ndim - 1))


def copied(features: dict[str, Any]) -> dict[str, Any]:
    """The features in memory of their own."""
    return {key: value.clone() if torch.is_tensor(value) else value for key, value in features.items()}


def tokens_by_column(columns: list[Any], model: torch.nn.Module) -> list[torch.Tensor]:
    """Tokens of each input of each column, without padding."""
    return [tokens_of_each(column, patch_size(model)) for column in columns]


def rows_of(features: dict[str, Any]) -> int:
    """How many inputs there are."""
    return _get_batch_size(features)
