"""Models without their weights: built from the checkpoint's configuration, of tensors that have no content."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode

if TYPE_CHECKING:
    from transformers import PreTrainedConfig


@contextmanager
def without_weights(mode: FakeTensorMode) -> Iterator[None]:
    """Within, transformers builds models of the right architecture and types, and reads no file of weights.

    All that is around them (tokenizers, processors, modules of sentence-transformers) loads as always. Such models stay
    where they are, whatever device they are sent to.
    """
    from transformers import PreTrainedModel

    apply = nn.Module._apply

    def apply_to_content(module: nn.Module, *args: Any, **options: Any) -> nn.Module:
        is_empty = any(isinstance(parameter, FakeTensor) for parameter in module.parameters())
        return module if is_empty else apply(module, *args, **options)

    def from_pretrained(cls: Any, *args: Any, config: Any, **options: Any) -> Any:
        with mode:
            model = cls._from_config(
                config,
                dtype=dtype_of(config, options.get("dtype")),
                attn_implementation=attention_of(options.get("attn_implementation")),
            )
        model.name_or_path = ""  # an adapter would save the weights of a checkpoint that was made on the spot
        return model.eval()

    with (
        patch.object(PreTrainedModel, "from_pretrained", classmethod(from_pretrained)),
        patch.object(nn.Module, "_apply", apply_to_content),
    ):
        yield


def dtype_of(config: PreTrainedConfig, asked: Any) -> torch.dtype:
    """The type of the weights; where the configuration names none for `auto`, that of most files, float32."""
    if asked in (None, "auto"):
        asked = getattr(config, "dtype", None) or torch.float32
    return getattr(torch, asked) if isinstance(asked, str) else asked


def attention_of(asked: str | None) -> str | None:
    """Flash attention keeps what sdpa's fused kernels keep, and these need no GPU to be asked for."""
    return "sdpa" if asked is not None and asked.startswith("flash") else asked


def empty(module: nn.Module, mode: FakeTensorMode) -> None:
    """Take the content out of what the modules around a transformer, or an adapter, have of their own."""
    for part in module.modules():
        for name, parameter in part._parameters.items():
            if parameter is not None and not isinstance(parameter, FakeTensor):
                fake = mode.from_tensor(parameter.detach())
                part._parameters[name] = nn.Parameter(fake, parameter.requires_grad)
