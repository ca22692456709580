"""What a run in other processes ended with, for the process that waited for it."""

from __future__ import annotations

import sys
from typing import Any, NoReturn

from mmexp.processes.interruption import SIGNALS


class RunFailed(RuntimeError):
    """A run in other processes did not finish."""

    def __init__(self, result: dict[str, Any]) -> None:
        self.result = result
        super().__init__(f"{self.error.get('type')}: {self.error.get('message')}")

    @property
    def error(self) -> dict[str, Any]:
        return self.result["error"] or {}

    def end_with_its_words(self) -> NoReturn:
        """Print what went wrong where, and exit: 2 for what cannot be as asked, 128 + the signal for a run that was
        asked to stop, 1 for anything else."""
        if self.error.get("type") == "ConfigError":
            print(f"mmexp: {self.error['message']}", file=sys.stderr)
            sys.exit(2)
        if self.result["status"] == "preempted":
            sys.exit(next((128 + n for n in SIGNALS if n.name in self.error["message"]), 1))
        where = f"rank {self.error['rank']} failed" if "rank" in self.error else "the run failed"
        print(f"{self.error.get('traceback') or ''}\nmmexp: {where}: {self}", file=sys.stderr)
        sys.exit(1)


def metric_of(result: dict[str, Any]) -> float:
    """The primary metric of a run that finished. Raises `RunFailed` for one that did not."""
    if result["status"] != "finished":
        raise RunFailed(result)
    return result["final"][result["primary_metric"]]
