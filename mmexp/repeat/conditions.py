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
    remedy: str | None = None
    """What to type to have it as it was. None: nothing as simple."""

    def __str__(self) -> str:
        return f"{self.what} {self.then} (now {self.now})"


def code_changes(then: dict[str, Any], now: dict[str, Any]) -> list[Change]:
    """What differs of the code between two `environment.json`: the commit, what was changed in it, Python, packages."""
    commit = state(then, "commit")
    compared = [
        Change("commit", commit, state(now, "commit"), None if commit == NONE else f"git checkout {commit}"),
        Change("local changes", state(then, "diff_sha256"), state(now, "diff_sha256")),
        Change("Python", then["python"], now["python"]),
        # A package that is newly looked at has no version in older runs.
        *(package_change(name, then["versions"][name], now["versions"].get(name)) for name in then["versions"]),
    ]
    return [change for change in compared if change.then != change.now]


def package_change(name: str, then: str | None, now: str | None) -> Change:
    """The versions of a package. None: it is not installed."""
    return Change(name, then or NONE, now or NONE, f"pip install {name}=={then}" if then else f"pip uninstall {name}")


def state(environment: dict[str, Any], key: str) -> str:
    """The commit, or the hash of what differs from it, in a few digits."""
    return ((environment["git"] or {}).get(key) or NONE)[:12]


def machine_changes(then: dict[str, Any], now: dict[str, Any]) -> list[Change]:
    """What differs of the machine. The numbers may then agree, but hardly to the digit."""
    compared = {"platform": "platform", "CPU cores": "cpu_cores", "GPUs": "gpus"}
    changes = [Change(what, str(then[key]), str(now[key])) for what, key in compared.items()]
    return [change for change in changes if change.then != change.now]
