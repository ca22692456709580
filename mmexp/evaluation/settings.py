"""Config group `evaluation`."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass
class Evaluation:
    """How the corpus is encoded and what is reused."""

    num_tokens: int = 16384
    """Tokens that are encoded at once: the batch size is this over the tokens of a page. Bounds the memory."""

    reuse_baseline: bool = True
    """Keep the embeddings of an untrained model under output_root/.cache, and find them again for the same weights,
    inputs and library versions: the members of a sweep share one baseline. mmexp.quantize keeps those of a trained one
    too."""
