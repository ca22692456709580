"""How weights are loaded: their type, their bits, and who computes attention with them."""

from __future__ import annotations

import logging
from enum import Enum
from importlib.util import find_spec
from typing import Any

from mmexp.schema import ConfigError

log = logging.getLogger(__name__)


class Dtype(Enum):
    auto = "auto"
    float32 = "float32"
    bfloat16 = "bfloat16"
    float16 = "float16"


class Attention(Enum):
    auto = "auto"
    eager = "eager"
    sdpa = "sdpa"
    flash_attention_2 = "flash_attention_2"
    flash_attention_2_or_sdpa = "flash_attention_2_or_sdpa"


class Quantization(Enum):
    nf4 = "nf4"


def attention_arguments(attention: Attention) -> dict[str, str]:
    """What transformers takes of it. flash_attention_2_or_sdpa is decided here, and said in the log."""
    if attention is Attention.auto:
        return {}
    if attention is not Attention.flash_attention_2_or_sdpa:
        return {"attn_implementation": attention.value}
    from transformers.utils import is_flash_attn_2_available

    if is_flash_attn_2_available():
        return {"attn_implementation": "flash_attention_2"}
    log.info("model.attention: flash-attn is not installed for this machine's GPU, using sdpa")
    return {}  # which is sdpa, but for architectures that have eager attention alone


def missing_for_quantization() -> list[str]:
    """What weights in 4 bits need and the machine has not. bitsandbytes computes on a CPU too, but too slowly."""
    import torch

    needed = {
        "an NVIDIA GPU": torch.cuda.is_available(),
        "bitsandbytes (pip install 'mmexp[qlora]')": find_spec("bitsandbytes") is not None,
    }
    return [what for what, is_there in needed.items() if not is_there]


def quantization_arguments(quantization: Quantization | None) -> dict[str, Any]:
    """What transformers takes of it. Raises `ConfigError` where the machine lacks what it needs."""
    if quantization is None:
        return {}
    import torch
    from transformers import BitsAndBytesConfig

    if missing := missing_for_quantization():
        raise ConfigError(
            f"model.quantization={quantization.value} needs {' and '.join(missing)}. Use "
            "model.quantization=null, or adapter=lora in place of adapter=qlora."
        )
    config = BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=torch.bfloat16,
    )
    return {"quantization_config": config}
