"""Adapters: a few new parameters that are trained in place of a transformer's own.

lora.py  low-rank updates of linear layers

`adapter=none` trains the model's own parameters.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from mmexp.schema import ConfigError
from mmexp.training.parts import Part  # at run time: the schema resolves every annotation

if TYPE_CHECKING:
    from sentence_transformers.base.model import BaseModel
    from transformers import PreTrainedModel


@dataclass
class Adapter(ABC):
    """Base of every adapter config (config group `adapter`)."""

    parts: list[Part] = field(default_factory=lambda: [Part.language])
    """Parts of the model that are adapted."""

    merge: bool = True
    """Save the model with the adapter worked into its weights, so that it loads like any other. false: save the
    adapter alone, which is small and needs the checkpoint that it was trained on."""

    def __post_init__(self) -> None:
        if not self.parts:
            raise ConfigError("adapter.parts is empty: nothing would be adapted. Use adapter.parts=[language].")

    @abstractmethod
    def check(self, model: BaseModel, frozen: list[Part]) -> None:
        """Raise `ConfigError` for what the loaded model cannot take."""

    @abstractmethod
    def add(self, model: BaseModel, folder: Path) -> None:
        """Put the adapter into the transformers of the model, whose own parameters are all frozen by it.

        `folder` is where weights are kept that an adapter was added to and that no checkpoint holds.
        """


def transformers_of(model: BaseModel) -> dict[str, PreTrainedModel]:
    """The transformers of a model, by the prefix of their modules' full names; a router has several."""
    from transformers import PreTrainedModel

    found: dict[str, PreTrainedModel] = {}
    for name, module in model.named_modules():
        if isinstance(module, PreTrainedModel) and not any(name.startswith(prefix) for prefix in found):
            found[f"{name}."] = module
    return found


def work_in_adapters(model: BaseModel) -> None:
    """Work adapters into the weights that they are over, and take them out of the model."""
    for transformer in transformers_of(model).values():
        if not getattr(transformer, "_hf_peft_config_loaded", False):
            continue
        from peft.tuners.tuners_utils import BaseTunerLayer
        from peft.utils import ModulesToSaveWrapper

        for name, layer in list(transformer.named_modules()):
            if isinstance(layer, BaseTunerLayer):
                layer.merge()
                transformer.set_submodule(name, layer.get_base_layer())
            elif isinstance(layer, ModulesToSaveWrapper):
                transformer.set_submodule(name, layer.modules_to_save[layer.active_adapters[0]])
        transformer._hf_peft_config_loaded = False
        del transformer.peft_config
        transformer.requires_grad_(True)
