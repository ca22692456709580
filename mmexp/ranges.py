"""Numbers that must lie in a range, and names of folders: checked with the config, before anything starts."""

from __future__ import annotations

import math
import re
from numbers import Real
from typing import TYPE_CHECKING, Any

from mmexp.schema import ConfigError

if TYPE_CHECKING:
    from mmexp.experiment import Experiment

LEAST = {
    "seed": 0,
    "profile_steps": 1,
    "early_stopping_patience": 1,
    "evaluation.num_tokens": 1,
    "trainer.per_device_train_batch_size": 1,
    "trainer.gradient_accumulation_steps": 1,
    "trainer.dataloader_num_workers": 0,
    "trainer.learning_rate": 0,
    "trainer.warmup_steps": 0,
    "trainer.max_grad_norm": 0,
}
# Numbers of `trainer` that are counts; it has no types before it is built.
COUNTS = ("per_device_train_batch_size", "gradient_accumulation_steps", "dataloader_num_workers", "max_steps")
OF_TRAINER = ("num_train_epochs", "eval_steps", "save_steps", "logging_steps")
ABOVE_0 = ("loss.scale", *(f"trainer.{key}" for key in OF_TRAINER))


def check_ranges(experiment: Experiment) -> None:
    """Raise `ConfigError` for a number that is none, or out of its range."""
    for key, least in LEAST.items():
        check_least(key, value_of(experiment, key), least)
    for key in (f"trainer.{name}" for name in COUNTS):
        value = number_of(key, value_of(experiment, key))
        if value is not None and value != int(value):
            raise ConfigError(f"{key}={value} is no whole number. Use {key}={max(1, round(value))}.")
    for part, rate in experiment.learning_rates.items():
        check_least(f"learning_rates.{part.value}", rate, 0)
    for key in ABOVE_0:
        if (value := number_of(key, value_of(experiment, key))) is not None and not value > 0:
            raise ConfigError(f"{key}={value} is not above 0. Use a positive number.")
    steps = number_of("trainer.max_steps", value_of(experiment, "trainer.max_steps"))
    if steps is not None and steps < 1 and steps != -1:
        raise ConfigError(f"trainer.max_steps={steps} is below 1. Use 1 or more, or -1 for trainer.num_train_epochs.")


def check_least(key: str, value: Any, least: int) -> None:
    """Raise `ConfigError` for a value that is no number, or below `least`. None: the key is not set."""
    value = number_of(key, value)
    if value is not None and not value >= least:
        raise ConfigError(f"{key}={value} is below {least}. Use {least} or more.")


def check_folder_name(key: str, name: str, such_as: str) -> None:
    """Raise `ConfigError` for what cannot be the name of a folder of its own."""
    if not re.fullmatch(r"\w[\w.+=-]*", name):
        raise ConfigError(
            f"{key}={name} is no name of a folder. Use letters, digits and . + = - _, such as {key}={such_as}; "
            "output_root=... says where it lies."
        )


def number_of(key: str, value: Any) -> Any:
    if value is not None and (isinstance(value, bool) or not isinstance(value, Real) or math.isnan(value)):
        raise ConfigError(f"{key}={value} is no number.")
    return value


def value_of(experiment: Experiment, key: str) -> Any:
    """What the config says, None where it has no such key."""
    found: Any = experiment
    for name in key.split("."):
        found = found.get(name) if isinstance(found, dict) else getattr(found, name, None)
    return found
