"""What an evaluation found: over all, and by the part that the kind of model is measured in."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

Metrics = dict[str, float]


@dataclass
class Report:
    """The metrics of one evaluation. Subclasses add what they were computed from."""

    part: ClassVar[str]
    """What `metrics` is keyed by: "dim" (embedding sizes) or "direction"."""

    metrics: Mapping[int, Metrics] | Mapping[str, Metrics]
    """{part: {metric: mean over queries}}."""

    @property
    def full(self) -> Metrics:
        """The metrics that stand for the whole model."""
        raise NotImplementedError
