"""What a setting took: time, memory, energy."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from mmexp.compare.settings import Setting

ENERGY_PARTS = ("gpu_kwh", "cpu_kwh", "ram_kwh", "co2_kg")


@dataclass(frozen=True)
class Cost:
    """Means over the runs of a setting; None where any of them does not say."""

    hours: float | None
    gpu_hours: float | None
    """Hours times GPUs."""

    pages_per_second: float | None
    """In training; of an evaluation, in encoding."""

    peak_memory_bytes: float | None
    """Of the GPU where there is one, else of the process."""

    gpu_kwh: float | None
    cpu_kwh: float | None
    ram_kwh: float | None
    kwh: float | None
    co2_kg: float | None
    energy_source: dict[str, str]
    """By part ("gpu", "cpu", "ram"): "measured" or "estimated"; "mixed" where the runs differ."""

    points_per_kwh: float | None
    """100 x the gain over the baseline, per kWh."""

    @property
    def peak_gb(self) -> float | None:
        return None if self.peak_memory_bytes is None else self.peak_memory_bytes / 1e9


def cost_of(setting: Setting, gain: float | None) -> Cost:
    """What the runs of a setting took on average. `gain` is the mean difference to the baseline."""
    results = [run.result for run in setting.runs]
    gpu, cpu, ram, co2 = (_mean(results, partial(_energy, part=part)) for part in ENERGY_PARTS)
    kwh = None if gpu is None or cpu is None or ram is None else gpu + cpu + ram
    return Cost(
        hours=_mean(results, _hours),
        gpu_hours=_mean(results, lambda result: _times(_hours(result), result.get("num_gpus"))),
        pages_per_second=_mean(results, lambda result: (result.get("throughput") or {}).get("pages_per_second")),
        peak_memory_bytes=_mean(results, lambda result: result.get("peak_memory_bytes")),
        gpu_kwh=gpu,
        cpu_kwh=cpu,
        ram_kwh=ram,
        kwh=kwh,
        co2_kg=co2,
        energy_source=_sources(results),
        points_per_kwh=100 * gain / kwh if gain is not None and kwh else None,
    )


def _mean(results: list[dict[str, Any]], of: Callable[[dict[str, Any]], float | None]) -> float | None:
    values = [of(result) for result in results]
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if len(known) == len(values) else None


def _hours(result: dict[str, Any]) -> float | None:
    return sum(result["seconds"].values()) / 3600 if "seconds" in result else None


def _times(hours: float | None, num_gpus: int | None) -> float | None:
    return None if hours is None or num_gpus is None else hours * num_gpus


def _energy(result: dict[str, Any], part: str) -> float | None:
    energy = result.get("energy")
    return None if energy is None else sum(of_phase[part] for of_phase in energy.values())


def _sources(results: list[dict[str, Any]]) -> dict[str, str]:
    words: dict[str, set[str]] = {}
    for result in results:
        for part, source in (result.get("energy_source") or {}).items():
            words.setdefault(part, set()).add(source)
    return {part: of_part.pop() if len(of_part) == 1 else "mixed" for part, of_part in words.items()}
