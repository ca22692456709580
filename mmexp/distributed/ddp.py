"""DistributedDataParallel around a model that is called once for each column of a batch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from accelerate.utils import DistributedType
from torch import nn

if TYPE_CHECKING:
    from sentence_transformers.base.trainer import BaseTrainer

OUTPUTS = ("scores", "sentence_embedding", "token_embeddings")


def wait_for_all_weights(trainer: BaseTrainer) -> None:
    """Prepare what is about to be wrapped, where it is DDP that will and `trainer.ddp_*` does not say otherwise.

    By default DDP looks, from the output of the last column, for weights that are not used, and goes wrong where only
    an earlier column uses them: pages before texts, or an encoder for each. Here it waits for every weight.
    """
    args = trainer.args
    ddp = (DistributedType.MULTI_GPU, DistributedType.MULTI_CPU)
    if trainer.accelerator.distributed_type not in ddp or args.ddp_find_unused_parameters or args.ddp_static_graph:
        return
    trainer.accelerator.ddp_handler.find_unused_parameters = False
    reach_all_weights(trainer.model)


def reach_all_weights(model: nn.Module) -> None:
    """Let every output of `model` depend on all of its trainable weights, with no gradient where there was none."""
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
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        return gradient, *[None] * ctx.num_weights
