"""`python -m mmexp.resume RUN_DIR [launch...=... ...]`: continue a run from its newest checkpoint, in its own folder.

It is continued as it was composed, whatever the configs are by now. Only where it runs may change: launch=accelerate
launch.num_processes=4.
"""

from __future__ import annotations

import dataclasses
import os
import sys
from pathlib import Path

from hydra import compose, initialize_config_dir

from mmexp.__main__ import CONF, complain
from mmexp.composition import Composition, thaw, write
from mmexp.experiment import register, to_experiment
from mmexp.outcome import RunFailed
from mmexp.rank import log_into
from mmexp.schema import ConfigError
from mmexp.slurm.jobs import refuse_while_queued


def resume() -> None:
    if len(sys.argv) < 2 or sys.argv[1] in ("-h", "--help"):
        sys.exit(__doc__)
    try:
        composition = thaw(Path(sys.argv[1]))
        refuse_while_queued(composition.run_dir)
        composition = launched_by(composition, sys.argv[2:])
        if '"status": "finished"' in read(composition.run_dir / "result.json"):
            sys.exit(f"mmexp: {composition.run_dir} is finished: there is nothing to continue.")
        os.chdir(composition.working_directory)
        log_into(composition)
        composition.experiment.launch.launch(composition)
    except ConfigError as error:
        complain(str(error))
    except RunFailed as failed:
        failed.end_with_its_words()


def launched_by(composition: Composition, overrides: list[str]) -> Composition:
    """The composition with another launcher, where `overrides` say so. Raises `ConfigError` for other keys."""
    if not overrides:
        launch = dataclasses.replace(composition.experiment.launch, dry_run=False)
        return dataclasses.replace(composition, experiment=dataclasses.replace(composition.experiment, launch=launch))
    if others := [override for override in overrides if not override.startswith("launch")]:
        raise ConfigError(
            f"{others[0]} cannot change while a run is continued: only launch=... and launch.* can. Start a new run "
            "with it."
        )
    register()
    with initialize_config_dir(str(CONF), version_base="1.3"):
        launch = to_experiment(compose("config", overrides=overrides)).launch
    experiment = dataclasses.replace(composition.experiment, launch=launch)
    changed = dataclasses.replace(composition, experiment=experiment)
    write(changed)
    return changed


def read(file: Path) -> str:
    return file.read_text() if file.exists() else ""


if __name__ == "__main__":
    resume()
