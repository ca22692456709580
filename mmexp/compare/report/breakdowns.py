"""Results broken down by what the data says of its queries: language, document, length of the query, ..."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from mmexp.compare.report import answers
from mmexp.compare.report.naming import ranked_name
from mmexp.compare.report.queries import Side, scores_of
from mmexp.compare.report.tables import Cell, Interval, Table
from mmexp.schema import ConfigError, did_you_mean
from mmexp.statistics.means import Difference, corrected, differences, estimates, gains

if TYPE_CHECKING:
    from mmexp.compare.comparison import Comparison
    from mmexp.statistics.strata import Strata

LENGTH = "query_length"
"""In words."""

MOST_GROUPS = 12
NUM_BINS = 4


@dataclass(frozen=True)
class Group:
    """Queries that are alike in a column."""

    value: str
    num_queries: int
    intervals: list[Interval]
    """The metric of each side that is compared."""

    difference: Difference | None
    """The first side less the second, corrected for the groups of all columns that are shown. None: there are not two
    sides."""


@dataclass(frozen=True)
class Breakdown:
    """The metric by the values of one column."""

    column: str
    sides: list[Side]
    groups: list[Group]

    @property
    def table(self) -> Table:
        """A row for every group; of two sides with their difference."""
        rows: list[list[Cell]] = []
        for group in self.groups:
            found = group.difference
            rows.append([group.value, group.num_queries, *group.intervals])
            if found is not None:
                rows[-1] += [Interval(found.delta, found.low, found.high, signed=True), found.words]
        heads = ["difference", "in words"] if len(self.sides) == 2 else []
        unit = " (words)" if self.column == LENGTH else ""
        return Table([self.column + unit, "queries", *(side.name for side in self.sides), *heads], rows)


class Columns(dict[str, list[Any]]):
    """{column: its value for every query of a comparison}: the attributes of the data, and the length of the query."""

    @classmethod
    def of(cls, comparison: Comparison) -> Columns:
        run = comparison.reference.setting.runs[0]
        found = cls(answers.attributes(run, comparison.part, comparison.query_ids))
        if run.has_own_queries:
            found[run.part] = [query.partition("/")[0] for query in comparison.query_ids]
        texts = answers.texts(run, comparison.part, comparison.query_ids)
        lengths = [None if text is None else len(text.split()) for text in texts]
        return cls(found | {LENGTH: lengths}) if any(lengths) else found

    def groups(self, column: str) -> dict[str, np.ndarray]:
        """{value: positions of the queries that have it}; numbers with many values in bins, rare words together."""
        if column not in self:
            raise ConfigError(
                f"--by {column}: the queries have no such column. They have: {', '.join(self) or 'none'}."
                f"{did_you_mean(column, self)}"
            )
        values = self[column]
        is_number = all(type(value) in (int, float) for value in values if value is not None)
        names = binned(values) if is_number and len(set(values)) > NUM_BINS else most_common(values)
        return {name: np.flatnonzero([other == name for other in names]) for name in dict.fromkeys(sorted_names(names))}

    def reason_against(self, column: str) -> str | None:
        """Why a page shows no breakdown by a column; None where it does."""
        values = [value for value in self[column] if value is not None]
        if len(set(values)) < 2:
            return "all queries have the same value"
        if len(set(values)) > len(values) / 2 and isinstance(values[0], str):
            return "hardly two queries have the same value"
        return None


def breakdowns(
    comparison: Comparison, columns: Columns, shown: Sequence[str], sides: Sequence[Side]
) -> list[Breakdown]:
    """The metric of each side by the values of each column in `shown`, and the differences of two, as one family.

    Raises `ConfigError` where there is no such column.
    """
    found = [_breakdown(comparison, columns, column, sides) for column in shown]
    apart = iter(corrected([group.difference for one in found for group in one.groups if group.difference]))
    return [
        replace(
            one, groups=[replace(group, difference=next(apart)) if group.difference else group for group in one.groups]
        )
        for one in found
    ]


def _breakdown(comparison: Comparison, columns: Columns, column: str, sides: Sequence[Side]) -> Breakdown:
    samples = [scores_of(comparison, side) for side in sides]
    groups = []
    for value, places in columns.groups(column).items():
        of_group = [sample[:, places] for sample in samples]
        strata = comparison.strata and comparison.strata.on(places)
        difference = _difference(sides, of_group, strata) if len(sides) == 2 else None
        groups.append(Group(value, len(places), [Interval.of(one) for one in estimates(of_group, strata)], difference))
    return Breakdown(column, list(sides), groups)


def _difference(sides: Sequence[Side], samples: Sequence[np.ndarray], strata: Strata | None) -> Difference:
    (ours, theirs), (first, second) = samples, sides
    is_gain = first.setting is second.setting
    return (gains([ours], [theirs], strata) if is_gain else differences([ours], theirs, strata=strata))[0]


def breakdown_by_setting(comparison: Comparison, column: str) -> Table:
    """The metric of every setting, best first, by the values of `column`: what `--by` shows.

    Raises `ConfigError` where there is no such column.
    """
    sides = [Side(row.setting, "final", ranked_name(row, comparison)) for row in comparison.rows]
    found = _breakdown(comparison, Columns.of(comparison), column, sides)
    heads = [f"{group.value} ({group.num_queries})" for group in found.groups]
    rows: list[list[Cell]] = [
        [side.name, *(group.intervals[n] for group in found.groups)] for n, side in enumerate(sides)
    ]
    return Table([f"{comparison.metric} by {column} (queries)", *heads], rows)


def binned(values: Sequence[float | None]) -> list[str]:
    """The quarter that each number is in, as "3 to 5"; numbers that are not whole with about four digits that count."""
    known = sorted(value for value in values if value is not None)
    edges = sorted({known[min(len(known) - 1, len(known) * n // NUM_BINS)] for n in range(NUM_BINS)})
    edges[0] = known[0]

    def name(value: float | None) -> str:
        if value is None:
            return UNKNOWN
        n = int(np.searchsorted(edges, value, side="right")) - 1
        inside = [other for other in known if edges[n] <= other and (n + 1 == len(edges) or other < edges[n + 1])]
        first, last = (str(end) if isinstance(end, int) else f"{end:.4g}" for end in (inside[0], inside[-1]))
        return first if first == last else f"{first} to {last}"

    names = {value: name(value) for value in set(values)}
    return [names[value] for value in values]


UNKNOWN = "(not said)"
NUMBER = re.compile(r"-?\d+(\.\d+)?(e[+-]\d+)?")


def most_common(values: Sequence[Any]) -> list[str]:
    """Values as words; those beyond the `MOST_GROUPS` most frequent together."""
    words = [UNKNOWN if value is None else str(value) for value in values]
    counts = Counter(words)
    if len(counts) <= MOST_GROUPS:
        return words
    kept = {word for word, _ in counts.most_common(MOST_GROUPS - 1)}
    others = f"(others: {len(counts) - len(kept)})"
    return [word if word in kept else others for word in words]


def sorted_names(names: Sequence[str]) -> list[str]:
    """Numbers and bins by size, words by the alphabet, what stands for several or none last."""

    def key(name: str) -> tuple[bool, float, str]:
        first = name.split(" ")[0]
        return name.startswith("("), float(first) if NUMBER.fullmatch(first) else 0.0, name

    return sorted(names, key=key)
