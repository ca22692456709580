"""Energy and CO2 of this node, read while it runs, from CodeCarbon without a network."""

from __future__ import annotations

import logging
import os
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

from mmexp.schema import ConfigError, did_you_mean

if TYPE_CHECKING:
    from mmexp.tracking import Tracking

log = logging.getLogger(__name__)


@dataclass
class Energy:
    """Energy by part, in kWh, and CO2-equivalents in kg. Without RAPL, CPU and RAM are CodeCarbon's estimates."""

    gpu_kwh: float = 0.0
    cpu_kwh: float = 0.0
    ram_kwh: float = 0.0
    co2_kg: float = 0.0

    @property
    def total_kwh(self) -> float:
        return self.gpu_kwh + self.cpu_kwh + self.ram_kwh

    def __add__(self, other: Energy) -> Energy:
        return Energy(*(getattr(self, f.name) + getattr(other, f.name) for f in fields(self)))

    def __sub__(self, other: Energy) -> Energy:
        return Energy(*(getattr(self, f.name) - getattr(other, f.name) for f in fields(self)))


class EnergyMeter:
    """CodeCarbon's offline tracker, read at any time. Reads zeros where tracking.codecarbon is off."""

    def __init__(self, tracking: Tracking) -> None:
        self._last = Energy()
        self._tracker = _start_tracker(tracking, self) if tracking.codecarbon else None

    @property
    def is_on(self) -> bool:
        return self._tracker is not None

    def read(self) -> Energy:
        """What has been used since the start."""
        if self._tracker is not None:
            self._tracker.flush()  # hands the totals so far to our output handler
        return self._last

    def stop(self) -> Energy:
        """End the measurement and return its total."""
        if self._tracker is not None:
            self._tracker.stop()
            self._tracker = None
        return self._last


def _start_tracker(tracking: Tracking, meter: EnergyMeter):
    from codecarbon import OfflineEmissionsTracker
    from codecarbon.output_methods.base_output import BaseOutput

    class KeepTotals(BaseOutput):
        """Keeps the last totals, where CodeCarbon's own handlers would write files or call services."""

        def out(self, total, delta) -> None:
            meter._last = Energy(total.gpu_energy, total.cpu_energy, total.ram_energy, total.emissions)

    where: dict[str, Any] = {"country_iso_code": tracking.grid}
    if tracking.carbon_intensity is not None:
        # The country only names the grid then; the intensity is what counts.
        where = {"country_iso_code": "USA", "force_carbon_intensity_g_co2e_kwh": tracking.carbon_intensity}
    else:
        _check_country(str(tracking.grid))
    tracker = OfflineEmissionsTracker(
        **where,
        tracking_mode=tracking.energy_mode.value,
        gpu_ids=visible_gpus(),
        output_handlers=[KeepTotals()],
        save_to_file=False,
        save_to_api=False,
        log_level="critical",
        allow_multiple_runs=True,
    )
    tracker.start()
    # The offline tracker swallows its own exceptions, and is dead then without a word.
    if getattr(tracker, "_start_time", None) is None:
        raise ConfigError(
            "CodeCarbon did not start, and energy would read 0. See its own message with CODECARBON_LOG_LEVEL=debug, "
            "or go on without it: tracking.codecarbon=false"
        )
    return tracker


def _check_country(code: str) -> None:
    """CodeCarbon takes the world's average for a country that it does not know, without a word."""
    from codecarbon.input import DataSource

    countries = DataSource().get_global_energy_mix_data()
    if code not in countries:
        raise ConfigError(
            f"tracking.grid={code} is no country that CodeCarbon has an energy mix for.{did_you_mean(code, countries)} "
            "Use its ISO-3166 code, or the grid's g CO2e per kWh."
        )


def visible_gpus() -> list[int] | None:
    """NVML indices of the GPUs this process may use; None for all of them.

    CUDA_VISIBLE_DEVICES may name GPUs by UUID, which CodeCarbon would book as no GPU at all.
    """
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if not visible or all(part.strip().isdigit() for part in visible.split(",")):
        return [int(part) for part in visible.split(",")] if visible else None
    import pynvml

    try:
        pynvml.nvmlInit()
        uuids = [
            pynvml.nvmlDeviceGetUUID(pynvml.nvmlDeviceGetHandleByIndex(n)) for n in range(pynvml.nvmlDeviceGetCount())
        ]
    except pynvml.NVMLError as error:
        log.warning(
            "energy: the GPUs of CUDA_VISIBLE_DEVICES=%s cannot be looked up (%s); all GPUs are booked", visible, error
        )
        return None
    found = [n for n, uuid in enumerate(uuids) if any(uuid.startswith(part.strip()) for part in visible.split(","))]
    if not found:
        log.warning("energy: CUDA_VISIBLE_DEVICES=%s names no whole GPU; all GPUs are booked", visible)
    return found or None
