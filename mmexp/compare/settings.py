"""Settings: what is compared. Runs that are equal but for the seed are one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from mmexp.compare.runs import Run

Scalar = str | int | float | bool | None


@dataclass(eq=False)
class Setting:
    """Finished runs with one config but for the seed, each seed once."""

    runs: list[Run]
    """By seed."""

    parameters: dict[str, Scalar]
    """What differs among the settings that are compared, by config key; the same keys in each. Lists as words."""

    label: str
    """For people: "bs=8__px=100000". Unique among the settings that are compared."""

    @property
    def seeds(self) -> list[int | None]:
        return [run.seed for run in self.runs]


def settings_of(runs: Sequence[Run]) -> list[Setting]:
    """The settings of finished runs, in the order in which the runs come."""
    raise NotImplementedError


def axes(settings: Sequence[Setting]) -> dict[str, list[Scalar]]:
    """What was varied: {config key: its values, sorted}."""
    raise NotImplementedError
