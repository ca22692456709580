"""Energy of a run on several nodes: the first rank of each meters its node, and rank 0 adds them up.

A meter reads its own node only. The other nodes' totals come through small files in the run folder, which all share.
"""

from __future__ import annotations

import json
import os
import threading
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from mmexp.recording.energy import Energy, EnergyMeter
from mmexp.recording.run_files import write_whole

if TYPE_CHECKING:
    from mmexp.tracking import Tracking

FOLDER = "energy"
SECONDS_BETWEEN_READINGS = 10.0


def node_number() -> int:
    """The number of this process' node among those of the run."""
    return int(os.environ.get("GROUP_RANK", "0"))


def meters_another_node() -> bool:
    """Whether this process is the first of a node that is not rank 0's."""
    return node_number() > 0 and os.environ.get("LOCAL_RANK", "0") == "0"


class JobMeter(EnergyMeter):
    """Rank 0's meter: its own node, and what the others have written so far."""

    def __init__(self, tracking: Tracking, run_dir: Path) -> None:
        super().__init__(tracking)
        self._folder = run_dir / FOLDER
        for file in self._folder.glob("node-*.json"):  # of the part of the run before an interruption
            file.unlink(missing_ok=True)

    def read(self) -> Energy | None:
        own = super().read()
        if own is None:
            return None
        others = [json.loads(file.read_text()) for file in self._folder.glob("node-*.json")]
        if None in others:
            return None  # a part of a sum is no sum
        return sum((Energy(**other) for other in others), own)


class NodeMeter:
    """Meters another node than rank 0's, in a thread, into a file."""

    def __init__(self, tracking: Tracking, run_dir: Path) -> None:
        self._file = run_dir / FOLDER / f"node-{node_number()}.json"
        self._meter = EnergyMeter(tracking)  # which reads None where tracking.codecarbon is off
        self._ended = threading.Event()
        threading.Thread(target=self._publish_until_the_end, daemon=True, name="node-energy").start()

    def publish(self) -> None:
        """Write what has been used so far; null where it can be told no more."""
        energy = self._meter.read()
        if energy is not None or self._file.exists():
            self._file.parent.mkdir(exist_ok=True)
            write_whole(self._file, json.dumps(energy and asdict(energy)))

    def stop(self) -> None:
        self._ended.set()
        self.publish()
        self._meter.stop()

    def _publish_until_the_end(self) -> None:
        while not self._ended.wait(SECONDS_BETWEEN_READINGS):
            self.publish()
