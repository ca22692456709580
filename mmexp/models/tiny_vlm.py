"""Qwen3-VL's architecture and processor, tiny and untrained, made on the spot: the 2B's code path on any CPU."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmexp.models.hub import HubModel
from mmexp.schema import ConfigError, schema

if TYPE_CHECKING:
    from sentence_transformers import CrossEncoder, MultiVectorEncoder, SentenceTransformer
    from transformers import PreTrainedTokenizerBase, Qwen3VLConfig
    from transformers.models.qwen3_vl import Qwen3VLProcessor

    from mmexp.embedder_archs.multi_vector import MultiVector
    from mmexp.reranker_archs import RerankerArch

SPECIAL_TOKENS = (
    "<|endoftext|>",
    "<|im_start|>",
    "<|im_end|>",
    "<|vision_start|>",
    "<|vision_end|>",
    "<|image_pad|>",
    "<|video_pad|>",
)
# One turn per message; an image is a placeholder that the processor widens to the image's tokens.
CHAT_TEMPLATE = """
{%- for message in messages -%}
<|im_start|>{{ message.role }}
{% if message.content is string %}{{ message.content }}
{%- else %}{% for part in message.content -%}
{%- if part.type == 'image' %}<|vision_start|><|image_pad|><|vision_end|>
{%- elif part.type == 'video' %}<|vision_start|><|video_pad|><|vision_end|>
{%- else %}{{ part.text }}{% endif %}{% endfor %}{% endif %}<|im_end|>
{% endfor %}
{%- if add_generation_prompt %}<|im_start|>assistant
{% endif -%}
"""
PATCH_SIZE = 16
# About 1 / sqrt(hidden size); the 2B's 0.02 would start layers as small as these far too quiet.
INITIALIZER_RANGE = 0.08
MERGE_SIZE = 2


@schema("model", "tiny_vlm")
@dataclass
class TinyVlm(HubModel):
    """Written as a checkpoint in the Hub's layout and loaded as one, so `checkpoint` is filled in here."""

    checkpoint: str = ""
    """Made by `build`; leave it empty."""

    weights_seed: int = 0
    """Seed of the random weights."""

    hidden_size: int = 128
    """Size of the language model's hidden states, which is the size of the embeddings."""

    num_layers: int = 2
    """Layers of the language model."""

    vision_hidden_size: int = 64
    """Size of the vision tower's hidden states."""

    vision_num_layers: int = 2
    """Layers of the vision tower."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.checkpoint:
            raise ConfigError(
                f"model.checkpoint={self.checkpoint} cannot be with model=tiny_vlm, which is made on the spot. Load a "
                "checkpoint or the folder of a run with model=hub."
            )

    def embedding_dimension(self) -> int:
        return self.hidden_size

    def is_reranker(self) -> bool:
        return False

    def build(self) -> SentenceTransformer:
        with self._written():
            return super().build()

    def build_multi_vector(self, arch: MultiVector) -> MultiVectorEncoder:
        with self._written():
            return super().build_multi_vector(arch)

    def build_reranker(self, arch: RerankerArch, prompts: dict[str, str]) -> CrossEncoder:
        with self._written():
            return super().build_reranker(arch, prompts)

    @contextmanager
    def _written(self) -> Iterator[None]:
        """`checkpoint` is a folder with the model, as long as it takes to load it."""
        with tempfile.TemporaryDirectory() as folder:
            write_checkpoint(self, Path(folder))
            self.checkpoint = folder
            try:
                yield
            finally:
                self.checkpoint = ""


def write_checkpoint(tiny: TinyVlm, folder: Path) -> None:
    """Write the untrained model as an embedding checkpoint: weights, tokenizer, processors, pooling, normalisation."""
    import torch
    from safetensors.torch import save_file
    from transformers import Qwen3VLModel

    tokenizer = train_tokenizer()
    with torch.random.fork_rng():
        torch.manual_seed(tiny.weights_seed)
        model = Qwen3VLModel(architecture(tiny, tokenizer))
    # Every rank of a distributed run writes its own, where the model's own `save_pretrained` writes on the first alone.
    folder.mkdir(parents=True, exist_ok=True)
    save_file(model.state_dict(), folder / "model.safetensors", metadata={"format": "pt"})
    model.config.architectures = [type(model).__name__]
    model.config.save_pretrained(folder)
    processor(tokenizer).save_pretrained(folder)
    _write_modules(folder, tiny.hidden_size)


def train_tokenizer() -> PreTrainedTokenizerBase:
    """A byte-level BPE tokenizer: any text has tokens, and the words of the made-up questions have one each."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import Qwen2Tokenizer

    from mmexp.data.made_up_pages import ASKED, QUESTIONS

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=1024, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False
    )
    words = [value for values in ASKED.values() for value in values]
    texts = [*QUESTIONS, *(f"{word} a {word}" for word in words), "user\n", "assistant\n"] * 2
    tokenizer.train_from_iterator(texts, trainer)
    return Qwen2Tokenizer(
        tokenizer_object=tokenizer,
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        additional_special_tokens=list(SPECIAL_TOKENS),
        model_max_length=32768,
    )


def architecture(tiny: TinyVlm, tokenizer: PreTrainedTokenizerBase) -> Qwen3VLConfig:
    """Qwen3-VL's configuration, small."""
    from transformers import Qwen3VLConfig

    token_id: dict[str, Any] = {token: tokenizer.convert_tokens_to_ids(token) for token in SPECIAL_TOKENS}
    return Qwen3VLConfig(
        tie_word_embeddings=True,  # as the 2B has it
        text_config={
            "vocab_size": len(tokenizer),
            "hidden_size": tiny.hidden_size,
            "intermediate_size": 3 * tiny.hidden_size,
            "num_hidden_layers": tiny.num_layers,
            "num_attention_heads": 4,
            "num_key_value_heads": 2,
            "head_dim": tiny.hidden_size // 4,
            "max_position_embeddings": 32768,
            "rope_parameters": {
                "rope_type": "default",
                "rope_theta": 10000.0,
                "mrope_section": _mrope_section(tiny.hidden_size // 4),
                "mrope_interleaved": True,
            },
            "pad_token_id": token_id["<|endoftext|>"],
            "initializer_range": INITIALIZER_RANGE,
        },
        vision_config={
            "depth": tiny.vision_num_layers,
            "hidden_size": tiny.vision_hidden_size,
            "intermediate_size": 3 * tiny.vision_hidden_size,
            "num_heads": 4,
            "patch_size": PATCH_SIZE,
            "spatial_merge_size": MERGE_SIZE,
            "out_hidden_size": tiny.hidden_size,
            "num_position_embeddings": 256,
            "deepstack_visual_indexes": [0, 1],
            "initializer_range": INITIALIZER_RANGE,
        },
        image_token_id=token_id["<|image_pad|>"],
        video_token_id=token_id["<|video_pad|>"],
        vision_start_token_id=token_id["<|vision_start|>"],
        vision_end_token_id=token_id["<|vision_end|>"],
    )


def _mrope_section(head_dim: int) -> list[int]:
    """How the rotary frequencies are shared by time, height and width."""
    spatial = head_dim // 2 // 3
    return [head_dim // 2 - 2 * spatial, spatial, spatial]


def processor(tokenizer: PreTrainedTokenizerBase) -> Qwen3VLProcessor:
    """Qwen3-VL's processor: its image and video processors, and a chat template."""
    from transformers import Qwen2VLImageProcessor, Qwen3VLProcessor, Qwen3VLVideoProcessor

    sizes: dict[str, Any] = {
        "patch_size": PATCH_SIZE,
        "merge_size": MERGE_SIZE,
        "image_mean": [0.5] * 3,
        "image_std": [0.5] * 3,
    }
    return Qwen3VLProcessor(
        image_processor=Qwen2VLImageProcessor(**sizes, min_pixels=32 * 32, max_pixels=600 * 600),
        tokenizer=tokenizer,
        video_processor=Qwen3VLVideoProcessor(**sizes),
        chat_template=CHAT_TEMPLATE.strip(),
    )


def _write_modules(folder: Path, dimension: int) -> None:
    """sentence-transformers' part of the checkpoint: transformer, last-token pooling, normalisation."""
    package = "sentence_transformers.sentence_transformer.modules"
    modules = [
        {"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.base.modules.transformer.Transformer"},
        {"idx": 1, "name": "1", "path": "1_Pooling", "type": f"{package}.pooling.Pooling"},
        {"idx": 2, "name": "2", "path": "2_Normalize", "type": f"{package}.normalize.Normalize"},
    ]
    (folder / "modules.json").write_text(json.dumps(modules, indent=2))
    (folder / "1_Pooling").mkdir()
    pooling = {"embedding_dimension": dimension, "pooling_mode": "lasttoken", "include_prompt": True}
    (folder / "1_Pooling" / "config.json").write_text(json.dumps(pooling))
    (folder / "2_Normalize").mkdir()
    output = {"method": "forward", "method_output_name": "last_hidden_state"}
    settings = {
        "transformer_task": "feature-extraction",
        "modality_config": {
            **dict.fromkeys(("text", "image", "video"), output),
            "message": {**output, "format": "structured"},
        },
        "module_output_name": "token_embeddings",
        "processing_kwargs": {"chat_template": {"add_generation_prompt": True}},
    }
    (folder / "sentence_bert_config.json").write_text(json.dumps(settings, indent=2))
