"""Numbers as people read them, in the terminal, the dashboard and the page of a comparison."""

from __future__ import annotations

UNKNOWN = "-"


def number(value: float | None, unknown: str = UNKNOWN) -> str:
    """Whole numbers as they are, others with about four digits that count."""
    if value is None:
        return unknown
    if isinstance(value, int):
        return f"{value:,}"
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"


def p_value(p: float) -> str:
    """ "p=0.042", "p<0.001"."""
    return "p<0.001" if p < 0.001 else f"p={p:.3f}"
