"""DistributedDataParallel with a model that is called once for each column of a batch."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

OUTPUTS = ("scores", "sentence_embedding", "token_embeddings")


def reach_all_weights(model: nn.Module) -> None:
    """Let every output of `model` depend on all of its trainable weights, with no gradient where there was none.

    DDP waits for the gradient of every weight, or else looks, from the output of the last column, for those that are
    not used. That column may be text, or have an encoder of its own, and what only the others use would be taken for
    unused. Use it with `ddp_find_unused_parameters=False`.
    """
    weights = [parameter for parameter in model.parameters() if parameter.requires_grad]

    def reach(module: nn.Module, inputs: Any, outputs: dict[str, Any]) -> None:
        for name in OUTPUTS:
            if torch.is_grad_enabled() and name in outputs:
                outputs[name] = Reach.apply(outputs[name], *weights)

    model.register_forward_hook(reach)


class Reach(torch.autograd.Function):
    """Its first argument, as if it depended on all the others."""

    @staticmethod
    def forward(ctx: Any, output: torch.Tensor, *weights: torch.Tensor) -> torch.Tensor:
        ctx.num_weights = len(weights)
        return output.view_as(output)

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor | None, ...]:  # type: ignore[override]
        return gradient, *[None] * ctx.num_weights
