"""The page's first part: what the comparison says in a sentence, ranking, cost, and the runs that have no result."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from mmexp.compare.report.markup import Markup, element, joined
from mmexp.compare.report.tables import Cell, Interval, shown
from mmexp.compare.statistics import NOT_SHOWN, WORSE

if TYPE_CHECKING:
    from mmexp.compare.comparison import Comparison, Row
    from mmexp.compare.runs import Run
    from mmexp.compare.statistics import Difference

MOST_PARAMETERS = 6
MOST_NAMES = 8
BAR_WIDTH, BAR_HEIGHT = 150, 16


def results_section(comparison: Comparison) -> Markup:
    """Verdict, notes, ranking, cost and unfinished runs."""
    notes = [element("li", note) for note in comparison.notes]
    return element(
        "section",
        element("p", verdict(comparison), class_="verdict"),
        element("ul", *notes, class_="notes") if notes else None,
        element("h2", "Ranking", id="ranking"),
        ranking(comparison),
        element("h2", "Cost", id="cost"),
        cost(comparison),
        unfinished(comparison.unfinished) if comparison.unfinished else None,
    )


def verdict(comparison: Comparison) -> str:
    """Who is best, and whether that is shown."""
    best, metric = comparison.rows[0], comparison.metric.upper()
    words = f"Highest {metric}: {best.setting.label}, {shown(Interval.of(best.estimate))}."
    if best.to_reference is not None:
        found = best.to_reference
        return f"{words} Against the reference {comparison.reference.setting.label}: {_delta(found)}, {found.words}."
    others = [row for row in comparison.rows if row.to_reference is not None]
    alike = [row.setting.label for row in others if row.to_reference and row.to_reference.words == NOT_SHOWN]
    worse = sum(row.to_reference.words == WORSE for row in others if row.to_reference)
    if not others:
        return words
    named = ", ".join(alike[:MOST_NAMES]) + (f" and {len(alike) - MOST_NAMES} more" if len(alike) > MOST_NAMES else "")
    return f"{words} {worse} of {len(others)} others are shown to be worse." + (
        f" No difference is shown to {named}." if alike else ""
    )


def ranking(comparison: Comparison) -> Markup:
    """Settings, best first: metric with interval, gain over their own baseline, difference to the reference."""
    keys = list(comparison.axes)
    by_label = len(keys) > MOST_PARAMETERS or not keys
    parameters = ["setting"] if by_label else keys
    heads = [
        *("#", *parameters, "seeds", f"{comparison.metric.upper()} [95% interval]", ""),
        *(
            "spread over seeds",
            "gain over own baseline",
            "difference to the reference",
            "p (Holm)",
            "effect size d",
            "",
        ),
    ]
    scale = bar_scale(comparison)
    rows = []
    for rank, row in enumerate(comparison.rows, 1):
        setting = row.setting
        named: list[Cell] = [setting.label] if by_label else [setting.parameters[key] for key in keys]
        is_reference = row is comparison.reference
        cells = [
            *_cells([rank, *named, row.estimate.num_seeds, Interval.of(row.estimate)]),
            element("td", bar(row, comparison.reference, scale), class_="bar"),
            *_cells([row.estimate.spread_over_seeds]),
            _difference(row.to_baseline),
            *_to_reference(row.to_reference, is_reference),
        ]
        rows.append(element("tr", *cells, class_="reference" if is_reference else None))
    return table(heads, rows)


def cost(comparison: Comparison) -> Markup:
    """What one run of each setting took."""
    heads = [
        *("#", "setting", "hours", "GPU-hours", "pages/s", "peak memory (GB)", "GPU kWh", "CPU kWh", "RAM kWh"),
        *("kWh", "kg CO2", "points per kWh", "energy is"),
    ]
    rows = []
    for rank, row in enumerate(comparison.rows, 1):
        of = row.cost
        peak = None if of.peak_memory_bytes is None else of.peak_memory_bytes / 1e9
        source = ", ".join(f"{part} {how}" for part, how in of.energy_source.items())
        cells: list[Cell] = [
            *(rank, row.setting.label, of.hours, of.gpu_hours, of.pages_per_second, peak, of.gpu_kwh, of.cpu_kwh),
            *(of.ram_kwh, of.kwh, of.co2_kg, of.points_per_kwh, source or None),
        ]
        rows.append(element("tr", *_cells(cells)))
    caption = (
        "Means over the seeds of a setting, for one run. Points per kWh: 100 × the gain over the own baseline, per kWh."
    )
    return joined(table(heads, rows), element("p", caption, class_="reading"))


def unfinished(runs: Sequence[Run]) -> Markup:
    """Runs that have no result, and why."""
    rows = [element("tr", *_cells([run.name, run.status, run.error, str(run.run_dir)])) for run in runs]
    return joined(element("h2", "Not compared", id="unfinished"), table(["run", "status", "error", "folder"], rows))


def table(heads: Sequence[str], rows: Sequence[Markup]) -> Markup:
    """A table that scrolls where it is wider or longer than its place."""
    head = element("thead", element("tr", *(element("th", words) for words in heads)))
    return element("div", element("table", head, element("tbody", *rows)), class_="scroll")


def bar_scale(comparison: Comparison) -> tuple[float, float]:
    """The lowest and the highest end of any interval."""
    lows, highs = zip(*((row.estimate.low, row.estimate.high) for row in comparison.rows), strict=True)
    low, high = min(lows), max(highs)
    return (low, high) if high > low else (low - 0.5, high + 0.5)


def bar(row: Row, reference: Row, scale: tuple[float, float]) -> Markup:
    """An interval as a line with its mean, beside a line through the mean of the reference."""

    def place(value: float) -> str:
        share = (value - scale[0]) / (scale[1] - scale[0])
        return f"{3 + share * (BAR_WIDTH - 6):.1f}"

    def line(x1: float, x2: float, margin: int, class_: str) -> Markup:
        middle = str(BAR_HEIGHT // 2)
        y1, y2 = (middle, middle) if x1 != x2 else (str(margin), str(BAR_HEIGHT - margin))
        return element("line", x1=place(x1), x2=place(x2), y1=y1, y2=y2, class_=class_)

    of, mean = row.estimate, reference.estimate.mean
    return element(
        "svg",
        line(mean, mean, 0, "at-reference"),
        line(of.low, of.high, 0, "range") if of.low != of.high else None,
        line(of.mean, of.mean, 2, "mean"),
        **{"width": str(BAR_WIDTH), "height": str(BAR_HEIGHT), "aria-hidden": "true"},
    )


def _cells(cells: Sequence[Cell]) -> list[Markup]:
    return [element("td", shown(cell), class_=None if isinstance(cell, str) else "number") for cell in cells]


def _difference(found: Difference | None) -> Markup:
    return element("td", "–" if found is None else _delta(found), class_="number")


def _to_reference(found: Difference | None, is_reference: bool) -> list[Markup]:
    if found is None:
        return [element("td", "reference" if is_reference else "–"), *_cells(["", "", ""])]
    cells = _cells([_p(found.p_holm), found.effect_size])
    return [_difference(found), *cells, element("td", found.words, class_=found.words.replace(" ", "-"))]


def _delta(found: Difference) -> str:
    return f"{found.delta:+.4f} [{found.low:+.4f}, {found.high:+.4f}]"


def _p(p: float) -> str:
    return "< 0.001" if p < 0.001 else f"{p:.3f}"
