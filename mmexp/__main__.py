"""`python -m mmexp [+experiment=NAME] [key=value ...]`: compose the config, then launch what it describes."""

from __future__ import annotations

import os
import re
import sys
import traceback
from pathlib import Path
from typing import NoReturn

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from mmexp.composition import TYPES, VALUES
from mmexp.composition_errors import explain, refuse_values_of_groups
from mmexp.experiment import Experiment
from mmexp.processes.outcome import RunFailed
from mmexp.recording.run_files import remove_if_only
from mmexp.recording.terminal import print_config
from mmexp.schema import ConfigError
from mmexp.sweep.folder import SweepFolder
from mmexp.typed_config import register, to_experiment
from mmexp.user_modules import import_user_modules

# In a wheel, conf/ lies inside the package; in a checkout, beside it.
CONF = next(
    folder for folder in (Path(__file__).parent / "conf", Path(__file__).parent.parent / "conf") if folder.is_dir()
)


def compose_and_launch(config: DictConfig) -> float:
    """What Hydra calls for a single run. The members of a sweep go to plugins/hydra_plugins/mmexp_launcher.py."""
    hydra_config = HydraConfig.get()
    run_dir = Path(hydra_config.runtime.output_dir)
    overrides = list(hydra_config.overrides.task)
    try:
        experiment = to_experiment(config)
        refuse_sweep_keys(overrides)
    except ConfigError as error:
        discard(run_dir)
        complain(str(error))
    print_config(config)
    try:
        return experiment.start(run_dir, overrides)
    except ConfigError as error:
        discard(run_dir)
        complain(str(error))
    except RunFailed as failed:
        failed.end_with_its_words()


def main(
    arguments: list[str] | None = None,
    config_name: str = "config",
    experiment_class: type[Experiment] = Experiment,
) -> None:
    """Entry point. Exit code 2 and one line for what cannot be as asked; 1 and a traceback for anything else.

    `config_name` is the root in conf/, and `experiment_class` what the config becomes.
    """
    # Let errors of composition through to us: Hydra would print a trace of its own and exit.
    os.environ.setdefault("HYDRA_FULL_ERROR", "1")
    sys.argv[1:] = arrange(sys.argv[1:] if arguments is None else arguments)
    register(experiment_class)
    import_user_modules(sys.argv[1:])
    try:
        refuse_values_of_groups(sys.argv[1:], CONF)
        hydra.main(version_base="1.3", config_path=str(CONF), config_name=config_name)(compose_and_launch)()
    except ConfigError as error:
        refuse(str(error))
    except (HydraException, OmegaConfBaseException) as error:
        refuse(explain(error))
    except Exception as error:
        if SweepFolder.opened is not None:
            traceback.print_exc()  # such as Optuna's where no member has finished
            SweepFolder.opened.conclude()
            sys.exit(1)
        if not isinstance(error, OSError) or has_begun(error):
            raise
        refuse(f"the run folder cannot be made: {error}. Choose a folder that can be written to with output_root=...")
    if SweepFolder.opened is not None:
        SweepFolder.opened.conclude()


def refuse_sweep_keys(overrides: list[str]) -> None:
    """Raise `ConfigError` for what was typed of a sweep, with a single run."""
    if typed := [override for override in overrides if re.match(r"\+{0,2}sweep\.", override)]:
        raise ConfigError(f"{typed[0]} would be ignored: it is for a sweep. Add -m, or leave it out.")


def has_begun(error: Exception) -> bool:
    """Whether Hydra had made the run folder, and called what runs in it."""
    return "compose_and_launch" in {frame.name for frame in traceback.extract_tb(error.__traceback__)}


def refuse(message: str) -> NoReturn:
    """Leave nothing of a sweep that did not begin, and say why."""
    if SweepFolder.opened is not None:
        SweepFolder.opened.discard_if_empty()
    complain(message)


def arrange(arguments: list[str]) -> list[str]:
    """Without an experiment, the embedded one; `+benchmark=` and `+debug=` last of the overrides, so that they win over
    any experiment."""
    is_override = re.compile(r"~|[^-].*=")
    at = [n for n, argument in enumerate(arguments) if is_override.match(argument)]
    # Hydra takes no null for a config group, which is what these are without one.
    overrides = [re.sub(r"^(adapter|reranker_arch)=null$", r"\1=none", arguments[n]) for n in at]
    if any(override.startswith("+sweep=") for override in overrides):
        # Its YAML names an experiment, which another takes the place of.
        overrides = [re.sub(r"^\+experiment=", "experiment=", override) for override in overrides]
    elif not any(re.match(r"\+{0,2}experiment=|\+benchmark=", override) for override in overrides):
        overrides.insert(0, "+experiment=vdr_tiny")
    overrides.sort(key=lambda override: override.startswith("+benchmark=") + 2 * override.startswith("+debug="))
    first = at[0] if at else 0
    others = [argument for n, argument in enumerate(arguments) if n not in at]
    return [*others[:first], *overrides, *others[first:]]


def discard(run_dir: Path) -> None:
    """Remove the folder that Hydra made for a run that never began."""
    remove_if_only(run_dir, {".hydra", "mmexp.log", VALUES, TYPES})


def complain(message: str) -> NoReturn:
    """One line on the error stream, exit code 2."""
    print(f"mmexp: {' '.join(message.split())}", file=sys.stderr)
    sys.exit(2)


if __name__ == "__main__":
    main()
