"""What an evaluation found: over all, and by the part that the kind of model is measured in."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from mmexp.statistics.means import Estimate, estimates
from mmexp.statistics.strata import Strata

Metrics = dict[str, float]


@dataclass
class Report:
    """The metrics of one evaluation. Subclasses add what they were computed from."""

    part: ClassVar[str]
    """What `metrics` is keyed by: "dim" (embedding sizes), "direction", "top_k" (documents reranked), or "task" (of a
    benchmark)."""

    shown: ClassVar[tuple[str, ...]] = ()
    """Metrics that the terminal shows beside the primary one."""

    metrics: Mapping[int, Metrics] | Mapping[str, Metrics]
    """{part: {metric: mean over queries}}."""

    @property
    def before(self) -> Report | None:
        """What the same evaluation measures the model against. None: the model alone is measured."""
        return None

    def values(self, part: Any, metric: str) -> np.ndarray | None:
        """A metric of every query, float64 (queries,), at one key of `metrics`. None: it is known over all alone."""
        raise NotImplementedError

    def by_part(self, metric: str) -> dict[Any, np.ndarray]:
        """A metric of every query, as a sample of one seed, (1, queries), at each key of `metrics` where it is known.
        Each may have queries of its own, and another number of them."""
        values = {part: self.values(part, metric) for part in self.metrics}
        return {part: of_part[None] for part, of_part in values.items() if of_part is not None}

    def estimates(self, metric: str) -> dict[Any, Estimate]:
        """The mean and interval of each key of `metrics` whose queries' values are known."""
        return {part: estimates([sample])[0] for part, sample in self.by_part(metric).items()}

    def sample(self, metric: str) -> tuple[np.ndarray, Strata | None] | None:
        """A metric of every query that counts for the whole model, float64 (queries,), and the strata over which `full`
        is a mean, if it is one. By default the queries of the largest part. None: it is known over all alone."""
        values = self.values(max(self.metrics), metric)
        return None if values is None else (values, None)

    @property
    def full(self) -> Metrics:
        """The metrics that stand for the whole model."""
        raise NotImplementedError
