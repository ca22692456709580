"""The run that is repeated: what it was, what has changed since, and the composition of its repeat."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

from mmexp.composition import TYPES, Composition, thaw, write
from mmexp.experiment import Task
from mmexp.recording.environment import environment
from mmexp.recording.status import read_result
from mmexp.recording.unreadable import read_json
from mmexp.repeat.conditions import Change, code_changes, machine_changes
from mmexp.repeat.mark import has_verdict, mark
from mmexp.schema import ConfigError
from mmexp.sweep.member import refuse_sweep


@dataclass(frozen=True)
class Original:
    """A finished run. Nothing in its folder is changed."""

    composition: Composition
    result: dict[str, Any]
    environment: dict[str, Any]

    @classmethod
    def read(cls, run_dir: Path) -> Original:
        """Raises `ConfigError` for a folder that holds no finished run."""
        refuse_sweep(run_dir)
        composition = thaw(run_dir)
        result = read_result(run_dir)
        if result["status"] != "finished":
            raise ConfigError(
                f"{run_dir} is {result['status']}, and only a finished run has all the numbers to compare. Finish it "
                f"with: python -m mmexp.resume {run_dir}"
            )
        return cls(composition, result, read_json(run_dir / "environment.json"))

    @property
    def run_dir(self) -> Path:
        return self.composition.run_dir

    def changes(self, repeat: Composition) -> list[Change]:
        """What would be different of its repeat, and may change the numbers. Reads the data.

        Raises `ConfigError` where the data is gone.
        """
        then, now = self.composition.experiment.launch.num_ranks, repeat.experiment.launch.num_ranks
        processes = [Change("processes", str(then), str(now))] if then != now else []
        return [*code_changes(self.environment, environment()), *processes, *self._data_changes()]

    @property
    def is_determined(self) -> bool:
        """Whether nothing in it depends on the order in which processes or a GPU's threads come by."""
        return (self.result.get("num_processes"), self.result.get("num_gpus")) == (1, 0)

    def other_machine(self) -> list[Change]:
        """What is different of the machine."""
        return machine_changes(self.environment, environment())

    def _data_changes(self) -> list[Change]:
        from mmexp.kinds import kind_of

        experiment = self.composition.experiment
        try:
            data = kind_of(experiment).build_data(for_training=experiment.task is Task.train)
        except ConfigError as error:
            raise ConfigError(f"the data of {self.run_dir} is not there as it was: {error}") from error
        then, now = self.result["data_fingerprint"], data.fingerprint()
        return [Change("data", then, now)] if then != now else []

    def repeat(self) -> Composition:
        """The composition of a repeat that has begun and has no verdict yet, or of a new one, in a folder beside it."""
        folders = (self.run_dir.with_name(f"{self.run_dir.name}-repeat-{n}") for n in count(1))
        run_dir = next(folder for folder in folders if not has_verdict(folder))
        run_dir.mkdir(exist_ok=True)
        mark(run_dir, self.run_dir)
        if (run_dir / TYPES).exists():
            return thaw(run_dir)
        repeat = dataclasses.replace(self.composition, run_dir=run_dir, experiment=self._experiment(), halvings=[])
        write(repeat)
        return repeat

    def _experiment(self) -> Any:
        """It uploads nothing, and finds nothing that the original has left."""
        experiment = self.composition.experiment
        return dataclasses.replace(
            experiment,
            hub=dataclasses.replace(experiment.hub, model_id=None),
            tracking=dataclasses.replace(experiment.tracking, push_to_space=None),
            evaluation=dataclasses.replace(experiment.evaluation, reuse_baseline=False),
        )
