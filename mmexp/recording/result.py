"""What result.json says of the evaluations, and what the dashboard shows of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mmexp.evaluation.metrics import PRIMARY_METRIC
from mmexp.evaluation.report import Metrics, Report
from mmexp.recording.energy import Energy
from mmexp.statistics.means import Difference, Estimate, estimates, gains


def compare(baseline: Report | None, final: Report) -> dict[str, Any]:
    """Before and after, over all and by part: `by_dim`, `by_direction`, `by_top_k` or `by_task`, as the report is."""
    before: Mapping[Any, Metrics] = baseline.metrics if baseline else {}
    return {
        "baseline": baseline.full if baseline else None,
        "final": final.full,
        "delta": final.full[PRIMARY_METRIC] - baseline.full[PRIMARY_METRIC] if baseline else None,
        f"by_{final.part}": {
            str(part): {"baseline": before.get(part), "final": metrics} for part, metrics in final.metrics.items()
        },
    }


def intervals(baseline: Report | None, final: Report) -> dict[str, tuple[float, float] | None]:
    """95% intervals over queries of the primary metric for the whole model, (low, high): before, after, and of the
    paired difference. None where there is no such evaluation, or none that was measured query by query."""
    before, after = baseline.sample(PRIMARY_METRIC) if baseline else None, final.sample(PRIMARY_METRIC)
    found: list[Estimate | Difference | None] = [
        None if sample is None else estimates([sample[0][None]], sample[1])[0] for sample in (before, after)
    ]
    if before is None or after is None:
        found.append(None)
    else:
        found.append(gains([after[0][None]], [before[0][None]], after[1])[0])
    ends = [None if one is None else (one.low, one.high) for one in found]
    return dict(zip(("baseline", "final", "delta"), ends, strict=True))


def final_row(result: dict[str, Any], cost: dict[str, float], energy: Energy | None) -> dict[str, float]:
    """The `final/*` metrics, which the dashboard draws as bars: those of them that there are."""
    peak, throughput = result["peak_memory_bytes"], result["throughput"] or {}
    row = {
        PRIMARY_METRIC: result["final"][PRIMARY_METRIC],
        "delta": result["delta"],
        "hours": cost["x/hours"],
        "energy_kwh": cost.get("x/energy_kwh"),
        **({part: getattr(energy, part) or None for part in ("gpu_kwh", "cpu_kwh", "ram_kwh")} if energy else {}),
        "samples_per_second": throughput.get("samples_per_second"),
        "peak_memory_gb": None if peak is None else peak / 1e9,
    }
    return {f"final/{name}": value for name, value in row.items() if value is not None}
