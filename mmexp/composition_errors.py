"""Hydra's and OmegaConf's errors in one line: which key, why not, what to type instead."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hydra.core.config_store import ConfigStore
from hydra.errors import HydraException, MissingConfigException, OverrideParseException
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from mmexp.schema import ConfigError, did_you_mean


def refuse_values_of_groups(overrides: Sequence[str], folder: Path) -> None:
    """Raise `ConfigError` for a list, mapping or number where one option of a config group in `folder` is chosen."""
    for override in overrides:
        match = re.fullmatch(r"\+{0,2}(\w+)=([\[{].*|-?[\d.]+)", override)
        if match and (folder / match[1]).is_dir():
            options = ", ".join(sorted(file.stem for file in (folder / match[1]).glob("*.yaml")))
            raise ConfigError(
                f"{override} cannot be: {match[1]} is chosen by name ({options}), and its keys are typed one by one, "
                f"{match[1]}.KEY=VALUE."
            )


def explain(error: HydraException | OmegaConfBaseException) -> str:
    """One line that says what was asked, why it cannot be, and what to type instead."""
    first_line = str(error).splitlines()[0]
    if isinstance(error, MissingConfigException) and error.options is not None:
        group, _, option = (error.missing_cfg_file or "").rpartition("/")
        options = ", ".join(error.options)
        near = did_you_mean(option, error.options)
        return f"{group}={option}: there is no option {option!r} in {group}/.{near} Options: {options}."
    if match := re.match(r"In '([^']+)': Could not load 'schema/(\w+)/(\w+)'", str(error)):
        return (
            f"{match[1]}.yaml asks for schema/{match[2]}/{match[3]}, which no module has. Put {match[2]}/{match[3]}.py "
            f'with @schema("{match[2]}", "{match[3]}"), into the folder that --config-dir names.'
        )
    if match := re.match(r"Ambiguous value for argument '([^']+)'", first_line):
        key, _, value = match[1].partition("=")
        return (
            f'{match[1]} has several values. Add -m to sweep over them; a list is "{key}=[{value}]", and a text with a '
            f"comma \"{key}='{value}'\"."
        )
    if isinstance(error, OverrideParseException):
        return _unreadable(error.override)
    if match := re.match(r"Could not override '([^']+)'", first_line):
        return _unknown_key(match[1])
    if match := re.match(r"Error merging override '?([^']+)'?", first_line):
        reason = str(error.__cause__ or error).splitlines()[0]
        return f"{match[1]} cannot be: {reason}."
    return " ".join(str(error).split())


def _unreadable(override: str) -> str:
    """What Hydra's grammar does not take, whose own words name its symbols."""
    key, equals, value = override.partition("=")
    if not equals:
        return f"{override} says no value. Type {override}=VALUE."
    quoted = value.strip("'\"").replace("'", "\\'")
    return (
        f"{override} cannot be read: brackets and quotes must close, and a value with = ( ) and the like in it must be "
        f"quoted, within the quotes of the shell: \"{key}='{quoted}'\"."
    )


def _unknown_key(key: str) -> str:
    """Point at the nearest key on the same level, and at the options of the group that do have the key."""
    *path, last = key.split(".")
    keys_of = _keys_at(path)
    if not path and last in ("experiment", "debug", "benchmark"):
        return f"{key}=... is no key of the config by itself. Type +{key}=... instead."
    if owners := [option for option, keys in keys_of.items() if path and last in keys]:
        return (
            f"{key} is no key of the chosen {path[0]}. These have it: {', '.join(owners)} (schemas of {path[0]}=...)."
        )
    known = sorted({key for keys in keys_of.values() for key in keys})
    where = f"{'.'.join(path)} has" if path else "The config has"
    if len(keys_of) > 1:
        where = f"The options of {'.'.join(path)} have, one or another"
    listed = f" {where}: {', '.join(known)}." if known else ""
    return f"{key} is no key of the config.{did_you_mean(last, known)}{listed}"


def _keys_at(path: list[str]) -> dict[str, set[str]]:
    """The keys at `path`, by option of the config group it lies in: {option: keys}."""
    experiment = ConfigStore.instance().repo["schema"]["experiment.yaml"].node
    if not path:
        return {"experiment": {*map(str, experiment), "experiment", "debug"}}
    schemas = ConfigStore.instance().repo["schema"].get(path[0])
    nodes: dict[str, Any] = {}
    if isinstance(schemas, dict):
        options = {name: entry for name, entry in schemas.items() if not isinstance(entry, dict)}  # a group is a dict
        nodes = {name.removesuffix(".yaml"): entry.node for name, entry in options.items()}
    elif path[0] in experiment:
        nodes = {path[0]: experiment[path[0]]}
    for key in path[1:]:
        nodes = {name: node[key] for name, node in nodes.items() if OmegaConf.is_dict(node) and key in node}
    return {name: {str(key) for key in node} for name, node in nodes.items() if OmegaConf.is_dict(node)}
