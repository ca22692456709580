"""How settings and axes are called in figures and on the page, where there is little room."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mmexp.compare.comparison import Comparison, Row
    from mmexp.compare.settings import Setting


def setting_name(setting: Setting) -> str:
    """The label of a setting, with spaces where lines can break."""
    return setting.label.replace("__", " ")


def cut_off(name: str, width: int = 48) -> str:
    """At most so many characters of it."""
    return name if len(name) <= width else f"{name[: width - 1]}…"


def ranked_name(row: Row, comparison: Comparison, width: int = 48) -> str:
    """A setting with its rank, as legends and tables name it."""
    name = cut_off(setting_name(row.setting), width)
    is_reference = row is comparison.reference and len(comparison.rows) > 1
    return f"{comparison.rows.index(row) + 1}: {name}{' (reference)' if is_reference else ''}"


def axis_names(keys: Iterable[str]) -> dict[str, str]:
    """{config key: its last part}; the whole key where others end alike."""
    keys = list(keys)
    last = {key: key.rpartition(".")[2] for key in keys}
    return {key: name if list(last.values()).count(name) == 1 else key for key, name in last.items()}
