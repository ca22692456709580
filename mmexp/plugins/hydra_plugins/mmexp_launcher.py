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
        self._folder = SweepFolder.open(Path(config.hydra.sweep.dir))

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        asked = [self._compose(list(overrides)) for overrides in job_overrides]
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

    def _compose(self, overrides: list[str]) -> Asked:
        from mmexp.experiment import to_experiment
        from mmexp.sweep.folder import Asked
        from mmexp.sweep.names import swept

        config = self._loader.load_sweep_config(self._config, overrides)
        with open_dict(config):
            del config["hydra"]
        of_member = list(filter_overrides(overrides))
        return Asked(to_experiment(config), of_member, swept(of_member, self._config.hydra.overrides.task))


def check_direction(direction: Any) -> None:
    """Raise `ConfigError` where a sweeper would look for the worst model, which is Optuna's default."""
    name = getattr(direction, "name", direction)
    if name != "maximize":
        raise ConfigError(
            f"hydra.sweeper.direction={name} would look for the lowest NDCG@10. Use hydra.sweeper.direction=maximize."
        )
