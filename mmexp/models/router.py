"""Separate encoders, chosen by what an input is (text, image, ...) and by what it is for (query, document)."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from mmexp.models import Model, named
from mmexp.models.hub import Card, HubModel
from mmexp.schema import ConfigError, did_you_mean, schema

if TYPE_CHECKING:
    from sentence_transformers import CrossEncoder, SentenceTransformer
    from torch import nn

    from mmexp.reranker_archs import RerankerArch

log = logging.getLogger(__name__)

TASKS = ("query", "document")
MODALITIES = ("text", "image", "audio", "video")


@dataclass
class RouterEncoder(HubModel):
    """One of a router's encoders: a checkpoint, as `model=hub` loads it, and a projection where its size differs."""

    projection_dimension: int | None = None
    """Project the embeddings to this size with a new dense layer (tanh), which takes the place of the checkpoint's own
    normalisation. null: as the checkpoint embeds."""

    def embedding_dimension(self) -> int | None:
        own = super().embedding_dimension()
        return own if self.projection_dimension is None else self.projection_dimension

    def with_projection(self, model: SentenceTransformer) -> list[nn.Module]:
        """The modules of the loaded encoder, and the projection."""
        from sentence_transformers.sentence_transformer.modules import Dense, Normalize

        modules = list(model.children())
        dimension = model.get_embedding_dimension()
        if self.projection_dimension is None or dimension is None:
            return modules
        kept = [module for module in modules if not isinstance(module, Normalize)]
        return [*kept, Dense(dimension, self.projection_dimension).to(dtype=model.dtype)]


@schema("model", "router")
@dataclass
class Router(Model):
    """An encoder for each modality, for each task, or for both. Training aligns their spaces."""

    encoders: dict[str, RouterEncoder] = field(default_factory=dict)
    """Encoders by what they are for: a task (query, document), a modality (text, image, audio, video), or a task and
    one or more modalities, joined by "_": text, document, query_text, document_image, text_image."""

    normalize: bool = True
    """Scale the embeddings of every encoder to unit length."""

    prompts: dict[str, str] = field(default_factory=dict)
    """Prompts by name. `query` and `document` are used in evaluation; training uses trainer.prompts, by column."""

    card: Card = field(default_factory=Card)
    """What the saved model's card says."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if len(self.encoders) < 2:
            raise ConfigError(
                f"model.encoders names {len(self.encoders)} encoders, and a router chooses between two or more. Name "
                "them, such as model.encoders.text and model.encoders.image, or use model=hub."
            )
        for name, encoder in self.encoders.items():
            route_of(name)
            for key in ("prompts", "card"):
                if getattr(encoder, key) != getattr(HubModel(), key):
                    raise ConfigError(f"model.encoders.{name}.{key} would be ignored. Use model.{key}.")

    def embedding_dimension(self) -> int | None:
        dimensions = {}
        for name, encoder in self.encoders.items():
            with named(f"model.encoders.{name}", encoder):
                dimensions[name] = encoder.embedding_dimension()
        return same_dimension(dimensions)

    def build(self) -> SentenceTransformer:
        from sentence_transformers import SentenceTransformer
        from sentence_transformers.base import modules as library
        from sentence_transformers.sentence_transformer.model_card import SentenceTransformerModelCardData

        self.embedding_dimension()  # refuses encoders of different sizes before a weight is read
        models = {name: self._load(name, encoder) for name, encoder in self.encoders.items()}
        same_dimension(
            {
                name: self.encoders[name].projection_dimension or model.get_embedding_dimension()
                for name, model in models.items()
            }
        )
        routes: dict[str, Any] = {name: self.encoders[name].with_projection(model) for name, model in models.items()}
        router = library.Router(
            routes,
            default_route="document" if "document" in models else None,
            allow_empty_key=False,
            route_mappings={route_of(name): name for name in models},
        )
        model = SentenceTransformer(
            modules=[router, library.Normalize()] if self.normalize else [router],
            prompts=self.prompts or None,
            model_card_data=self.card.build(SentenceTransformerModelCardData),
        )
        self.set_pixel_bounds(model)
        return model

    def _load(self, name: str, encoder: RouterEncoder) -> SentenceTransformer:
        from sentence_transformers.base.modality import format_modality

        with named(f"model.encoders.{name}", encoder):
            model = encoder.build()
        _, modality = route_of(name)
        if modality is not None and not model.supports(modality):
            raise ConfigError(
                f"model.encoders.{name} cannot be {encoder.checkpoint}, which takes "
                f"{', '.join(map(format_modality, model.modalities))} and not {format_modality(modality)}. Choose a "
                f"checkpoint that takes it with model.encoders.{name}.checkpoint=..."
            )
        if any(model.prompts.values()):
            log.warning("model.encoders.%s: the checkpoint's prompts are not used. Give model.prompts.", name)
        return model

    def build_reranker(self, arch: RerankerArch, prompts: dict[str, str]) -> CrossEncoder:
        raise ConfigError(
            "a router embeds queries and documents apart, and a reranker reads both together. Choose one checkpoint, "
            "such as model=qwen3_vl_2b_instruct, or reranker_arch=none."
        )


def route_of(name: str) -> tuple[str | None, Any]:
    """What the encoder of that name is for: (task, modality or modalities), None where it is for any."""
    words = name.split("_")
    task = words.pop(0) if words[0] in TASKS else None
    for word in words:
        if word not in MODALITIES:
            raise ConfigError(
                f"model.encoders.{name}: {word!r} is neither a task ({', '.join(TASKS)}) nor a modality "
                f"({', '.join(MODALITIES)}).{did_you_mean(word, (*TASKS, *MODALITIES))}"
            )
    return task, tuple(sorted(words)) if len(words) > 1 else (words[0] if words else None)


def same_dimension(dimensions: dict[str, int | None]) -> int | None:
    """The one size of the encoders' embeddings, as far as it is known. Raises `ConfigError` where they differ."""
    known = {name: dimension for name, dimension in dimensions.items() if dimension is not None}
    if len(set(known.values())) > 1:
        smallest, largest = min(known, key=known.__getitem__), max(known, key=known.__getitem__)
        raise ConfigError(
            f"model.encoders.{smallest} embeds {known[smallest]} dimensions and model.encoders.{largest} "
            f"{known[largest]}: they could not be compared. Use "
            f"model.encoders.{smallest}.projection_dimension={known[largest]}."
        )
    return next(iter(known.values()), None)
