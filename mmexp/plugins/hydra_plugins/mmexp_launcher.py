"""What Hydra's sweepers hand the members of a sweep to. Hydra takes launchers from the namespace `hydra_plugins` alone.

Any sweeper works: it gets the primary metric of each member. One that did not finish gives None, which Optuna takes for
a failed trial, and no exception, which would end the sweep.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra.core.config_store import ConfigStore
from hydra.core.utils import JobReturn, JobStatus, filter_overrides
from hydra.plugins.launcher import Launcher
from omegaconf import DictConfig, open_dict

from mmexp.schema import ConfigError

if TYPE_CHECKING:
    from hydra.types import HydraContext, TaskFunction

    from mmexp.sweep.folder import Asked


# No dataclass: Hydra runs this module before Python knows it, and dataclasses look their module up.
CONFIG = {"_target_": "hydra_plugins.mmexp_launcher.MembersLauncher"}
ConfigStore.instance().store(group="hydra/launcher", name="members", node=CONFIG, provider="mmexp")


class MembersLauncher(Launcher):
    """Composes all members of a batch, then has those run that are not finished."""

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        from mmexp.sweep.folder import SweepFolder

        self._config = config
        self._loader = hydra_context.config_loader
        self._optimises = "direction" in config.hydra.sweeper
        if self._optimises:
            check_direction(config.hydra.sweeper.direction)
        # A plan neither waits for a sweep that runs in the folder, nor is one.
        self._path = Path(config.hydra.sweep.dir)
        self._folder = None if is_plan(config.task) else SweepFolder.open(self._path)

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        asked = [self._compose(list(overrides)) for overrides in job_overrides]
        if self._folder is None or any(is_plan(one.experiment.task) for one in asked):
            self._plan(asked)
            return [JobReturn(overrides=overrides, status=JobStatus.COMPLETED) for overrides in job_overrides]
        if self._optimises and not all(one.experiment.launch.waits for one in asked):
            raise ConfigError(
                "the sweeper chooses members by what earlier ones came to, and launch does not wait for them. Use "
                "launch.wait=true and launch.dry_run=false, or hydra/sweeper=basic."
            )
        metrics = self._folder.run(asked)
        return [
            JobReturn(overrides=overrides, status=JobStatus.COMPLETED, _return_value=metric)
            for overrides, metric in zip(job_overrides, metrics, strict=True)
        ]

    def _plan(self, asked: Sequence[Asked]) -> None:
        from mmexp.plan.sweep import plan_members

        if self._folder is not None or not all(is_plan(one.experiment.task) for one in asked):
            raise ConfigError("task=plan cannot be swept with other tasks: a plan runs nothing. Give task=plan alone.")
        if self._optimises:
            raise ConfigError(
                "task=plan has no NDCG@10 for the sweeper to choose members by. Use hydra/sweeper=basic, with the "
                "values that you want to know of."
            )
        plan_members(asked, self._path)

    def _compose(self, overrides: list[str]) -> Asked:
        from mmexp.sweep.folder import Asked
        from mmexp.sweep.names import swept
        from mmexp.typed_config import to_experiment

        config = self._loader.load_sweep_config(self._config, overrides)
        with open_dict(config):
            del config["hydra"]
        of_member = list(filter_overrides(overrides))
        return Asked(to_experiment(config), of_member, swept(of_member, self._config.hydra.overrides.task))


def is_plan(task: Any) -> bool:
    """Whether a task, as it is composed or as it was typed, is that of a plan."""
    return getattr(task, "value", task) == "plan"


def check_direction(direction: Any) -> None:
    """Raise `ConfigError` where a sweeper would look for the worst model, which is Optuna's default."""
    name = getattr(direction, "name", direction)
    if name != "maximize":
        raise ConfigError(
            f"hydra.sweeper.direction={name} would look for the lowest NDCG@10. Use hydra.sweeper.direction=maximize."
        )
