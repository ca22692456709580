"""The parts of a model by name: what is frozen, adapted, or trained at a learning rate of its own."""

from __future__ import annotations

import re
from collections.abc import Iterable
from enum import Enum
from typing import TYPE_CHECKING

from mmexp.schema import ConfigError

if TYPE_CHECKING:
    from torch import nn


class Part(Enum):
    """A part of a multimodal model."""

    vision = "vision"
    """The encoder of images and video: a vision tower, or the route of images."""

    audio = "audio"
    """The encoder of audio."""

    merger = "merger"
    """What turns the encoder's features into inputs of the language model, or into the space shared with text."""

    language = "language"
    """The language model or text encoder; all of a model that has no other encoder."""

    query = "query"
    """The route of queries, where queries and documents have encoders of their own."""

    document = "document"
    """The route of documents."""

    head = "head"
    """What comes after: projections, a classification or language-model head."""


# How architectures name the modules of a part, within a parameter's full name. The first that is found counts.
NAMES = {
    Part.head: r"\.(lm_head|score|classifier|sub_modules\.\w+\.[1-9]\d*)\.",
    Part.query: r"\.sub_modules\.query(_\w+)?\.",
    Part.document: r"\.sub_modules\.document(_\w+)?\.",
    Part.merger: r"\.(merger|deepstack_merger_list|multi_modal_projector|connector|(visual|text|audio)_projection)\.",
    Part.vision: r"\.(visual|vision_tower|vision_model|sub_modules\.image)\.",
    Part.audio: r"\.(audio_tower|audio_model|sub_modules\.audio)\.",
}


def part_of(name: str) -> Part:
    """The part of a sentence-transformers model that a parameter belongs to, by its full name.

    The library numbers the modules of a model: 0 is the transformer or router, all that follows is the head.
    """
    if not name.startswith("0."):
        return Part.head
    return next((part for part, names in NAMES.items() if re.search(names, f".{name}")), Part.language)


def parameters_by_part(model: nn.Module) -> dict[Part, dict[str, nn.Parameter]]:
    """The parameters of each part by their full names; parts that the model has not are left out."""
    by_part: dict[Part, dict[str, nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        by_part.setdefault(part_of(name), {})[name] = parameter
    return by_part


def require_parts(asked: Iterable[Part], model: nn.Module, key: str) -> None:
    """Raise `ConfigError` for a part that matches nothing in the model."""
    there = parameters_by_part(model)
    for part in asked:
        if part not in there:
            raise ConfigError(
                f"{key} names {part.value}, which matches no module of the model. It has "
                f"{', '.join(part.value for part in there)}."
            )


def pattern_of(part: Part, model: nn.Module) -> str:
    """A regular expression that finds the parameters of a part, and no others, by the names of their outermost modules.

    It also finds them where the model is a module of another, such as a loss.
    """
    by_part = parameters_by_part(model)
    shared = {module for other, names in by_part.items() if other is not part for n in names for module in _outer(n)}
    own = dict.fromkeys(
        next((module for module in _outer(name) if module not in shared), f"{name}$") for name in by_part[part]
    )
    # What a loss is a module of has names, what a model is made of has numbers: so this is the outermost number.
    wrappers = r"^([^\W\d]\w*\.)*"
    return "|".join(wrappers + re.escape(module).replace(r"\$", "$") for module in own)


def _outer(name: str) -> list[str]:
    """The modules that a parameter lies in, from the outermost: "0.", "0.model.", ..."""
    segments = name.split(".")
    return [".".join(segments[:n]) + "." for n in range(1, len(segments))]
