"""What a GPU computes otherwise than a CPU, where a training for a GPU is traced on tensors of a CPU."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any
from unittest.mock import patch

import torch
import torch.nn.functional as F
from torch.utils._pytree import tree_map

# Of CUDA's autocast, the functions of torch.nn.functional that run in float32 and that the CPU's leaves in bfloat16.
# Source: https://docs.pytorch.org/docs/stable/amp.html, "CUDA Ops that can autocast to float32".
IN_FLOAT32 = (
    *("layer_norm", "group_norm", "softmax", "log_softmax", "normalize"),
    *("cosine_similarity", "cross_entropy", "nll_loss", "mse_loss", "kl_div"),
)


@contextmanager
def kernels_of(device: str) -> Iterator[None]:
    """Within, functions compute as on that device: autocast as CUDA's, and fused attention also where it drops out.

    They are replaced, because a mode of torch's would not reach what is computed within a backward pass.
    """
    if device != "cuda":
        yield
        return
    replaced: dict[str, Any] = {name: partial(whole, getattr(F, name)) for name in IN_FLOAT32}
    replaced["scaled_dot_product_attention"] = partial(fused, F.scaled_dot_product_attention)
    with patch.multiple(F, **replaced):
        yield


def whole(function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """Call it in float32 where autocast is on."""
    if not torch.is_autocast_enabled("cpu"):
        return function(*args, **kwargs)
    with torch.autocast("cpu", enabled=False):
        return function(*tree_map(in_float32, args), **tree_map(in_float32, kwargs))


def in_float32(value: Any) -> Any:
    """Half precision in float32, all else as it is."""
    is_half = isinstance(value, torch.Tensor) and value.dtype in (torch.bfloat16, torch.float16)
    return value.float() if is_half else value


def fused(
    attention: Callable[..., Any], query: Any, key: Any, value: Any, mask: Any = None, *_: Any, **kwargs: Any
) -> Any:
    """Call it without dropout, for which the CPU has no fused kernel."""
    mask = kwargs.pop("attn_mask", mask)
    return attention(query, key, value, attn_mask=mask, **{**kwargs, "dropout_p": 0.0})
