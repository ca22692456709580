"""A checkpoint of Qwen3-VL-Embedding-2B's sizes in the Hub's layout, with a tokenizer made on the spot."""

from __future__ import annotations

import json
from pathlib import Path

from mmexp.models.tiny_vlm import TinyVlm, write_checkpoint

LANGUAGE = {"vocab_size": 151936, "hidden_size": 2048, "intermediate_size": 6144, "head_dim": 128}
LANGUAGE |= {"num_attention_heads": 16, "num_key_value_heads": 8}
ROPE = {"rope_type": "default", "rope_theta": 5e6, "mrope_section": [24, 20, 20], "mrope_interleaved": True}
VISION = {"hidden_size": 1024, "intermediate_size": 4096, "num_heads": 16, "out_hidden_size": 2048}


def write_config_of_2b(folder: Path, num_layers: int, vision_num_layers: int) -> Path:
    """All but its weights, with so many of its 28 layers and of the 24 of its vision tower."""
    write_checkpoint(TinyVlm(hidden_size=32, num_layers=1, vision_hidden_size=32, vision_num_layers=2), folder)
    (folder / "model.safetensors").unlink()
    config = json.loads((folder / "config.json").read_text())
    config["dtype"] = "bfloat16"
    config["text_config"] |= {**LANGUAGE, "num_hidden_layers": num_layers, "rope_parameters": ROPE}
    taps = [(n + 1) * vision_num_layers // 4 for n in range(3)]  # where features of the tower enter the language model
    config["vision_config"] |= {**VISION, "depth": vision_num_layers, "num_position_embeddings": 2304}
    config["vision_config"]["deepstack_visual_indexes"] = taps
    (folder / "config.json").write_text(json.dumps(config))
    pooling = folder / "1_Pooling" / "config.json"
    pooling.write_text(json.dumps({**json.loads(pooling.read_text()), "embedding_dimension": 2048}))
    return folder


def write_random_weights(folder: Path) -> None:
    """4.3 GB for all layers."""
    import torch
    from transformers import AutoConfig, AutoModel

    AutoModel.from_config(AutoConfig.from_pretrained(folder), dtype=torch.bfloat16).save_pretrained(folder)
