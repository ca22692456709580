"""`python -m mmexp.resume RUN_DIR [launch...=... ...]`: continue a run from its newest checkpoint, in its own folder.

RUN_DIR may be the folder of a sweep, of which all members are run that are not finished. Each is continued as it was
composed, whatever the configs are by now. Only where it runs may change: launch=accelerate launch.num_processes=4, and
sweep.at_once=2 of a sweep.
"""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path

from hydra import compose, initialize_config_dir
from hydra.errors import HydraException
from omegaconf.errors import OmegaConfBaseException

from mmexp.__main__ import CONF
from mmexp.composition import Composition, thaw, write
from mmexp.composition_errors import explain
from mmexp.experiment import Experiment
from mmexp.parser import Parser, ending_in_words
from mmexp.processes.out_of_memory import with_half_the_mini_batch
from mmexp.rank import log_into
from mmexp.recording.run_files import refuse_while_run
from mmexp.recording.status import read_result
from mmexp.schema import ConfigError
from mmexp.slurm.jobs import refuse_while_queued
from mmexp.sweep.folder import INDEX, SweepFolder
from mmexp.typed_config import register, to_experiment
from mmexp.user_modules import imported_folders


def resume() -> None:
    asked = parser().parse_args()
    folder, overrides = asked.run_dir, asked.where
    with ending_in_words():
        if (folder / INDEX).exists():
            resume_sweep(SweepFolder.open(folder), overrides)
        else:
            resume_run(thaw(folder), overrides)


def parser() -> Parser:
    """The command line."""
    made = Parser("mmexp.resume", __doc__)
    made.add_argument("run_dir", type=Path, metavar="RUN_DIR", help="folder of a run or of a sweep")
    made.add_argument("where", nargs="*", default=[], metavar="launch...=...", help="where it goes on")
    return made


def resume_sweep(sweep: SweepFolder, overrides: list[str]) -> None:
    """Run the members that are not finished."""
    of_launch, of_sweep = (any(override.startswith(key) for override in overrides) for key in ("launch", "sweep"))
    asked = composed_of(overrides, ("launch", "sweep.at_once")) if overrides else None
    sweep.go_on(asked.launch if asked and of_launch else None, asked.sweep.at_once if asked and of_sweep else None)
    sweep.conclude()


def resume_run(composition: Composition, overrides: list[str]) -> None:
    """Continue a single run."""
    refuse_while_queued(composition.run_dir)
    refuse_while_run(composition.run_dir)
    if read_result(composition.run_dir)["status"] == "finished":
        sys.exit(f"mmexp: {composition.run_dir} is finished: there is nothing to continue.")
    composition = launched_by(composition, overrides)
    composition.enter()
    log_into(composition)
    composition = with_half_the_mini_batch(composition) or composition
    composition.experiment.launch.launch(composition)


def launched_by(composition: Composition, overrides: list[str]) -> Composition:
    """The composition with another launcher, where `overrides` say so."""
    if not overrides:
        launch = dataclasses.replace(composition.experiment.launch, dry_run=False)
        return dataclasses.replace(composition, experiment=dataclasses.replace(composition.experiment, launch=launch))
    launch = composed_of(overrides, ("launch",)).launch
    changed = dataclasses.replace(composition, experiment=dataclasses.replace(composition.experiment, launch=launch))
    if not launch.dry_run:
        write(changed)
    return changed


def composed_of(overrides: list[str], allowed: tuple[str, ...]) -> Experiment:
    """An experiment of which `overrides` say where it runs. Raises `ConfigError` for keys that are not `allowed`."""
    if others := [override for override in overrides if not override.startswith(allowed)]:
        raise ConfigError(
            f"{others[0]} cannot change while a run is continued: only {' and '.join(allowed)} can. Start a new run "
            "with it."
        )
    register()
    search = ",".join(f"file://{folder}" for folder in imported_folders)
    try:
        with initialize_config_dir(str(CONF), version_base="1.3"):
            return to_experiment(compose("config", overrides=[*overrides, f"hydra.searchpath=[{search}]"]))
    except (HydraException, OmegaConfBaseException) as error:
        raise ConfigError(explain(error)) from error


if __name__ == "__main__":
    resume()
