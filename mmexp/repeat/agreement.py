"""The numbers of a run and of its repeat side by side, and whether they agree."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from enum import Enum
from functools import cached_property
from pathlib import Path
from typing import Any

from mmexp.compare.runs import find_runs
from mmexp.repeat.numbers import LOSS, Numbers, cut_losses, numbers_of
from mmexp.statistics.means import Difference, differences


class Verdict(Enum):
    equal = "equal to the digit"
    agree = "agree within the interval"
    differ = "differ"


@dataclass(frozen=True)
class Compared:
    """Numbers of one sort."""

    what: str
    num_numbers: int
    num_equal: int
    largest_difference: float
    """NaN where one run lacks a number that the other has."""

    first_difference: str | None
    """The first that is not equal."""


@dataclass(frozen=True)
class Agreement:
    """A run and its repeat."""

    original: Numbers
    repeat: Numbers
    metric: str
    difference: Difference | None
    """Of the metric, the repeat's less the original's, paired by query. None: they are measured on other queries."""

    must_be_equal: bool
    """Whether nothing may move a digit: one process on a CPU, under the same conditions."""

    @classmethod
    def of(cls, original: Path, repeat: Path, metric: str, must_be_equal: bool) -> Agreement:
        """Of two run folders."""
        numbers = numbers_of(original), numbers_of(repeat)
        cut = cut_losses(original) | cut_losses(repeat)
        for of_run in numbers:
            if LOSS in of_run:
                of_run[LOSS] = {step: loss for step, loss in of_run[LOSS].items() if step not in cut}
        return cls(*numbers, metric, paired(original, repeat), must_be_equal)

    @cached_property
    def compared(self) -> list[Compared]:
        """Every sort of numbers that either has."""
        return [
            compared(what, self.original.get(what, {}), self.repeat.get(what, {}))
            for what in dict.fromkeys([*self.original, *self.repeat])
        ]

    @property
    def first_step_apart(self) -> str | None:
        """The first logged step at which the losses part. None: they never do."""
        return compared(LOSS, self.original.get(LOSS, {}), self.repeat.get(LOSS, {})).first_difference

    @property
    def verdict(self) -> Verdict:
        """Equal where all numbers are; else by the interval of the difference, unless they must be equal."""
        if all(row.num_equal == row.num_numbers for row in self.compared):
            return Verdict.equal
        if not self.must_be_equal and self.difference is not None and self.difference.low <= 0 <= self.difference.high:
            return Verdict.agree
        return Verdict.differ

    def plain(self) -> dict[str, Any]:
        """As repeat.json has it: every number of both but those by query, which are in per_query/ of each."""
        numbers = {
            what: {name: [of_original.get(name), self.repeat.get(what, {}).get(name)] for name in of_original}
            for what, of_original in self.original.items()
            if not what.endswith("by query")
        }
        return {
            "verdict": self.verdict.value,
            "metric": self.metric,
            "difference": None if self.difference is None else asdict(self.difference),
            "first_step_apart": self.first_step_apart,
            "compared": [asdict(row) for row in self.compared],
            "numbers": numbers,
        }


def compared(what: str, original: dict[str, float], repeat: dict[str, float]) -> Compared:
    """Two sets of numbers, by name."""
    names = list(dict.fromkeys([*original, *repeat]))
    apart = {name: gap for name in names if (gap := distance(original.get(name), repeat.get(name))) != 0}
    largest = math.nan if any(map(math.isnan, apart.values())) else max(apart.values(), default=0.0)
    return Compared(what, len(names), len(names) - len(apart), largest, next(iter(apart), None))


def distance(a: float | None, b: float | None) -> float:
    """0 for equal numbers, of which not-a-number is one. NaN where there is one alone."""
    if a is None or b is None:
        return math.nan
    return 0.0 if a == b or (math.isnan(a) and math.isnan(b)) else abs(a - b)


def paired(original: Path, repeat: Path) -> Difference | None:
    """The repeat's final scores less the original's, query by query."""
    theirs, ours = (find_runs([folder])[0].scores("final") for folder in (original, repeat))
    if theirs is None or ours is None or theirs.query_ids != ours.query_ids:
        return None
    [difference] = differences([ours.values[None]], theirs.values[None], strata=ours.strata)
    return difference
