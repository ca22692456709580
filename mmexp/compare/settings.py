"""Settings: what is compared. Runs that are equal but for the seed are one."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from mmexp.compare.runs import Run
from mmexp.sweep.folder import read_members
from mmexp.sweep.names import VOLATILE, label

Scalar = str | int | float | bool | None
SEED = "seed"


@dataclass(eq=False)
class Setting:
    """Finished runs with one config but for the seed, each seed once."""

    runs: list[Run]
    """By seed."""

    parameters: dict[str, Scalar]
    """What differs among the settings that are compared, by config key; the same keys in each. Lists as words."""

    label: str
    """For people: "bs=8__px=100000". Unique among the settings that are compared."""

    repeats: list[Run] = field(default_factory=list)
    """Finished runs with the config and seed of one of `runs`, and older: no draws of their own, so not counted."""

    @property
    def seeds(self) -> list[int | None]:
        return [run.seed for run in self.runs]


def settings_of(runs: Sequence[Run]) -> list[Setting]:
    """The settings of finished runs, in the order in which the runs come."""
    groups: dict[str, list[Run]] = {}
    for run in runs:
        groups.setdefault(_identity(run), []).append(run)
    firsts = [group[0] for group in groups.values()]
    parameters = _swept(firsts) or _what_differs(firsts)
    labels = _labels([*groups.values()], parameters)
    return [_setting(*parts) for parts in zip(groups.values(), parameters, labels, strict=True)]


def axes(settings: Sequence[Setting]) -> dict[str, list[Scalar]]:
    """What was varied: {config key: its values, sorted}."""
    keys = settings[0].parameters if settings else {}
    return {key: sorted({setting.parameters[key] for setting in settings}, key=_order) for key in keys}


def _setting(runs: list[Run], parameters: dict[str, Scalar], words: str) -> Setting:
    newest_last = sorted(runs, key=lambda run: run.result.get("ended", ""))
    of_seed = {run.seed: run for run in newest_last}
    counted = [of_seed[seed] for seed in sorted(of_seed, key=_order)]
    return Setting(counted, parameters, words, repeats=[run for run in runs if run not in counted])


def _identity(run: Run) -> str:
    """Equal for runs that are draws of one setting."""
    if not run.config:
        return str(run.run_dir)
    counts = {key: value for key, value in _config(run).items() if key not in (*VOLATILE, SEED)}
    return json.dumps([counts, _schemas(run), _facts(run)], sort_keys=True, default=str)


def _facts(run: Run) -> dict[str, Scalar]:
    """What changes the result and is not in the config, or not in one key of it."""
    return {"num_processes": run.result.get("num_processes"), "data_fingerprint": run.fingerprint}


def _config(run: Run) -> dict[str, Any]:
    """The config as it was asked for: a mini-batch that was halved for want of memory changes no result."""
    loss = dict(run.config.get("loss") or {})
    for halving in reversed(run.composition.get("halvings") or []):
        loss[halving["key"]] = halving["before"]
    return {**run.config, "loss": loss}


def _schemas(run: Run) -> dict[str, str]:
    """Which option each part of the config is: {"loss": "mnrl"}."""
    schemas = run.composition.get("schemas") or {}
    return {path: name.rpartition("/")[2] for path, name in schemas.items() if path.split(".")[0] not in VOLATILE}


def _swept(runs: list[Run]) -> list[dict[str, Scalar]] | None:
    """What their sweep varies of them; None where they are not of one sweep, or that does not tell them apart."""
    sweeps = {run.run_dir.parent for run in runs}
    members = {member.folder: member.parameters for member in read_members(sweeps.pop())} if len(sweeps) == 1 else {}
    if not all(run.run_dir.name in members for run in runs):
        return None
    asked = [{key: _scalar(value) for key, value in members[run.run_dir.name].items()} for run in runs]
    # The sweep may have been called again to vary more than it did when a member was asked for.
    known = [dict(_flat(_config(run))) | of_run for run, of_run in zip(runs, asked, strict=True)]
    parameters = _differing(known, [key for of_run in asked for key in of_run if key != SEED])
    return parameters if len({tuple(of_run.items()) for of_run in parameters}) == len(runs) else None


def _what_differs(runs: list[Run]) -> list[dict[str, Scalar]]:
    """What differs among the configs. Of parts that are different options, only which."""
    schemas = [_schemas(run) for run in runs]
    paths = {path for of_run in schemas for path in of_run}
    other_options = {path for path in paths if len({of_run.get(path) for of_run in schemas}) > 1}
    flat: list[dict[str, Scalar]] = []
    for run, options in zip(runs, schemas, strict=True):
        config = {key: value for key, value in _config(run).items() if key not in (*VOLATILE, SEED)}
        values = {path: options.get(path) for path in other_options} | dict(_flat(config))
        flat.append({**values, **_facts(run)})

    def counts(key: str) -> bool:
        parents = {key[:n] for n in range(len(key)) if key[n] == "."}
        return not parents & other_options or all(key in of_run for of_run in flat)

    return _differing(flat, [key for of_run in flat for key in of_run if counts(key)])


def _differing(facts: list[dict[str, Scalar]], keys: list[str]) -> list[dict[str, Scalar]]:
    """Those keys by which they differ, but for one that says the same as one before it."""
    columns: dict[str, list[Scalar]] = {}
    for key in dict.fromkeys(keys):
        column = [of_run.get(key) for of_run in facts]
        if len(set(map(str, column))) > 1 and column not in columns.values():
            columns[key] = column
    return [{key: column[n] for key, column in columns.items()} for n in range(len(facts))]


def _labels(groups: list[list[Run]], parameters: list[dict[str, Scalar]]) -> list[str]:
    """Of what differs; where that is nothing or is cut off, with the name of the run, or of the sweep of several."""
    labels = [label({key: str(value) for key, value in of_run.items()}) if of_run else "" for of_run in parameters]
    taken = Counter(labels)
    names = (_name(runs) for runs in groups)
    named = (f"{words}__{name}" if words else name for words, name in zip(labels, names, strict=True))
    return [name if taken[words] > 1 or not words else words for words, name in zip(labels, named, strict=True)]


def _name(runs: list[Run]) -> str:
    folders = {run.run_dir.parent for run in runs}
    return folders.pop().name if len(runs) > 1 and len(folders) == 1 else runs[0].name


def _flat(config: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Scalar]]:
    for key, value in config.items():
        if isinstance(value, dict) and value:
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", _scalar(value)


def _scalar(value: Any) -> Scalar:
    return value if isinstance(value, str | int | float | bool | None) else str(value)


def _order(value: Scalar) -> tuple[bool, float, str]:
    """Numbers before words, by their value."""
    number = value if isinstance(value, int | float) else 0
    return isinstance(value, str), number, str(value)
