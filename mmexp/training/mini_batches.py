"""A model's forward pass in mini-batches, which makes the memory of any loss independent of the batch size."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from itertools import accumulate
from types import MethodType
from typing import TYPE_CHECKING, Any

import torch
from sentence_transformers.base.losses.gradcache import _create_minibatch
from sentence_transformers.util import cat_padded_token_embeddings, get_world_size
from torch.utils.checkpoint import checkpoint

from mmexp.training.tokens import patch_size, tokens_of_each

if TYPE_CHECKING:
    from sentence_transformers.base.model import BaseModel
    from torch import nn

Features = dict[str, Any]


class MiniBatchedForward:
    """The forward pass of a model inside one loss: cut into mini-batches, most of them computed a second time.

    What GradCache (https://arxiv.org/abs/2101.06983) does by a backward pass for every mini-batch, this does in one
    ordinary backward pass, by activation checkpointing. It happens below whatever wraps the model, so that DDP,
    DeepSpeed and FSDP see one forward pass for each column and one backward pass for each batch. The backward pass
    begins with what was computed last: the end of a batch, as much of it as a mini-batch may hold, is computed once
    only, and so is a batch that fits into one altogether. Losses and gradients are those of the batch as a whole.
    """

    def __init__(self, model: BaseModel, num_tokens: int | None = None, num_rows: int | None = None) -> None:
        """Replace `model.forward`. A mini-batch holds up to `num_rows` inputs, or else up to `num_tokens` tokens."""
        budget = num_tokens if num_rows is None else num_rows
        assert budget is not None
        self.budget = budget
        self.counts_tokens = num_rows is None
        self.patch_size = patch_size(model)
        self.forward = model.forward
        self.to_come: list[int] = []  # sizes of the inputs of the batch that are not embedded yet
        model.forward = MethodType(lambda _, features, **kwargs: self(features, **kwargs), model)  # type: ignore[method-assign]

    def of_loss(self, loss: nn.Module) -> nn.Module:
        """Return `loss`, each call of which is one batch; outside of it nothing is cut."""
        loss.register_forward_pre_hook(lambda _, inputs: self._begin(inputs[0]))
        loss.register_forward_hook(lambda *_: self._end(), always_call=True)
        return loss

    def _begin(self, columns: list[Features]) -> None:
        tokens = torch.cat([tokens_of_each(column, self.patch_size) for column in columns])
        sizes = tokens if self.counts_tokens else torch.ones_like(tokens)
        if get_world_size() > 1:
            # Where weights are sharded, all processes need as many forward passes: they cut alike.
            torch.distributed.all_reduce(sizes, torch.distributed.ReduceOp.MAX)
        self.to_come = sizes.tolist()

    def _end(self) -> None:
        self.to_come = []

    def __call__(self, features: Features, **kwargs: Any) -> Features:
        """What `forward` makes of the features, in the row order given."""
        left = sum(self.to_come)
        num_rows = len(tokens_of_each(features, self.patch_size))
        sizes, self.to_come = self.to_come[:num_rows], self.to_come[num_rows:]
        if left <= self.budget or "offsets" in features:  # static embeddings look up and average: nothing to save
            return self.forward(features, **kwargs)
        again, once = ranges(sizes, self.budget, left)
        parts = [self._outputs_again(_create_minibatch(features, *part), **kwargs) for part in again]
        parts += [self._outputs(_create_minibatch(features, *part), **kwargs) for part in once]
        return joined(parts)

    def _outputs(self, features: Features, **kwargs: Any) -> Features:
        """What losses read; all else that modules leave in the features may be freed."""
        outputs = self.forward(dict(features), **kwargs)
        names = ["sentence_embedding"] if "sentence_embedding" in outputs else ["token_embeddings", "attention_mask"]
        return {name: outputs[name] for name in names}

    def _outputs_again(self, features: Features, **kwargs: Any) -> Features:
        """`_outputs` that keep the features only, and compute all else a second time, with the same dropout."""
        if not torch.is_grad_enabled():
            return self._outputs(features, **kwargs)
        outputs: Features = checkpoint(self._outputs, features, use_reentrant=False, **kwargs)
        return outputs


def ranges(sizes: list[int], budget: int, left: int) -> tuple[list[tuple[int, int]], list[tuple[int, int]]]:
    """(begin, end) of mini-batches to compute twice, and of the one, or none, to compute once.

    `left` is the size of these inputs and of what comes after them in the batch. The last inputs of the batch are
    computed once, up to the budget; those before them are packed in their order, at least one to a mini-batch.
    """
    before = list(accumulate(sizes, initial=0))
    first_once = min(bisect_left(before, left - budget), len(sizes))
    again, begin = [], 0
    while begin < first_once:
        end = bisect_right(before, before[begin] + budget) - 1
        end = min(max(end, begin + 1), first_once)
        again.append((begin, end))
        begin = end
    return again, [(begin, len(sizes))] if begin < len(sizes) else []


def joined(parts: list[Features]) -> Features:
    """The outputs of mini-batches as those of one batch."""
    if "sentence_embedding" in parts[0]:
        return {"sentence_embedding": torch.cat([part["sentence_embedding"] for part in parts])}
    embeddings, mask = cat_padded_token_embeddings(
        [part["token_embeddings"] for part in parts], [part["attention_mask"] for part in parts]
    )
    return {"token_embeddings": embeddings, "attention_mask": mask}
