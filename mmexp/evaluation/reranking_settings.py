"""What a reranker is trained on and measured by, typed."""

from __future__ import annotations

from dataclasses import dataclass, field

from mmexp.data.pairs import Direction
from mmexp.ranges import check_least
from mmexp.schema import ConfigError


def published_prompts() -> dict[str, str]:
    """The prompts of the published rerankers, by direction."""
    return {
        "image_to_text": "Given the image, judge whether the text matches it. "
        "Respond with 1 if they match, 0 if they don't.",
        "text_to_image": "Given the text, judge whether the image matches it. "
        "Respond with 1 if they match, 0 if they don't.",
    }


@dataclass
class Reranking:
    """What a reranker is trained on and measured by. Read where `reranker_arch` is not null."""

    directions: list[Direction] = field(default_factory=lambda: [Direction.text_to_image])
    """Directions, each a data set of its own with its own prompt: text_to_image, image_to_text, text_to_text."""

    prompts: dict[str, str] = field(default_factory=published_prompts)
    """Instruction of each direction. One without goes without."""

    num_sampled_negatives: int = 4
    """Negatives drawn from all training documents for each positive, beside data.num_negatives hard ones."""

    num_eval_negatives: int = 100
    """Negatives drawn from the evaluation documents for each query. All, where there are fewer."""

    def __post_init__(self) -> None:
        if not self.directions:
            raise ConfigError("reranking.directions is empty. Name at least one, such as [text_to_image].")
        if len(set(self.directions)) < len(self.directions):
            names = [direction.value for direction in dict.fromkeys(self.directions)]
            raise ConfigError(f"reranking.directions names one twice. Use [{', '.join(names)}].")
        known = [direction.value for direction in Direction]
        for name in self.prompts:
            if name not in known:
                raise ConfigError(
                    f"reranking.prompts.{name} is a prompt for an unknown direction. There are {', '.join(known)}."
                )
        for key, least in (("num_sampled_negatives", 0), ("num_eval_negatives", 1)):
            check_least(f"reranking.{key}", getattr(self, key), least)

    @property
    def trained_prompts(self) -> dict[str, str]:
        """The prompts of the directions that are used, by direction."""
        return {d.value: self.prompts[d.value] for d in self.directions if self.prompts.get(d.value)}
