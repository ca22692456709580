"""Encoding many cells once: decoded and preprocessed in worker processes while the model computes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from itertools import accumulate, chain, islice
from typing import TYPE_CHECKING, Any, TypeVar

import torch
from sentence_transformers.util import batch_to_device
from torch.utils.data import DataLoader, Dataset
from tqdm.auto import tqdm

from mmexp.data.cells import Cells
from mmexp.data.workers import cores_beside
from mmexp.distributed import ranks

if TYPE_CHECKING:
    from sentence_transformers import MultiVectorEncoder, SentenceTransformer
    from sentence_transformers.base.model import BaseModel

Output = TypeVar("Output")

# The names under which checkpoints keep the prompt of each side, in the library's order.
PROMPT_NAMES = {"query": ("query",), "document": ("document", "passage", "corpus")}


class Diverged(RuntimeError):
    """The training loss, or what a model makes of its input, is not a finite number."""


@dataclass
class Side:
    """What to encode: `cells[i]` for i of `indices`, in that order, as "query" or as "document"."""

    name: str
    cells: Cells
    indices: Sequence[int]
    batch_size: int

    def batches(self) -> list[_Batch]:
        """The indices in batches, in order."""
        starts = range(0, len(self.indices), self.batch_size)
        return [_Batch(self.name, self.cells, self.indices[start : start + self.batch_size]) for start in starts]


@dataclass
class _Batch:
    side: str
    cells: Cells
    indices: Sequence[int]


@dataclass
class Encoder:
    """How to encode: the same for the baseline, evaluations in training, and the final one."""

    num_workers: int
    """Worker processes that decode and preprocess; at least one, so that the main process never decodes."""

    bf16_autocast: bool = False
    """Run the forward pass under bfloat16 autocast, as training does with trainer.bf16=true."""

    def encode(self, model: SentenceTransformer, *sides: Side) -> list[torch.Tensor]:
        """Embeddings of each side: float32 (len(indices), dimension), on the CPU. One set of workers serves all.

        The prompt and task of a side are used as `encode_query` and `encode_document` do. Embeddings are not
        normalised or truncated beyond what the model itself does.
        """
        return [torch.cat(batches) for batches in self._encode(model, sides, sentence_embeddings)]

    def encode_tokens(self, model: MultiVectorEncoder, *sides: Side) -> list[list[torch.Tensor]]:
        """The same of a multi-vector model: for every input, float32 (tokens that count in its scores, dimension)."""
        return [list(chain.from_iterable(batches)) for batches in self._encode(model, sides, token_embeddings)]

    def _encode(
        self, model: BaseModel, sides: Sequence[Side], take: Callable[[dict[str, Any]], Output]
    ) -> list[list[Output]]:
        """What `take` takes of the model's output, for every batch of each side."""
        batches = [side.batches() for side in sides]
        preprocessed = _Preprocessed(model, [batch for side in batches for batch in side])
        return self.forward(model, preprocessed, [len(side) for side in batches], take, "Encode")

    def forward(
        self,
        model: BaseModel,
        batches: Dataset,
        sizes: Sequence[int],
        take: Callable[[dict[str, Any]], Output],
        title: str,
    ) -> list[list[Output]]:
        """What `take` takes of the model's output, for every batch, on every rank. Each rank passes its own through.

        An item of `batches` is the model's input tensors for one batch; it is made in a worker. Batches are those of
        one process, so that outputs are the same bit by bit however many ranks there are. `sizes` are the numbers of
        batches that follow each other and pass through the same modules, and the result is cut likewise.
        """
        loader = DataLoader(
            batches,
            batch_size=None,
            sampler=own_batches(sizes),
            num_workers=self.num_workers,
            pin_memory=model.device.type == "cuda",
        )
        was_training = model.training
        model.eval()
        try:
            # Not in inference mode: parameters that an engine gathers for a forward would be of no use in training.
            with torch.no_grad(), self._autocast(model), cores_beside(self.num_workers):
                outputs = [
                    take(model(batch_to_device(features, model.device), task=features.get("task")))
                    for features in tqdm(loader, desc=title, leave=False, disable=not ranks.is_main())
                ]
        finally:
            model.train(was_training)
        own = iter(outputs)
        shares = [list(islice(own, num_rounds(size))) for size in sizes]
        return [ranks.in_order(s[: len(ranks.dealt(size))], size) for s, size in zip(shares, sizes, strict=True)]

    def _autocast(self, model: BaseModel) -> AbstractContextManager[Any]:
        return torch.autocast(model.device.type, torch.bfloat16) if self.bf16_autocast else nullcontext()


def own_batches(sizes: Sequence[int]) -> list[int]:
    """The batches that this rank passes through the model; of each of `sizes`, one more at last if it has fewer.

    A forward pass with sharded parameters takes all ranks: they make equally many, through the same modules at a time.
    """
    own = []
    for first, size in zip(accumulate(sizes, initial=0), sizes, strict=False):
        start, step = ranks.dealt(size).start, ranks.world_size()
        own += [first + piece % size for piece in range(start, start + num_rounds(size) * step, step)]
    return own


def num_rounds(size: int) -> int:
    """How often each rank passes a batch through the model, for there to be `size` of them."""
    return -(-size // ranks.world_size())


def sentence_embeddings(output: dict[str, Any]) -> torch.Tensor:
    """One embedding for each input: float32 (batch, dimension), on the CPU."""
    return require_finite(output["sentence_embedding"].float().cpu())


def token_embeddings(output: dict[str, Any]) -> list[torch.Tensor]:
    """The embeddings of each input's tokens, without those that its scores leave out: float32, on the CPU."""
    masks = output["attention_mask"].bool().cpu()
    embeddings = output["token_embeddings"].float().cpu()
    return [require_finite(tokens[mask]) for tokens, mask in zip(embeddings, masks, strict=True)]


def pair_scores(output: dict[str, Any]) -> torch.Tensor:
    """What a reranker makes of each pair, before its activation: float32 (batch, labels), on the CPU."""
    return require_finite(output["scores"].float().cpu())


def require_finite(numbers: torch.Tensor) -> torch.Tensor:
    """The same. Raises `Diverged` for infinite ones and NaN, which any ranking would hide."""
    if not numbers.isfinite().all():
        raise Diverged(
            "the model computes numbers that are not finite. In training: lower trainer.learning_rate, raise "
            "trainer.warmup_steps, or set trainer.max_grad_norm. Before it: load the weights with model.dtype=float32."
        )
    return numbers


class _Preprocessed(Dataset):
    """The model's input tensors of each batch, made where they are asked for: in a worker."""

    def __init__(self, model: BaseModel, batches: list[_Batch]) -> None:
        self.batches = batches
        self.preprocess = {side: Preprocess(model, side) for side in {batch.side for batch in batches}}

    def __len__(self) -> int:
        return len(self.batches)

    def __getitem__(self, position: int) -> dict[str, Any]:
        batch = self.batches[position]
        return self.preprocess[batch.side]([batch.cells[index] for index in batch.indices])


class Preprocess:
    """A batch of cells as the model's input tensors, with the prompt of its side; and which side that is."""

    def __init__(self, model: BaseModel, side: str) -> None:
        self.model = model
        self.side = side
        names = [name for name in PROMPT_NAMES[side] if name in model.prompts]
        self.prompt = model.prompts.get(names[0] if names else model.default_prompt_name or "")

    def __call__(self, cells: list[Any]) -> dict[str, Any]:
        return {**self.model.preprocess(cells, prompt=self.prompt, task=self.side), "task": self.side}
