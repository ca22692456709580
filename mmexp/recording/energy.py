"""Energy and CO2 of this node, read while it runs, from CodeCarbon without a network."""

from __future__ import annotations

import logging
import os
import threading
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

from mmexp.processes.visible_gpus import visible_gpus
from mmexp.schema import ConfigError
from mmexp.tracking import EnergyMode

if TYPE_CHECKING:
    from mmexp.tracking import Tracking

log = logging.getLogger(__name__)

# CodeCarbon's own measurements, in a thread of its own and without a lock, could book the same moments as ours. So
# only ours are left: the power of parts without an energy counter is still sampled every second.
NEVER = 1e9
MEASURED_CPU_MODES = ("intel_rapl", "intel_power_gadget", "windows_emi")


@dataclass
class Energy:
    """Energy by part, in kWh, and CO2-equivalents in kg."""

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
    """CodeCarbon's offline tracker, read at any time and from any thread.

    Reads None where tracking.codecarbon is off, and from the moment CodeCarbon fails: energy that is not known is
    not zero, and must not stop a training.
    """

    def __init__(self, tracking: Tracking) -> None:
        self._lock = threading.Lock()
        self._totals: Energy | None = None
        self._tracker = self._start(tracking) if tracking.codecarbon else None

    def read(self) -> Energy | None:
        """What has been used since the start."""
        with self._lock:
            if self._tracker is None:
                return None
            self._totals = None
            self._tracker.flush()  # hands the totals so far to our output handler, or swallows its own exception
            if self._totals is None:
                log.warning("energy: CodeCarbon failed, so this run has none. CODECARBON_LOG_LEVEL=debug says why")
                self._tracker = None
            return self._totals

    def stop(self) -> None:
        """End the measurement."""
        with self._lock:
            if self._tracker is not None:
                self._tracker.stop()
                self._tracker = None

    def source(self) -> dict[str, str] | None:
        """Whether each part's energy is measured, or estimated from its load and size. None where there is none."""
        if self._tracker is None:
            return None
        parts = self._tracker._hardware
        cpu_is_measured = any(getattr(part, "_mode", None) in MEASURED_CPU_MODES for part in parts)
        source = {"cpu": "measured" if cpu_is_measured else "estimated", "ram": "estimated"}
        return {"gpu": "measured", **source} if any(type(part).__name__ == "GPU" for part in parts) else source

    def _start(self, tracking: Tracking) -> Any:
        tracker = _build_tracker(tracking, self)
        tracker.start()  # which also looks for hardware
        if tracking.booked is EnergyMode.process and int(os.environ.get("LOCAL_WORLD_SIZE", "1")) > 1:
            _book_all_ranks(tracker)
        tracker.flush()
        # The offline tracker swallows its own exceptions, and is dead then without a word.
        if self._totals is None:
            raise ConfigError(
                "CodeCarbon did not start, so energy cannot be measured. See its own message with "
                "CODECARBON_LOG_LEVEL=debug, or go on without it: tracking.codecarbon=false"
            )
        return tracker


def _book_all_ranks(tracker: Any) -> None:
    """CodeCarbon books the process it runs in, and its children. The ranks of a node are children of one parent."""
    import psutil

    parent = psutil.Process(os.getppid())
    for part in tracker._hardware:
        if hasattr(part, "_pid"):
            part._pid = parent.pid
        if hasattr(part, "_process"):
            part._process = parent


def _build_tracker(tracking: Tracking, meter: EnergyMeter) -> Any:
    from codecarbon import OfflineEmissionsTracker
    from codecarbon.output_methods.base_output import BaseOutput

    class KeepTotals(BaseOutput):
        """Keeps the last totals, where CodeCarbon's own handlers would write files or call services."""

        def out(self, total: Any, delta: Any) -> None:
            meter._totals = Energy(total.gpu_energy, total.cpu_energy, total.ram_energy, total.emissions)

    level = os.environ.get("CODECARBON_LOG_LEVEL", "error")
    logging.getLogger("codecarbon").setLevel(level.upper())  # it logs before it reads its own setting
    is_country = tracking.carbon_intensity is None
    # What is None here would otherwise be taken from CODECARBON_* variables or ~/.codecarbon.config, which could
    # contradict tracking.grid, or call a service.
    return OfflineEmissionsTracker(
        country_iso_code=tracking.grid if is_country else None,
        force_carbon_intensity_g_co2e_kwh=tracking.carbon_intensity,
        region=None,
        cloud_provider=None,
        cloud_region=None,
        electricitymaps_api_token="",
        emissions_endpoint=None,
        tracking_mode=tracking.booked.value,
        gpu_ids=visible_gpus(),
        measure_power_secs=NEVER,
        output_methods=[],
        output_handlers=[KeepTotals()],
        log_level=level,
        allow_multiple_runs=True,
    )
