"""How many tokens a model spends on each input of a batch, also where no attention mask says so."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from torch import nn


def tokens_of_each(features: dict[str, Any], patch_size: int | None) -> torch.Tensor:
    """Non-padding tokens of each input of a preprocessed batch: integers (batch,), on the device of the batch.

    Dual encoders such as CLIP have no mask for images, which count as the patches they are cut into, and SigLIP has
    none for texts, where every position is a token. An input without a sequence that is known here counts as one.
    """
    if "cu_seq_lens_q" in features:
        return features["cu_seq_lens_q"].diff()
    if "attention_mask" in features:
        return features["attention_mask"].sum(dim=1)
    if "offsets" in features:  # static embeddings: the tokens of all inputs in one row
        return features["offsets"].diff(append=features["offsets"].new_tensor([len(features["input_ids"])]))
    tensor = next(value for value in features.values() if torch.is_tensor(value) and value.ndim > 0)
    return torch.full((len(tensor),), _tokens_without_mask(features, patch_size), device=tensor.device)


def _tokens_without_mask(features: dict[str, Any], patch_size: int | None) -> int:
    if "input_ids" in features:
        return features["input_ids"].shape[1]
    if "pixel_values" in features and patch_size is not None and features["pixel_values"].ndim == 4:
        height, width = features["pixel_values"].shape[2:]
        return (height // patch_size) * (width // patch_size)
    return 1


def patch_size(model: nn.Module) -> int | None:
    """Side, in pixels, of the patches that the model's image encoder cuts an image into. None: it cuts none."""
    for module in model.modules():
        config = getattr(module, "config", None)
        size = getattr(getattr(config, "vision_config", config), "patch_size", None)
        if isinstance(size, int):
            return size
    return None
