"""How cached losses cut a batch: what GradCache holds in memory at a time."""

from __future__ import annotations

from dataclasses import dataclass

from mmexp.schema import ConfigError


@dataclass
class MiniBatches:
    """Fields of every loss that embeds a batch mini-batch by mini-batch."""

    mini_batch_num_tokens: int = 4096
    """Tokens of a mini-batch: as many inputs as fit, at least one. Bounds the memory whatever the batch size is;
    more is faster while it fits, and fastest where the whole batch fits, which is then embedded once instead of twice.
    Used where mini_batch_size is null."""

    mini_batch_size: int | None = None
    """Inputs of a mini-batch, whatever their length; 1 in the published recipe. null: cut by mini_batch_num_tokens."""

    def __post_init__(self) -> None:
        for key in ("mini_batch_num_tokens", "mini_batch_size"):
            value = getattr(self, key)
            if value is not None and value < 1:
                raise ConfigError(f"loss.{key}={value} is below 1. Use 1 or more.")
