"""The page's first part: what the comparison says in a sentence, ranking, cost, and the runs that have no result."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from mmexp.compare.report.html_table import cells_of, table
from mmexp.compare.report.interval_bar import bar, bar_scale
from mmexp.compare.report.markup import Markup, element, joined
from mmexp.compare.report.naming import axis_names, setting_name
from mmexp.compare.report.tables import Cell, Interval, shown
from mmexp.recording.wording import p_value
from mmexp.statistics.means import NOT_SHOWN, WORSE

if TYPE_CHECKING:
    from mmexp.compare.comparison import Comparison
    from mmexp.compare.runs import Run
    from mmexp.statistics.means import Difference

MOST_PARAMETERS = 6
MOST_NAMES = 8


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
    best, reference = comparison.rows[0], comparison.reference
    words = f"Highest {comparison.metric.upper()}: {setting_name(best.setting)}, {shown(Interval.of(best.estimate))}."
    if best.to_reference is not None:
        to_reference = f"{shown(_interval(best.to_reference))}, {best.to_reference.words}"
        return f"{words} Against the reference {setting_name(reference.setting)}: {to_reference}."
    others = [(setting_name(row.setting), row.to_reference) for row in comparison.rows if row.to_reference is not None]
    worse = sum(found.words == WORSE for _, found in others)
    alike = [name for name, found in others if found.words == NOT_SHOWN]
    if others:
        words += f" {worse} of {len(others)} others are shown to be worse."
    if alike:
        more = f" and {len(alike) - MOST_NAMES} more" if len(alike) > MOST_NAMES else ""
        words += f" No difference is shown to {'; '.join(alike[:MOST_NAMES])}{more}."
    return words


def ranking(comparison: Comparison) -> Markup:
    """Settings, best first: metric with interval, gain over their own baseline, difference to the reference."""
    keys, names = list(comparison.axes), axis_names(comparison.axes)
    by_label = len(keys) > MOST_PARAMETERS or not keys
    has_seeds = comparison.has_several_seeds
    heads = [
        *("#", *(["setting"] if by_label else names.values()), *(["seeds", "spread over seeds"] if has_seeds else [])),
        *(comparison.metric.upper(), "95% interval", "gain over own baseline", "difference to the reference"),
    ]
    scale = bar_scale(comparison)
    rows = []
    for rank, row in enumerate(comparison.rows, 1):
        setting, of = row.setting, row.estimate
        named: list[Cell] = [setting_name(setting)] if by_label else [setting.parameters[key] for key in keys]
        is_reference = row is comparison.reference
        cells = [
            *cells_of([rank, *named, *([of.num_seeds, of.spread_over_seeds] if has_seeds else []), Interval.of(of)]),
            element("td", bar(row, comparison.reference, scale), class_="bar"),
            _difference(row.to_baseline),
            element("td", "reference") if is_reference else _difference(row.to_reference),
        ]
        rows.append(element("tr", *cells, class_="reference" if is_reference else None))
    words = "Bars are on one scale; the dotted line is the reference. p is corrected (Holm), d is the effect size."
    ranked = element("div", table(heads, rows), class_="ranked")
    return joined(ranked, element("p", words, class_="reading"))


def cost(comparison: Comparison) -> Markup:
    """What one run of each setting took."""
    heads = [
        *("#", "setting", "hours", "GPU-hours", "pages/s", "peak memory (GB)", "GPU kWh", "CPU kWh", "RAM kWh"),
        *("kWh", "kg CO2", "points per kWh"),
    ]
    rows, sources = [], []
    for rank, row in enumerate(comparison.rows, 1):
        of = row.cost
        cells: list[Cell] = [
            *(rank, setting_name(row.setting), of.hours, of.gpu_hours, of.pages_per_second, of.peak_gb, of.gpu_kwh),
            *(of.cpu_kwh, of.ram_kwh, of.kwh, of.co2_kg, of.points_per_kwh),
        ]
        rows.append(element("tr", *cells_of(cells)))
        sources.append(", ".join(f"{part.upper()} {how}" for part, how in of.energy_source.items()) or "not known")
    caption = (
        "Of one run: means over the seeds of a setting. Points per kWh: 100 × the gain over the own baseline, per kWh. "
        + _sources(sources)
    )
    return joined(table(heads, rows), element("p", caption, class_="reading"))


def _sources(sources: Sequence[str]) -> str:
    """Where the energy of each setting is from, in rank order."""
    ranks: dict[str, list[int]] = {}
    for rank, source in enumerate(sources, 1):
        ranks.setdefault(source, []).append(rank)
    if len(ranks) == 1:
        return f"Energy: {sources[0]}."
    return "Energy: " + "; ".join(f"{source} (# {', '.join(map(str, of))})" for source, of in ranks.items()) + "."


def unfinished(runs: Sequence[Run]) -> Markup:
    """Runs that have no result, and why."""
    rows = [element("tr", *cells_of([run.name, run.status, run.error, str(run.run_dir)])) for run in runs]
    return joined(element("h2", "Not compared", id="unfinished"), table(["run", "status", "error", "folder"], rows))


def _interval(found: Difference | None) -> Interval | None:
    return None if found is None else Interval(found.delta, found.low, found.high, signed=True)


def _difference(found: Difference | None) -> Markup:
    """In words, with its interval, p and effect size."""
    if found is None:
        return element("td", shown(None), class_="number")
    delta, _, interval = shown(_interval(found)).partition(" ")
    effect_size = shown(None) if found.effect_size is None else f"{found.effect_size:+.2f}"
    words = element("span", found.words, class_=found.words.replace(" ", "-"))
    numbers = element("small", f"{interval}, {p_value(found.p_holm)}, d {effect_size}")
    return element("td", joined(words, " ", delta), numbers, class_="number")
