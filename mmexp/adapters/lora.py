"""LoRA: low-rank updates of linear layers, chosen by part."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from mmexp.adapters import Adapter, transformers_of
from mmexp.schema import ConfigError, did_you_mean, schema
from mmexp.training.parts import Part, part_of, require_parts

if TYPE_CHECKING:
    from sentence_transformers.base.model import BaseModel
    from torch import nn
    from transformers import PreTrainedModel


@schema("adapter", "lora")
@dataclass
class Lora(Adapter):
    """LoRA, by the PEFT library. Modules after the transformer (projections, heads) stay trainable as they are."""

    rank: int = 16
    """Rank of the updates."""

    alpha: int = 32
    """An update counts alpha / rank times."""

    dropout: float = 0.0
    """Share of a layer's inputs that its update does not see in training."""

    targets: list[str] = field(default_factory=list)
    """Names of the linear layers to adapt within those parts, such as [q_proj, v_proj]. Empty: all."""

    def __post_init__(self) -> None:
        super().__post_init__()
        for key in ("rank", "alpha"):
            if getattr(self, key) <= 0:
                raise ConfigError(f"adapter.{key}={getattr(self, key)} is not above 0. Use 16, say.")
        if not 0 <= self.dropout < 1:
            raise ConfigError(f"adapter.dropout={self.dropout} is no share. Use 0 or more, and less than 1.")

    def check(self, model: BaseModel, frozen: list[Part]) -> None:
        require_parts(self.parts, model, "adapter.parts")
        for part in self.parts:
            if part in frozen:
                raise ConfigError(
                    f"adapter.parts and freeze both name {part.value}. Take it out of one: an adapter freezes the "
                    "parameters of the transformer itself."
                )
            names = {name.rpartition(".")[2] for name in linear_layers(model, part)}
            if not names:
                raise ConfigError(f"adapter.parts names {part.value}, which has no linear layer in the transformer.")
            for target in self.targets:
                if target not in names:
                    raise ConfigError(
                        f"adapter.targets names {target}, and no linear layer of {part.value} is called that: there "
                        f"are {', '.join(sorted(names))}.{did_you_mean(target, names)}"
                    )

    def add(self, model: BaseModel, folder: Path) -> None:
        from peft import LoraConfig

        layers = [name for part in self.parts for name, _ in self._layers(model, part)]
        for prefix, transformer in transformers_of(model).items():
            transformer.requires_grad_(False)
            names = [name.removeprefix(prefix) for name in layers if name.startswith(prefix)]
            if not names:
                continue
            keep_weights(transformer, folder)
            transformer.add_adapter(
                LoraConfig(
                    r=self.rank,
                    lora_alpha=self.alpha,
                    lora_dropout=self.dropout,
                    target_modules=names,
                    # A classification head is drawn at random, and nothing without training.
                    modules_to_save=classification_heads(transformer) or None,
                )
            )
            for name, parameter in transformer.named_parameters():
                if "lora_" in name:  # bfloat16 would round small updates away
                    parameter.data = parameter.data.float()

    def _layers(self, model: BaseModel, part: Part) -> Iterator[tuple[str, nn.Module]]:
        """The linear layers of a part that `targets` names, by their full names."""
        for name, layer in linear_layers(model, part).items():
            if not self.targets or name.rpartition(".")[2] in self.targets:
                yield name, layer


def linear_layers(model: BaseModel, part: Part) -> dict[str, nn.Module]:
    """The linear layers of a part within the transformers, by their full names."""
    from torch import nn

    return {
        prefix + name: module
        for prefix, transformer in transformers_of(model).items()
        for name, module in transformer.named_modules()
        if isinstance(module, nn.Linear) and part_of(f"{prefix}{name}.") is part
    }


def classification_heads(transformer: PreTrainedModel) -> list[str]:
    """The names of the modules that score a sequence, where the transformer has them."""
    return [name for name, _ in transformer.named_children() if name in ("score", "classifier")]


def keep_weights(transformer: PreTrainedModel, folder: Path) -> None:
    """Save the weights in `folder` where their checkpoint, made on the spot, is gone: adapters name it."""
    from accelerate import PartialState

    checkpoint = Path(transformer.name_or_path or "")
    if checkpoint.is_absolute() and not checkpoint.exists():
        transformer.save_pretrained(folder)  # by rank 0
        PartialState().wait_for_everyone()
        transformer.name_or_path = str(folder)
