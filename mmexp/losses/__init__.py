"""Losses: the library's, chosen by name. `dims` wraps Matryoshka around any of an embedder's, last.

A loss derives from the class of the kind of model that it trains, EmbedderLoss, MultiVectorLoss or RerankerLoss, and
declares what it takes: the form of its rows, its labels, how many negatives. `taught.py` holds what learns from another
model.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Any, ClassVar

from mmexp.data.pairs import Direction, Rows  # at run time, as the next: the schema resolves every annotation
from mmexp.model_kind import ModelKind
from mmexp.ranges import check_least
from mmexp.schema import ConfigError

if TYPE_CHECKING:
    from torch import nn

    from mmexp.data.splits import Split
    from mmexp.experiment import Experiment


class Label(Enum):
    """What a loss makes of the data's own labels (`data.label_column`)."""

    none = "none"
    """Nothing: it takes no label."""

    binary = "binary"
    """1 for a page that answers the query, 0 for one that does not. Without labels, positives are 1, negatives 0."""

    score = "score"
    """Any number, the higher the closer. The data must have them."""


@dataclass
class Loss(ABC):
    """Base of every loss config (config group `loss`)."""

    trains: ClassVar[ModelKind]
    """The kind of model that the loss trains."""

    rows: ClassVar[Rows] = Rows.columns
    """The form in which the loss takes its examples."""

    label: ClassVar[Label] = Label.none
    """What the loss makes of labels; only one of pairs takes any."""

    min_negatives: ClassVar[int] = 0
    """Negatives of every query that the loss needs, where the data has no labels."""

    max_negatives: ClassVar[int | None] = None
    """The most negatives that the loss takes. None: any number."""

    def __post_init__(self) -> None:
        for key in ("mini_batch_num_tokens", "mini_batch_size"):
            check_least(f"loss.{key}", getattr(self, key, None), 1)

    @abstractmethod
    def build(self, model: Any) -> nn.Module:
        """The library's loss around `model`."""

    def check(self, experiment: Experiment) -> None:
        """Raise `ConfigError` where the rest of the experiment does not give what the loss takes."""
        column = experiment.data.labels_from
        if column is not None:
            self._check_label_column(column, experiment)
        elif self.label is Label.score:
            raise ConfigError(
                f"{type(self).__name__} needs a label or score. Name its column with data.label_column, "
                "or use a loss of pairs (loss=cached_mnrl)."
            )
        else:
            self._check_negatives(experiment)

    def _check_label_column(self, column: str, experiment: Experiment) -> None:
        if self.label is Label.none:
            raise ConfigError(
                f"data.label_column={column} would be ignored: {type(self).__name__} takes no label. Use "
                f"data.label_column=null, or a loss that takes one ({TAKES_LABEL[self.trains]})."
            )
        given = [f"{key}={n}" for key, n in experiment.negatives.items() if n]
        instead = [f"{key}=0" for key, n in experiment.negatives.items() if n]
        if given:
            raise ConfigError(
                f"{' '.join(given)} would add pages without a label to the pairs that data.label_column={column} "
                f"labels. Use {' '.join(instead)}, or data.label_column=null."
            )

    def _check_negatives(self, experiment: Experiment) -> None:
        count = sum(experiment.negatives.values())
        given = " ".join(f"{key}={n}" for key, n in experiment.negatives.items())
        if count < self.min_negatives:
            raise ConfigError(
                f"{type(self).__name__} tells a page from its negatives, at least {self.min_negatives} of every query, "
                f"and {given}. Use "
                + ", or ".join(f"{key}={self.min_negatives} or more" for key in experiment.negatives)
                + "."
            )
        if self.max_negatives is not None and count > self.max_negatives:
            raise ConfigError(
                f"{type(self).__name__} takes {self.max_negatives} negative of every query, and {given}. Use "
                f"data.num_negatives={self.max_negatives}, or a loss that takes any number (loss=cached_mnrl)."
            )

    def check_distributed(self, engine: str | None) -> None:  # noqa: B027  most losses run with every engine
        """Raise `ConfigError` for an engine that the loss cannot run with: ddp, zero1, zero2, zero3, fsdp2, or none."""

    def check_labels(self, train: Split) -> None:
        """Raise `ConfigError` for the first label of the data that is not 0 or 1, where the loss takes only those."""
        for row in train.rows if self.label is Label.binary else []:
            if row.label not in (None, 0, 1):
                raise ConfigError(
                    f"the pair of query {train.queries.ids[row.query]!r} and document "
                    f"{train.documents.ids[row.positive]!r} has the label {row.label:g} in data.label_column, and "
                    f"{type(self).__name__} takes 0 or 1. Give labels of 0 and 1, or train an embedder with a loss of "
                    "scores (loss=cosent)."
                )


def several_processes() -> bool:
    """Whether negatives are to be gathered from the batches of other processes."""
    from sentence_transformers.util.distributed import get_world_size

    return get_world_size() > 1


# Engines that take one backward pass for each batch, where the library's cached losses have several.
TAKES_ONE_BACKWARD = ("zero2", "zero3")

# What to type for each kind of model.
TAKES_LABEL = {
    ModelKind.embedder: "loss=cosent, loss=contrastive",
    ModelKind.multi_vector: "embedder_arch=single_vector loss=cosent",
    ModelKind.reranker: "loss=binary_cross_entropy",
}


class EmbedderLoss(Loss):
    """Base of the losses of embedders."""

    trains: ClassVar[ModelKind] = ModelKind.embedder


class MultiVectorLoss(Loss):
    """Base of the losses of multi-vector models."""

    trains: ClassVar[ModelKind] = ModelKind.multi_vector


class RerankerLoss(Loss):
    """Base of the losses of rerankers."""

    trains: ClassVar[ModelKind] = ModelKind.reranker

    min_negatives: ClassVar[int] = 1

    def check(self, experiment: Experiment) -> None:
        super().check(experiment)
        reranking = experiment.reranking
        if (
            Direction.image_to_text in reranking.directions
            and self.min_negatives > reranking.num_sampled_negatives
            and experiment.data.labels_from is None
        ):
            raise ConfigError(
                "reranking.directions names image_to_text, which ranks texts, and the hard negatives of "
                f"data.num_negatives are pages: it would have none with reranking.num_sampled_negatives="
                f"{reranking.num_sampled_negatives}. Use reranking.num_sampled_negatives={self.min_negatives} or more."
            )
