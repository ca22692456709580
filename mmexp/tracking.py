"""Tracking: the Trackio dashboard and CodeCarbon's energy, both on this machine unless a push is asked for."""

from __future__ import annotations

import json
import math
import os
from dataclasses import dataclass
from enum import Enum
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from mmexp.schema import ConfigError, did_you_mean, schema

# In the environment of a run that has others beside it on its machine.
SHARES_MACHINE = "MMEXP_SHARES_MACHINE"


class EnergyMode(Enum):
    machine = "machine"
    process = "process"


@schema("tracking", "tracking")
@dataclass
class Tracking:
    """Config group `tracking`."""

    trackio: bool = True
    """Show the run in Trackio's local dashboard (`python -m mmexp.dashboard --project PROJECT`)."""

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
    and memory, where runs share a machine, as members of a sweep with sweep.at_once above 1 always do. GPUs are booked
    by the run's visible devices in both."""

    push_to_space: str | None = None
    """Hugging Face Space to copy the Trackio project to at the end, private, such as me/mmexp. null: it stays here."""

    @property
    def booked(self) -> EnergyMode:
        """What is booked: of the whole machine, runs beside each other would each book all."""
        return EnergyMode.process if SHARES_MACHINE in os.environ else self.energy_mode

    def check(self, measures: bool = True) -> None:
        """Raise `ConfigError` where energy is to be measured and the grid is not known, or the grid is none."""
        if self.codecarbon and self.grid is None:
            if not measures:
                return
            raise ConfigError(
                "tracking.grid is not set, and CO2 cannot be computed without it. Type tracking.grid=ESP (your "
                "country's ISO-3166 code) or tracking.grid=174 (g CO2e per kWh), or put `tracking: {grid: ESP}` into "
                "conf/local/default.yaml once; tracking.codecarbon=false or tracking=none measures no energy."
            )
        if self.codecarbon and self.carbon_intensity is None:
            _check_country(str(self.grid))

    @property
    def carbon_intensity(self) -> float | None:
        """The grid in g CO2e per kWh where it is given as a number."""
        try:
            intensity = float(self.grid or "")
        except ValueError:
            return None
        return intensity if math.isfinite(intensity) and intensity >= 0 else None


def _check_country(code: str) -> None:
    """CodeCarbon takes the world's average for a country that it does not know, without a word.

    A machine that only submits may be without it: there, the run itself checks.
    """
    package = find_spec("codecarbon")
    if package is None or package.origin is None:
        return
    # Read without importing the package, which takes a second or two.
    countries = json.loads((Path(package.origin).parent / "data/private_infra/global_energy_mix.json").read_text())
    if code not in countries:
        raise ConfigError(
            f"tracking.grid={code} is no grid.{_nearest_country(code, countries)} Use a country's ISO-3166 code, three "
            "capital letters such as ESP, or the grid's intensity in g CO2e per kWh, such as 174."
        )


def _nearest_country(word: str, countries: dict[str, Any]) -> str:
    """ " Did you mean 'ESP'?" for esp, Spain or ESX; "" where nothing is near."""
    codes = {country["country_name"].lower(): code for code, country in countries.items()}
    code = codes.get(word.lower(), word.upper())
    return f" Did you mean {code!r}?" if code in countries else did_you_mean(code, countries)
