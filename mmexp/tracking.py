"""Tracking: the Trackio dashboard and CodeCarbon's energy, both on this machine unless a push is asked for."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import Enum

from mmexp.schema import ConfigError, schema


class EnergyMode(Enum):
    machine = "machine"
    process = "process"


@schema("tracking", "tracking")
@dataclass
class Tracking:
    """Config group `tracking`."""

    trackio: bool = True
    """Show the run in Trackio's local dashboard (`trackio show --project PROJECT`)."""

    project: str = "mmexp"
    """Trackio project. Runs are compared within one."""

    group: str | None = None
    """Trackio group. null: the sweep's folder, or the experiment's name for a single run."""

    codecarbon: bool = True
    """Measure energy and CO2 with CodeCarbon, offline."""

    grid: str | None = None
    """The electricity grid the run draws from: an ISO-3166 country code of three letters (ESP), or a carbon intensity
    in g CO2e per kWh (174). Required once where codecarbon is on."""

    energy_mode: EnergyMode = EnergyMode.machine
    """machine: book the whole machine, right where the run has it to itself. process: book this process' share of CPU
    and memory, where runs share a machine. GPUs are booked by the run's visible devices in both."""

    push_to_space: str | None = None
    """Hugging Face Space to copy the Trackio project to at the end, private, such as me/mmexp. null: it stays here."""

    def check(self) -> None:
        """Raise `ConfigError` where energy is to be measured and no grid is known."""
        if self.codecarbon and self.grid is None:
            raise ConfigError(
                "tracking.grid is not set, and CO2 cannot be computed without it. Type tracking.grid=ESP (your "
                "country's ISO-3166 code) or tracking.grid=174 (g CO2e per kWh), or put `tracking: {grid: ESP}` into "
                "conf/local/default.yaml once; tracking.codecarbon=false or tracking=none measures no energy."
            )
        intensity = self.carbon_intensity
        is_intensity = intensity is not None and 0 <= intensity < math.inf
        if self.codecarbon and not is_intensity and not _looks_like_country(str(self.grid)):
            raise ConfigError(
                f"tracking.grid={self.grid} is neither a country code of three capital letters nor a number of g CO2e "
                "per kWh. Use one such as ESP, or 174."
            )

    @property
    def carbon_intensity(self) -> float | None:
        """The grid in g CO2e per kWh where it is given as a number."""
        try:
            return float(self.grid) if self.grid is not None else None
        except ValueError:
            return None


def _looks_like_country(grid: str) -> bool:
    return len(grid) == 3 and grid.isascii() and grid.isalpha() and grid.isupper()
