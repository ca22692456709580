"""What failed on which node of a job: the nodes tell each other in the run folder, and the first counts."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

from mmexp.recording.run_files import write_whole

FOLDER = "failures"
# A rank that fails takes the others with it. Slurm ends all nodes when one is done, so that one lets the others say
# what they have seen.
SECONDS_FOR_OTHERS = 10


class Failures:
    """Of one start of a job."""

    def __init__(self, run_dir: Path, num_nodes: int) -> None:
        start = f"{os.environ['SLURM_JOB_ID']}-{os.environ.get('SLURM_RESTART_COUNT', '0')}"
        self._folder = run_dir / FOLDER / start
        self._num_nodes = num_nodes

    def add(self, node: int, failure: dict[str, Any]) -> None:
        """Say what failed on a node, and wait for the others."""
        self._folder.mkdir(parents=True, exist_ok=True)
        write_whole(self._folder / f"{node}.json", json.dumps(failure, indent=2))
        deadline = time.monotonic() + SECONDS_FOR_OTHERS
        while len(self._all()) < self._num_nodes and time.monotonic() < deadline:
            time.sleep(0.1)

    def first(self) -> dict[str, Any] | None:
        """What failed first; None where nothing did.

        A rank that was killed leaves no time of its own, and is seen after those that missed it: it counts first.
        """
        return min(self._all(), key=lambda failure: (failure["exit_code"] >= 0, failure["time"]), default=None)

    def _all(self) -> list[dict[str, Any]]:
        return [json.loads(file.read_text()) for file in self._folder.glob("[0-9]*.json")]
