"""Attributes of queries: the small columns of the data, such as language or topic, that results are broken down by."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from datasets import Dataset

Attributes = dict[str, list[Any]]
"""{name: its value for every query}: short texts, numbers or truth values, one type in a list; None: unknown."""

PREFIX = "attribute/"
"""Of their columns in per_query/*.parquet, so that none has the name of a metric."""

MAX_LENGTH = 64
"""Characters of the longest value: longer ones are texts to read, not groups to count."""

FEW = 100


def attributes_of(records: Sequence[dict[str, Any]], besides: Collection[str]) -> Attributes:
    """The attributes among the keys of `records`, one of which there is for every query."""
    names = dict.fromkeys(name for record in records for name in record if name not in besides)
    columns = {name: [record.get(name) for record in records] for name in names}
    return {name: _of_one_type(values) for name, values in columns.items() if all(map(_is_small, values))}


def column_attributes(dataset: Dataset, rows: Sequence[int], besides: Collection[str]) -> Attributes:
    """The attributes among the columns of a data set, for the queries that are in these rows of it."""
    from datasets import Value

    names = [name for name, feature in dataset.features.items() if isinstance(feature, Value) and name not in besides]
    # A look at a few rows leaves out columns of long texts, such as a page's words, which would be read for nothing.
    for looked_at in (rows[:FEW], rows):
        found = attributes_of(dataset.select(looked_at).select_columns(names).to_list(), besides) if names else {}
        names = list(found)
    return found


def joined_attributes(parts: Sequence[Attributes], lengths: Sequence[int]) -> Attributes:
    """Those of several lists of queries of these lengths, one after the other."""
    names = dict.fromkeys(name for part in parts for name in part)
    return {
        name: _of_one_type(
            [value for part, length in zip(parts, lengths, strict=True) for value in part.get(name, [None] * length)]
        )
        for name in names
    }


def prefixed(attributes: dict[str, Any]) -> dict[str, Any]:
    """Attributes under the names that they have in per_query/*.parquet."""
    return {PREFIX + name: values for name, values in attributes.items()}


def _is_small(value: Any) -> bool:
    if isinstance(value, str):
        return len(value) <= MAX_LENGTH
    return value is None or isinstance(value, bool | int | float)


def _of_one_type(values: list[Any]) -> list[Any]:
    """A column of a table has one type: whole numbers among others become such, values of other types their words."""
    values = [None if isinstance(value, float) and not math.isfinite(value) else value for value in values]
    types = {type(value) for value in values if value is not None}
    if len(types) <= 1:
        return values
    kind = float if types == {int, float} else str
    return [None if value is None else kind(value) for value in values]
