"""What a computation on tensors without content would hold in memory, and how many operations it would take."""

from __future__ import annotations

import weakref
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch._subclasses.fake_tensor import FakeTensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry, sdpa_backward_flop_count, sdpa_flop_count

aten = torch.ops.aten

# Operations whose second argument is a list of indices, of which boolean masks decide the shape of the result.
INDEXING = {aten.index.Tensor, aten._unsafe_index.Tensor, aten.index_put.default, aten.index_put_.default}
INDEXING.add(aten._index_put_impl_.default)
# What a model holds throughout a step.
STATE = ("weights", "gradients", "optimizer")


class Tracker(TorchDispatchMode):
    """Counts the bytes of every storage from the operation that makes it until nothing refers to it any more.

    Weights and pixels are fake tensors, which have a shape, a type and no content; what is small and decides shapes
    (token ids, masks, grids of patches) is real, and computed for real. So what is counted is what PyTorch's own
    autograd keeps for the backward pass, of any architecture. Not counted: what a kernel holds while it runs.
    """

    def __init__(self) -> None:
        super().__init__()
        self.category = "activations"
        self.flops: Counter[str] = Counter()
        self.phase = "forward"
        self.sent_bytes = 0
        """What is gathered from all processes: the outputs of collectives."""
        self.held: Counter[str] = Counter()
        self.peak = 0
        """The most bytes that were held at a time."""
        self.working_peak = 0
        """The most bytes beside weights, gradients and optimizer states that were held at a time."""
        self.at_working_peak: Counter[str] = Counter()
        self._category_of: dict[int, str] = {}
        self._storages: dict[int, weakref.ref[torch.UntypedStorage]] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func in INDEXING:
            args = (args[0], with_positions(args[1]), *args[2:])
        result = func(*args, **kwargs)
        self.flops[self.phase] += flops_of(func, args, kwargs, result)
        if func.namespace == "c10d":
            self.sent_bytes += sum(leaf.nbytes for leaf in tree_leaves(args[0]) if isinstance(leaf, FakeTensor))
        self.add(leaf for leaf in tree_leaves(result) if isinstance(leaf, torch.Tensor))
        return result

    def add(self, tensors: Iterable[torch.Tensor], category: str | None = None) -> None:
        """Count tensors that are there, those that are known already as what they are from now on."""
        for tensor in tensors:
            storage = tensor.untyped_storage()
            key = storage._cdata
            if key in self._storages:
                if category is not None:
                    self._move(key, storage.nbytes(), category)
                continue
            size = storage.nbytes()
            self._category_of[key] = category or self.category
            self._storages[key] = weakref.ref(storage, partial(self._freed, key, size))
            self.held[self._category_of[key]] += size
        self._note_peaks()

    @contextmanager
    def counted_as(self, category: str) -> Iterator[None]:
        """Within, what is made is of that category."""
        before, self.category = self.category, category
        try:
            yield
        finally:
            self.category = before

    def _move(self, key: int, size: int, category: str) -> None:
        self.held[self._category_of[key]] -= size
        self.held[category] += size
        self._category_of[key] = category

    def _freed(self, key: int, size: int, _: Any) -> None:
        del self._storages[key]
        self.held[self._category_of.pop(key)] -= size

    def _note_peaks(self) -> None:
        total = sum(self.held.values())
        self.peak = max(self.peak, total)
        working = total - sum(self.held[name] for name in STATE)
        if working > self.working_peak:
            self.working_peak, self.at_working_peak = working, self.held.copy()


def with_positions(indices: Iterable[torch.Tensor | None]) -> list[torch.Tensor | None]:
    """Real masks as the positions that they select, which a fake tensor cannot know of them."""
    positions: list[torch.Tensor | None] = []
    for index in indices:
        is_real_mask = index is not None and index.dtype is torch.bool and not isinstance(index, FakeTensor)
        positions += index.nonzero().unbind(1) if index is not None and is_real_mask else [index]
    return positions


def flops_of(func: Any, args: Any, kwargs: Any, result: Any) -> int:
    """Floating-point operations of matrix products, convolutions and attention; all others are few beside them."""
    packet = func._overloadpacket
    if packet is aten._scaled_dot_product_flash_attention_for_cpu:
        return sdpa_flop_count(*(tensor.shape for tensor in args[:3]))
    if packet is aten._scaled_dot_product_flash_attention_for_cpu_backward:
        return sdpa_backward_flop_count(*(tensor.shape for tensor in args[:4]))
    if packet not in flop_registry:
        return 0
    return int(flop_registry[packet](*args, **kwargs, out_val=result))
