"""What `00-comparison` holds: for each evaluation data ranking, cost and figures; the runs without a result; notes."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from mmexp.compare.by_data import ComparedByData
from mmexp.compare.report import draw
from mmexp.compare.report.charts import Chart
from mmexp.dashboard.ranking import cost, not_compared, ranking

DPI = 110
# Drawing takes a second or two for each evaluation data, and nobody looks through more.
MOST_DRAWN = 3


def contents(compared: ComparedByData, folder: Path) -> dict[str, Any]:
    """Trackio's tables, images and texts, by the names that it shows them under.

    Images, of the newest evaluation data, are written into `folder`.
    """
    import trackio

    shown: dict[str, Any] = {}
    for number, (data, comparison) in enumerate(compared.comparisons.items()):
        place = f" ({data})" if len(compared.comparisons) > 1 else ""
        shown[f"ranking: {data}"] = _table(ranking(comparison))
        shown[f"cost: {data}"] = _table(cost(comparison))
        charts = draw(comparison) if number < MOST_DRAWN else []
        for chart in (found for found in charts if isinstance(found, Chart)):
            file = folder / f"{number}-{chart.name}.png"
            chart.figure.savefig(file, dpi=DPI)
            shown[f"{chart.title}{place}"] = trackio.Image(file, caption=chart.reading)
    if compared.not_compared:
        shown["not compared"] = _table(not_compared(compared.not_compared))
    said = {"project": [*compared.notes, "python -m mmexp.compare --project brings this up to date."]}
    said |= {data: [f"Not compared: {why}"] for data, why in compared.refused.items()}
    said |= {data: comparison.notes for data, comparison in compared.comparisons.items()}
    return shown | {f"notes: {what}": _list(lines) for what, lines in said.items() if lines}


def _table(rows: list[dict[str, str]]) -> Any:
    import trackio

    return trackio.Table(columns=list(rows[0]), data=[list(row.values()) for row in rows])


def _list(notes: Iterable[str]) -> Any:
    import trackio

    return trackio.Markdown("\n".join(f"- {' '.join(note.split())}" for note in notes))
