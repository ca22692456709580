"""What a setting took: time, memory, energy."""

from __future__ import annotations

from dataclasses import dataclass

from mmexp.compare.settings import Setting


@dataclass(frozen=True)
class Cost:
    """Means over the runs of a setting; None where any of them does not say."""

    hours: float | None
    gpu_hours: float | None
    """Hours times GPUs."""

    pages_per_second: float | None
    """In training."""

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


def cost_of(setting: Setting, gain: float | None) -> Cost:
    """What the runs of a setting took on average. `gain` is the mean difference to the baseline."""
    raise NotImplementedError
