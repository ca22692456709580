"""Reranker architectures: how a checkpoint becomes a model that scores a query and a document together.

any_to_any.py               a generative model's preference for one token over another
feature_extraction.py       the last token's hidden state, projected to a score; no language-model head
sequence_classification.py  the classic cross-encoder: a classification head
chat_template.py            templates that take the roles query and document

`reranker_arch=none` trains an embedder.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mmexp.reranker_archs.chat_template import accept_roles
from mmexp.schema import ConfigError

if TYPE_CHECKING:
    from sentence_transformers import CrossEncoder
    from sentence_transformers.base.modules import Transformer

    from mmexp.models.hub import HubModel


@dataclass
class RerankerArch(ABC):
    """Base of every reranker architecture config (config group `reranker_arch`)."""

    @abstractmethod
    def build(self, model: HubModel, **arguments: Any) -> CrossEncoder:
        """Load `model`'s checkpoint in this architecture. `arguments` go to CrossEncoder (prompts, card)."""


@dataclass
class TokenJudge(RerankerArch):
    """A chat model that judges a pair by the token it would answer."""

    true_token: str = "1"
    """What the model answers where the document matches. One token."""

    false_token: str = "0"
    """What it answers where not. One token."""

    def load(self, model: HubModel, task: str) -> tuple[Transformer, int, int]:
        """The checkpoint, its template ready for pairs, and the ids of the true and the false token."""
        transformer = model.transformer(task)
        accept_roles(transformer.processor, model.checkpoint)
        return transformer, *self.token_ids(transformer)

    def token_ids(self, transformer: Transformer) -> tuple[int, int]:
        """The ids of the true and the false token. Raises `ConfigError` for a text that is not one token."""
        ids = []
        tokenizer = transformer.tokenizer
        assert tokenizer is not None
        for key in ("true_token", "false_token"):
            text = getattr(self, key)
            split = tokenizer.encode(text, add_special_tokens=False)
            if len(split) != 1:
                tokens = tokenizer.convert_ids_to_tokens(split)
                raise ConfigError(
                    f"reranker_arch.{key}={text} is not a single token: the tokenizer splits it into {tokens}. "
                    f"Use a text that is one token, such as reranker_arch.{key}=1."
                )
            ids.append(split[0])
        if ids[0] == ids[1]:
            raise ConfigError(
                f"reranker_arch.true_token and reranker_arch.false_token are both {self.true_token!r}: no pair could "
                "be told from another. Use two different tokens, such as 1 and 0."
            )
        return ids[0], ids[1]
