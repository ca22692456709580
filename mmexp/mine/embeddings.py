"""Embeddings on disk, in shards of a fixed number of rows: what is written stays, what is searched fits in memory."""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import xxhash

from mmexp.evaluation.encode import Encoder, Side
from mmexp.recording.run_files import whole_file, write_whole
from mmexp.schema import ConfigError

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

log = logging.getLogger(__name__)


class Embeddings:
    """The embeddings of one side: `FOLDER/<side>-<shard>.npy`, float32 (rows, dimension), mapped into memory.

    float32, which is what the model gives, so that scores are those of an evaluation; a page's embedding is then still
    a small part of the page. npy, because single rows can be read.
    """

    def __init__(self, folder: Path, side: Side, shard_size: int) -> None:
        self.side = side
        self.shard_size = shard_size
        count = math.ceil(len(side.indices) / shard_size)
        self.files = [folder / f"{side.name}-{number:05d}.npy" for number in range(count)]

    def missing(self) -> list[int]:
        """The shards that are not written yet."""
        return [number for number, file in enumerate(self.files) if not file.exists()]

    def encode(self, number: int, model: SentenceTransformer, encoder: Encoder) -> None:
        """Encode one shard and write it, whole or not at all."""
        indices = self.side.indices[number * self.shard_size : (number + 1) * self.shard_size]
        [embeddings] = encoder.encode(model, replace(self.side, indices=indices))
        with whole_file(self.files[number]) as stream:
            np.save(stream, embeddings.numpy())
        log.info("%s: %d of %s inputs", self.files[number].name, len(indices), f"{len(self.side.indices):,}")

    def shards(self) -> Iterator[tuple[int, torch.Tensor]]:
        """(position of the first row, rows) of every shard, in order."""
        for number, file in enumerate(self.files):
            yield number * self.shard_size, torch.from_numpy(np.load(file))

    def rows(self, positions: torch.Tensor) -> torch.Tensor:
        """The embeddings at `positions`, of any shape: (*positions.shape, dimension)."""
        flat = positions.flatten().numpy()
        numbers, inner = np.divmod(flat, self.shard_size)
        found = None
        for number in np.unique(numbers):
            here = numbers == number
            chosen = np.load(self.files[number], mmap_mode="r")[inner[here]]
            if found is None:
                found = np.empty((len(flat), chosen.shape[1]), dtype=np.float32)
            found[here] = chosen
        assert found is not None, "no positions"
        return torch.from_numpy(found).view(*positions.shape, -1)


def check_same(file: Path, parts: dict[str, Any]) -> None:
    """Write what embeddings depend on, or raise `ConfigError` where the folder's were made with something else."""
    hashed = {name: xxhash.xxh3_64_hexdigest(json.dumps(part, default=str).encode()) for name, part in parts.items()}
    if not file.exists():
        file.parent.mkdir(parents=True, exist_ok=True)
        write_whole(file, json.dumps(hashed, indent=2))
    before = json.loads(file.read_text())
    if changed := [name for name in hashed if hashed[name] != before.get(name)]:
        raise ConfigError(
            f"{file.parent} holds embeddings that were made with other {', '.join(changed)}. Continue with the same "
            "values, or mine into another folder with hydra.run.dir=..., or remove that one."
        )
