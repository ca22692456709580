"""The states of the optimizer that `trainer.optim` names, without content."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from mmexp.schema import ConfigError

if TYPE_CHECKING:
    from mmexp.plan.preparation import Prepared


def optimizer_states(prepared: Prepared) -> list[torch.Tensor]:
    """The tensors that the optimizer keeps from its first step on, made by that step.

    Raises `ConfigError` for an optimizer whose library is not here, or that computes on a GPU alone.
    """
    trainer: Any = prepared.trainer
    name = getattr(prepared.args.optim, "value", prepared.args.optim)
    try:
        optimizer = trainer.create_optimizer()
        for group in optimizer.param_groups:
            group.update({key: False for key in ("fused", "foreach") if key in group})
            for parameter in group["params"]:
                parameter.grad = torch.empty_like(parameter)
        optimizer.step()
    except (ImportError, RuntimeError, ValueError, AssertionError) as error:
        raise ConfigError(
            f"trainer.optim={name} cannot be planned here: {error} Plan with trainer.optim=adamw_torch_fused, or "
            "where its library is installed."
        ) from error
    optimizer.zero_grad()
    return [value for state in optimizer.state.values() for value in state.values() if torch.is_tensor(value)]
