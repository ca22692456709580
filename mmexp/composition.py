"""A run as it was composed, once. Every process of it reads this, now and when it is continued; nobody composes again.

A run folder holds it in two files: config.yaml has the values, and composition.yaml what makes them typed again.
"""

from __future__ import annotations

import dataclasses
import hashlib
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig, OmegaConf

from mmexp.recording.run_files import read_rows, write_whole
from mmexp.recording.unreadable import as_mapping, reading
from mmexp.schema import SCHEMAS, ConfigError, register_components
from mmexp.user_modules import import_modules_of, imported_folders

if TYPE_CHECKING:
    from mmexp.experiment import Experiment

VALUES, TYPES = "config.yaml", "composition.yaml"


@dataclass(frozen=True)
class Composition:
    """One run: what, where, and the words it was asked for with."""

    experiment: Experiment
    run_dir: Path
    overrides: list[str]
    working_directory: Path
    """What relative paths of the experiment are relative to."""

    halvings: list[dict[str, Any]] = field(default_factory=list)
    """How often its mini-batch was halved for want of memory: {key, before, after} of each."""

    @property
    def digest(self) -> str:
        """16 hexadecimal digits over the files that hold the composition: equal on all ranks, or they do not train."""
        content = b"\0".join((self.run_dir / name).read_bytes() for name in (VALUES, TYPES))
        return hashlib.sha256(content).hexdigest()[:16]

    def enter(self) -> None:
        """Go where relative paths of the experiment begin. Raises `ConfigError` where that is no folder any more."""
        try:
            os.chdir(self.working_directory)
        except OSError as error:
            raise ConfigError(
                f"{self.run_dir} was started in {self.working_directory}, where its relative paths begin, and that "
                f"cannot be entered: {error.strerror}. Put the folder back, or correct working_directory in "
                f"{self.run_dir / TYPES}."
            ) from error


def freeze(experiment: Experiment, run_dir: Path, overrides: list[str]) -> Composition:
    """Write the composition of a run that begins.

    Raises `ConfigError` where the folder holds a run already, or cannot be written to, and for overrides that would be
    ignored, or name a benchmark that there is not.
    """
    experiment.refuse_ignored(overrides)
    experiment.refuse_unknown_tasks()
    if read_rows(run_dir / "metrics.jsonl"):
        raise ConfigError(f"{run_dir} holds a run already. Continue it with: python -m mmexp.resume {run_dir}")
    composition = Composition(experiment, run_dir.resolve(), overrides, Path.cwd())
    write(composition)
    return composition


def write(composition: Composition) -> None:
    """Write both files."""
    experiment = composition.experiment
    types = {
        "overrides": composition.overrides,
        "working_directory": str(composition.working_directory),
        "config_folders": [str(folder) for folder in imported_folders],
        "schemas": dict(schemas_of(experiment)),
        "halvings": composition.halvings,
    }
    try:
        write_whole(composition.run_dir / VALUES, OmegaConf.to_yaml(escaped(plain_config(experiment))))
        write_whole(composition.run_dir / TYPES, OmegaConf.to_yaml(escaped(types)))
    except OSError as error:
        raise ConfigError(
            f"the run folder {composition.run_dir} cannot be written to: {error}. Choose another with output_root=..."
        ) from error


def escaped(value: Any) -> Any:
    """A value in whose words `${...}` stands for itself: what it was to mean in a config, it has become."""
    if isinstance(value, dict):
        return {key: escaped(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [*map(escaped, value)]
    return re.sub(r"(\\*)\$\{", r"\1\1\\${", value) if isinstance(value, str) else value


def thaw(run_dir: Path, digest: str | None = None) -> Composition:
    """The composition of the run in `run_dir`.

    Raises `ConfigError` where there is none, or where it is another than that of `digest`.
    """
    if not (run_dir / TYPES).exists():
        raise ConfigError(
            f"{run_dir} is no run folder: it has no {TYPES}. Give one such as multirun/A/B; where several nodes run "
            "it, output_root must be on a file system that they share."
        )
    types = _load(run_dir / TYPES, "config_folders", "schemas", "overrides", "working_directory", "halvings")
    register_components()
    import_modules_of([Path(folder) for folder in types.config_folders])
    composition = Composition(
        experiment=_typed(run_dir, types.schemas),
        run_dir=run_dir.resolve(),
        overrides=list(types.overrides),
        working_directory=Path(types.working_directory),
        halvings=OmegaConf.to_container(types.halvings),  # type: ignore[arg-type]
    )
    if digest is not None and composition.digest != digest:
        raise ConfigError(
            f"the composition in {run_dir} is {composition.digest}, and this process was started for {digest}: it was "
            f"changed meanwhile, or nodes see different files. Start again with: python -m mmexp.resume {run_dir}"
        )
    return composition


def _typed(run_dir: Path, schemas: Any) -> Experiment:
    from mmexp.typed_config import experiment_node, to_experiment

    node = experiment_node()
    for path, name in schemas.items():
        if name not in SCHEMAS:
            raise ConfigError(
                f"{run_dir / TYPES} names {name}, which no module has. A module of one's own is looked for in the "
                "config_folders that stand there: put it back, or correct them."
            )
        OmegaConf.update(node, path, OmegaConf.structured(SCHEMAS[name]), merge=False)
    merged = OmegaConf.merge(node, _load(run_dir / VALUES))
    return to_experiment(merged)  # type: ignore[arg-type]


def _load(file: Path, *keys: str) -> DictConfig:
    """A YAML file that has these keys. Raises `UnreadableFile`."""
    with reading(file):
        loaded = OmegaConf.load(file)
        as_mapping(OmegaConf.to_container(loaded))
        assert isinstance(loaded, DictConfig)
        if missing := [key for key in keys if key not in loaded]:
            raise ValueError(f"it has no {missing[0]}")
    return loaded


def schemas_of(config: Any, path: str = "") -> Iterator[tuple[str, str]]:
    """(path, schema) of every component below `config`, outer ones first."""
    if dataclasses.is_dataclass(config):
        inner = [(field.name, getattr(config, field.name)) for field in dataclasses.fields(config)]
    else:
        inner = list(config.items()) if isinstance(config, dict) else []
    names = {config_class: name for name, config_class in SCHEMAS.items()}
    for key, value in inner:
        name = f"{path}{getattr(key, 'value', key)}"
        if type(value) in names:
            yield name, names[type(value)]
        yield from schemas_of(value, f"{name}.")


def plain_config(experiment: Experiment) -> dict[str, Any]:
    """The experiment as plain dictionaries, lists and scalars."""
    container = OmegaConf.to_container(OmegaConf.structured(experiment), enum_to_str=True)
    assert isinstance(container, dict)
    return {str(key): value for key, value in container.items()}
