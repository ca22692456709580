"""From Hydra's config to the typed experiment: the schemas that Hydra composes by, and what comes out."""

from __future__ import annotations

import sys
from pathlib import Path

from hydra.core.config_store import ConfigStore
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import MissingMandatoryValue

from mmexp.experiment import Experiment
from mmexp.schema import ConfigError, did_you_mean, register_components

PLUGINS = str(Path(__file__).parent / "plugins")


def register(experiment_class: type[Experiment] = Experiment) -> None:
    """Store every schema; `experiment_class` is that of the config's root. Call before Hydra composes."""
    register_components()
    if PLUGINS not in sys.path:
        sys.path.append(PLUGINS)  # where Hydra looks for hydra_plugins
    node = experiment_node(experiment_class)
    ConfigStore.instance().store(group="schema", name="experiment", node=node, provider="mmexp")


def experiment_node(experiment_class: type[Experiment] = Experiment) -> DictConfig:
    """The typed root of a config, its components still missing."""
    node = OmegaConf.structured(experiment_class)
    # The library's training arguments are the schema of `trainer`: any key may be set without a "+".
    OmegaConf.set_struct(node.trainer, False)
    OmegaConf.set_struct(node.learning_rates, False)
    return node


def to_experiment(config: DictConfig) -> Experiment:
    """The validated experiment. Raises `ConfigError` for values that are missing or contradict each other."""
    refuse_unknown_keys(config)
    try:
        experiment = OmegaConf.to_object(config)
    except MissingMandatoryValue as error:
        key = error.full_key
        raise ConfigError(f"{key} is not set and has no default. Give it on the command line: {key}=...") from error
    assert isinstance(experiment, Experiment)
    return experiment


def refuse_unknown_keys(config: DictConfig, path: str = "") -> None:
    """`+key=value` adds a key to any config; one that no schema has would be read by nobody."""
    known = getattr(OmegaConf.get_type(config), "__dataclass_fields__", None)
    for key in map(str, config):
        name = f"{path}{key}"
        if known is not None and key not in known:
            raise ConfigError(f"{name} is no key of the config.{did_you_mean(key, known)}")
        if not OmegaConf.is_missing(config, key) and isinstance(node := config[key], DictConfig):
            refuse_unknown_keys(node, f"{name}.")
