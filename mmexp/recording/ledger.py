"""Where time and energy go: every moment of a run is booked to one phase."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from typing import Any

from mmexp.recording.energy import Energy

# Between phases, such as loading the model.
SETUP = "setup"


class Ledger:
    """Seconds and energy by phase. A phase within a phase interrupts the outer one, so nothing is counted twice.

    Attributes:
        seconds: by phase.
        energy: by phase; None once it is not known for any part of the run, for a part of a sum is no sum.
    """

    def __init__(self, read_energy: Callable[[], Energy | None], carried: dict[str, Any] | None = None) -> None:
        """`carried` is what `totals` gave in an interrupted run."""
        self.seconds: dict[str, float] = dict(carried["seconds"]) if carried else {}
        self.energy: dict[str, Energy] | None = {}
        if carried:
            energy = carried["energy"]
            self.energy = {phase: Energy(**parts) for phase, parts in energy.items()} if energy is not None else None
        self._read_energy = read_energy
        self._phases = [SETUP]
        self._seconds_read, self._energy_read = time.perf_counter(), read_energy()

    @property
    def current(self) -> str:
        """The phase that is booked now."""
        return self._phases[-1]

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Book to `name` what passes within."""
        self.book()
        self._phases.append(name)
        try:
            yield
        finally:
            self.book()
            self._phases.pop()

    def book(self) -> None:
        """Bring the totals up to now."""
        seconds, energy = time.perf_counter(), self._read_energy()
        self.seconds[self.current] = self.seconds.get(self.current, 0.0) + seconds - self._seconds_read
        if self.energy is None or energy is None or self._energy_read is None:
            self.energy = None
        else:
            self.energy[self.current] = self.energy.get(self.current, Energy()) + (energy - self._energy_read)
        self._seconds_read, self._energy_read = seconds, energy

    def totals(self) -> dict[str, Any]:
        """The totals as plain values."""
        energy = None if self.energy is None else {phase: asdict(parts) for phase, parts in self.energy.items()}
        return {"seconds": dict(self.seconds), "energy": energy}

    def cost(self) -> dict[str, float]:
        """The sums over all phases, under the names the dashboard draws metrics over."""
        cost = {"x/hours": sum(self.seconds.values()) / 3600}
        if (energy := self.total_energy) is not None:
            cost |= {"x/energy_kwh": energy.total_kwh, "x/co2_kg": energy.co2_kg}
        return cost

    @property
    def total_energy(self) -> Energy | None:
        """The sum over all phases; None where it is not known."""
        return None if self.energy is None else sum(self.energy.values(), Energy())
