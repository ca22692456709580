"""Encoding many cells once: decoded and preprocessed in worker processes while the model computes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from sentence_transformers.util import batch_to_device
from torch.utils.data import DataLoader, Dataset
from tqdm.auto import tqdm

from mmexp.data.cells import Cells

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

# The names under which checkpoints keep the prompt of each side, in the library's order.
PROMPT_NAMES = {"query": ("query",), "document": ("document", "passage", "corpus")}


@dataclass
class Encoder:
    """How to encode: the same for the baseline, evaluations in training, and the final one."""

    num_workers: int
    """Worker processes that decode and preprocess; at least one, so that the main process never decodes."""

    bf16_autocast: bool = False
    """Run the forward pass under bfloat16 autocast, as training does with trainer.bf16=true."""

    def encode(
        self, model: SentenceTransformer, cells: Cells, indices: Sequence[int], side: str, batch_size: int
    ) -> torch.Tensor:
        """Embeddings of `cells[i]` for i of `indices`, in that order: float32 (len(indices), dimension), on the CPU.

        `side` is "query" or "document": its prompt and task are used, as `encode_query` and `encode_document` do.
        They are not normalised or truncated beyond what the model itself does.
        """
        loader = DataLoader(
            _At(cells, indices),
            batch_size=batch_size,
            num_workers=self.num_workers,
            collate_fn=Preprocess(model, side),
            pin_memory=model.device.type == "cuda",
        )
        embeddings = list(self._forward(model, tqdm(loader, desc=f"Encode {side}s", leave=False)))
        return torch.cat(embeddings)

    def _forward(self, model: SentenceTransformer, batches: Any) -> Iterator[torch.Tensor]:
        was_training = model.training
        model.eval()
        with torch.inference_mode(), self._autocast(model):
            for features in batches:
                output = model(batch_to_device(features, model.device))
                yield output["sentence_embedding"].float().cpu()
        model.train(was_training)

    def _autocast(self, model: SentenceTransformer) -> AbstractContextManager[Any]:
        return torch.autocast(model.device.type, torch.bfloat16) if self.bf16_autocast else nullcontext()


class _At(Dataset):
    """The cells at some indices, as a data set for a DataLoader."""

    def __init__(self, cells: Cells, indices: Sequence[int]) -> None:
        self.cells = cells
        self.indices = indices

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, position: int) -> Any:
        return self.cells[self.indices[position]]


class Preprocess:
    """A batch of cells as the model's input tensors, with the prompt of its side."""

    def __init__(self, model: SentenceTransformer, side: str) -> None:
        self.model = model
        self.side = side
        names = [name for name in PROMPT_NAMES[side] if name in model.prompts]
        self.prompt = model.prompts.get(names[0] if names else model.default_prompt_name or "")

    def __call__(self, cells: list[Any]) -> dict[str, Any]:
        return self.model.preprocess(cells, prompt=self.prompt, task=self.side)
