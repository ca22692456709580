"""What the evaluators of all kinds of models share: when a model is computed, found again, and reported."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Generic, TypeVar

from sentence_transformers.base.evaluation import BaseEvaluator

from mmexp.evaluation.metrics import PRIMARY_METRIC
from mmexp.evaluation.report import Report
from mmexp.models.facts import weights_checksum

if TYPE_CHECKING:
    import torch

    from mmexp.evaluation.encode import Encoder
    from mmexp.evaluation.output_cache import OutputCache

Phase = Callable[[str], AbstractContextManager[None]]
AReport = TypeVar("AReport", bound=Report)
TOP_DOCUMENTS = 10


def no_phase(name: str) -> AbstractContextManager[None]:
    """Books nothing."""
    return nullcontext()


class ModelEvaluator(BaseEvaluator, ABC, Generic[AReport]):
    """Measures a model. Also the evaluator that the library's trainer calls.

    `phase` says where the time and energy of an evaluation in training are booked.
    """

    queries: Sequence[Any]
    corpus: Sequence[Any]

    def __init__(self, encoder: Encoder, phase: Phase) -> None:
        super().__init__()
        self.primary_metric = PRIMARY_METRIC
        self.encoder = encoder
        self.phase = phase
        self._measured: AReport | None = None
        self.seconds: float | None = None
        """What computing the newest outputs took. None: they were found in a cache, or nothing was computed yet."""

    def measure(self, model: Any) -> AReport:
        """Evaluate in training, on all ranks. The next call, which may be on rank 0 alone, reports it."""
        with self.phase("evaluation"):
            self._measured = self.evaluate(model)
        return self._measured

    def __call__(
        self, model: Any, output_path: str | None = None, epoch: int = -1, steps: int = -1
    ) -> dict[str, float]:
        """What the trainer reports and selects checkpoints by."""
        report, self._measured = self._measured or self.measure(model), None
        self.store_metrics_in_model_card_data(model, dict(report.full), epoch, steps)
        return self.flat(report)

    @abstractmethod
    def evaluate(self, model: Any, cache: OutputCache | None = None) -> AReport:
        """Measure the model; what `cache` has of it is not computed again."""

    @property
    def throughput(self) -> dict[str, float] | None:
        """Pages per second of the newest evaluation: all of its time counts, that of the queries too. None where it was
        not computed but found, which says nothing of the model."""
        if self.seconds is None or self.num_pages is None:
            return None
        return {"pages_per_second": self.num_pages / self.seconds}

    @property
    @abstractmethod
    def num_pages(self) -> int | None:
        """Documents that an evaluation passes through the model. None where the report says how fast it was."""

    @staticmethod
    @abstractmethod
    def flat(report: AReport) -> dict[str, float]:
        """A report as metrics by name."""

    @abstractmethod
    def write(self, report: AReport, file: Path) -> None:
        """Write the metrics of every query, and its best documents, as parquet."""


class OutputEvaluator(ModelEvaluator[AReport]):
    """Measures a model by its outputs on one evaluation split.

    The last report is kept with a checksum of the weights it was made with, so that the final evaluation of a model
    that was just evaluated in training costs nothing.
    """

    outputs: ClassVar[str]
    """What the model computes, in a word: what the baseline cache keeps."""

    def __init__(self, encoder: Encoder, phase: Phase) -> None:
        super().__init__(encoder, phase)
        self._last: tuple[str, AReport] | None = None

    def evaluate(self, model: Any, cache: OutputCache | None = None) -> AReport:
        """Compute what the metrics need, or find it for these very weights again, and report."""
        checksum = weights_checksum(model)
        if self._last is None or self._last[0] != checksum:
            self._last = checksum, self.report(model, self.found_or_computed(model, checksum, cache))
        return self._last[1]

    def found_or_computed(self, model: Any, checksum: str, cache: OutputCache | None) -> dict[str, torch.Tensor]:
        """What `compute` gives, or gave for this `weights_checksum`. Notes how long it took, where it was not found."""
        self.seconds = None
        if cache is None:
            return self._timed(model)
        key = cache.key(model, checksum, self.encoder, **self.key_parts(model))
        what = f"the {self.outputs} of this model and data"
        return cache.find_or_compute(key, lambda: self._timed(model), what)

    def _timed(self, model: Any) -> dict[str, torch.Tensor]:
        started = time.perf_counter()
        computed = self.compute(model)
        self.seconds = time.perf_counter() - started
        return computed

    @abstractmethod
    def compute(self, model: Any) -> dict[str, torch.Tensor]:
        """Pass the evaluation data through the model."""

    @abstractmethod
    def key_parts(self, model: Any) -> dict[str, Any]:
        """What `compute` depends on beside weights and data, for `OutputCache.key`; `samples` among it."""

    @abstractmethod
    def report(self, model: Any, computed: dict[str, torch.Tensor]) -> AReport:
        """The metrics of what was computed."""
