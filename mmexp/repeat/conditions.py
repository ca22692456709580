"""What has changed between a run and its repeat, and may change its numbers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

NONE = "none"


@dataclass(frozen=True)
class Change:
    """One condition, as it was and as it is."""

    what: str
    then: str
    now: str

    def __str__(self) -> str:
        return f"{self.what} {self.then} (now {self.now})"

    @property
    def remedy(self) -> str | None:
        """What to type to have it as it was. None: nothing that is as simple."""
        if self.what == "commit" and self.then != NONE:
            return f"git checkout {self.then}"
        return f"pip install {self.what}=={self.then}" if self.what.islower() and self.then[:1].isdigit() else None


def code_changes(then: dict[str, Any], now: dict[str, Any]) -> list[Change]:
    """What differs of the code between two `environment.json`: the commit, what was changed in it, Python, packages."""
    compared = [(what, state(then["git"], key), state(now["git"], key)) for what, key in GIT.items()]
    compared += [("Python", then["python"], now["python"])]
    # A package that is newly looked at has no version in older runs.
    compared += [(name, str(then["versions"][name]), str(now["versions"].get(name))) for name in then["versions"]]
    return [Change(*condition) for condition in compared if condition[1] != condition[2]]


GIT = {"commit": "commit", "local changes": "diff_sha256"}


def state(git: dict[str, Any] | None, key: str) -> str:
    """A commit or the hash of a difference in a few digits."""
    return ((git or {}).get(key) or NONE)[:12]


def machine_changes(then: dict[str, Any], now: dict[str, Any]) -> list[Change]:
    """What differs of the machine. The numbers may then agree, but hardly to the digit."""
    compared = [(what, str(then[key]), str(now[key])) for what, key in MACHINE.items()]
    return [Change(*condition) for condition in compared if condition[1] != condition[2]]


MACHINE = {"platform": "platform", "CPU cores": "cpu_cores", "GPUs": "gpus"}
