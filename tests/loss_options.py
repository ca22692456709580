"""The options of the config group `loss`, read off its folder and schemas: a new one needs no list to be added to."""

from __future__ import annotations

from pathlib import Path

import yaml
from hydra.core.config_store import ConfigStore
from omegaconf import OmegaConf

from mmexp.__main__ import CONF
from mmexp.losses import Label, Loss
from mmexp.losses.taught import Taught
from mmexp.model_kind import ModelKind
from mmexp.typed_config import register

register()


def loss_class(option: str) -> type[Loss]:
    """The dataclass behind conf/loss/<option>.yaml."""
    parent = yaml.safe_load((CONF / "loss" / f"{option}.yaml").read_text())["defaults"][0]
    name = parent.removeprefix("/schema/loss/").removesuffix("@_here_")
    return OmegaConf.get_type(ConfigStore.instance().repo["schema"]["loss"][f"{name}.yaml"].node)


LOSSES = sorted(file.stem for file in (CONF / "loss").glob("*.yaml"))
EMBEDDER_LOSSES = [option for option in LOSSES if loss_class(option).trains is ModelKind.embedder]
MULTI_VECTOR_LOSSES = [option for option in LOSSES if loss_class(option).trains is ModelKind.multi_vector]
RERANKER_LOSSES = [option for option in LOSSES if loss_class(option).trains is ModelKind.reranker]


def with_what_it_needs(option: str, teacher: Path, labelled: Path) -> list[str]:
    """The overrides that choose a loss, and give it another model to learn from, or labelled pairs, if it needs any."""
    overrides = [f"loss={option}"]
    loss = loss_class(option)
    if issubclass(loss, Taught):
        overrides.append(f"loss.{loss.teacher_field}.checkpoint={teacher}")
    if loss.label is Label.score:
        overrides += ["data=hub_columns", f"data.path={labelled}", "data.label_column=label", "data.num_negatives=0"]
    return overrides
