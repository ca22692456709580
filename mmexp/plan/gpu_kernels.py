"""What a GPU computes otherwise than a CPU, where a training for a GPU is traced on tensors of a CPU."""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any

import torch
import torch.nn.functional as F
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_map

# Of CUDA's autocast, the operations that run in float32 and that the CPU's autocast leaves in bfloat16.
# Source: https://docs.pytorch.org/docs/stable/amp.html, "CUDA Ops that can autocast to float32".
IN_FLOAT32 = {
    *(F.layer_norm, F.group_norm, F.softmax, F.log_softmax, F.cross_entropy, F.nll_loss, F.cosine_similarity),
    *(F.normalize, torch.softmax, torch.log_softmax, torch.layer_norm, torch.cosine_similarity, torch.norm),
    *(torch.pow, torch.rsqrt, torch.sum, torch.prod, torch.cumsum, torch.exp, torch.log),
    *(torch.Tensor.softmax, torch.Tensor.log_softmax, torch.Tensor.norm, torch.Tensor.pow, torch.Tensor.rsqrt),
    *(torch.Tensor.sum, torch.Tensor.prod, torch.Tensor.cumsum, torch.Tensor.exp, torch.Tensor.log),
}


class GpuKernels(TorchFunctionMode):
    """Autocast as CUDA's does it, and attention by fused kernels also where it drops out."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        if func is F.scaled_dot_product_attention:
            kwargs |= {"dropout_p": 0.0}
            args = args[:4]
        if func not in IN_FLOAT32 or not torch.is_autocast_enabled("cpu"):
            return func(*args, **kwargs)
        with torch.autocast("cpu", enabled=False):
            return func(*tree_map(in_float32, args), **tree_map(in_float32, kwargs))


def in_float32(value: Any) -> Any:
    """Half precision in float32, all else as it is."""
    is_half = isinstance(value, torch.Tensor) and value.dtype in (torch.bfloat16, torch.float16)
    return value.float() if is_half else value


def kernels_of(device: str) -> Any:
    """A context in which operations are those of the device."""
    return GpuKernels() if device == "cuda" else nullcontext()
