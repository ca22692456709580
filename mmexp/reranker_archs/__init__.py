"""Reranker architectures. None yet: `reranker_arch: null` trains an embedder."""

from dataclasses import dataclass


@dataclass
class RerankerArch:
    """Base of every reranker architecture config (config group `reranker_arch`)."""
