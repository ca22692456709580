"""Tiny untrained checkpoints in the Hub's layout, a maker for each architecture."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mmexp.models.tiny_vlm import CHAT_TEMPLATE, SPECIAL_TOKENS, TinyVlm, train_tokenizer, write_checkpoint

HIDDEN = 32
IMAGE_SIZE = 32
LAYERS = {"num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
ALPHABET = "abcdefghijklmnopqrstuvwxyz0123456789?.,:"
PACKAGE = "sentence_transformers.sentence_transformer.modules"
AUDIO_TOKENS = ("<|AUDIO|>", "<|audio_bos|>", "<|audio_eos|>")
OMNI_TEMPLATE = CHAT_TEMPLATE.replace(
    "{%- else %}{{ part.text }}",
    "{%- elif part.type == 'audio' %}<|audio_bos|><|AUDIO|><|audio_eos|>\n{%- else %}{{ part.text }}",
)


def write_json(file: Path, content: Any) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(content, indent=2))


def write_modules(folder: Path, *modules: tuple[str, str]) -> None:
    """modules.json: (path, class) of each."""
    write_json(
        folder / "modules.json",
        [{"idx": n, "name": str(n), "path": path, "type": type_} for n, (path, type_) in enumerate(modules)],
    )


def as_embedding_model(folder: Path, modalities: list[str]) -> None:
    """A VLM with last-token pooling and normalisation, as its authors publish it for the library."""
    write_modules(
        folder,
        ("", "sentence_transformers.base.modules.transformer.Transformer"),
        ("1_Pooling", f"{PACKAGE}.pooling.Pooling"),
        ("2_Normalize", f"{PACKAGE}.normalize.Normalize"),
    )
    pooling = {"embedding_dimension": HIDDEN, "pooling_mode": "lasttoken", "include_prompt": True}
    write_json(folder / "1_Pooling" / "config.json", pooling)
    output = {"method": "forward", "method_output_name": "last_hidden_state"}
    write_json(
        folder / "sentence_bert_config.json",
        {
            "transformer_task": "feature-extraction",
            "modality_config": {
                **dict.fromkeys(modalities, output),
                "message": {**output, "format": "structured"},
            },
            "module_output_name": "token_embeddings",
            "processing_kwargs": {"chat_template": {"add_generation_prompt": True}},
        },
    )


def clip(folder: Path) -> None:
    """CLIPModel as `transformers` keeps it."""
    from transformers import CLIPConfig, CLIPImageProcessor, CLIPModel, CLIPProcessor, CLIPTokenizer

    letters = [*ALPHABET, *(f"{letter}</w>" for letter in ALPHABET)]
    words = {word: n for n, word in enumerate([*letters, "<|startoftext|>", "<|endoftext|>"])}
    tokenizer = CLIPTokenizer(vocab=words, merges=[], model_max_length=77)
    config = CLIPConfig(
        projection_dim=HIDDEN,
        text_config={
            **LAYERS,
            "hidden_size": HIDDEN,
            "vocab_size": len(words),
            "bos_token_id": tokenizer.bos_token_id,
            "eos_token_id": tokenizer.eos_token_id,
            "pad_token_id": tokenizer.pad_token_id,
        },
        vision_config={**LAYERS, "hidden_size": HIDDEN, "image_size": IMAGE_SIZE, "patch_size": 16},
    )
    CLIPModel(config).save_pretrained(folder)
    image_processor = CLIPImageProcessor(
        size={"shortest_edge": IMAGE_SIZE}, crop_size={"height": IMAGE_SIZE, "width": IMAGE_SIZE}
    )
    CLIPProcessor(image_processor=image_processor, tokenizer=tokenizer).save_pretrained(folder)


def old_clip(folder: Path) -> None:
    """CLIPModel as sentence-transformers 2 saved it: all of it in a folder of its own, and no config at the root."""
    clip(folder / "0_CLIPModel")
    write_modules(folder, ("0_CLIPModel", "sentence_transformers.models.CLIPModel"))
    write_json(folder / "config_sentence_transformers.json", {"__version__": {"sentence_transformers": "2.0.0"}})


def siglip(folder: Path) -> None:
    """SiglipModel, which SigLIP 2's checkpoints of one resolution are too; no file of sentence-transformers."""
    from transformers import GemmaTokenizer, SiglipConfig, SiglipImageProcessor, SiglipModel, SiglipProcessor

    special = ["<pad>", "<eos>", "<bos>", "<unk>", "<mask>"]
    words = {word: n for n, word in enumerate([*special, *ALPHABET, "▁"])}
    tokenizer = GemmaTokenizer(vocab=words, merges=[], padding_side="right", add_bos_token=False, add_eos_token=True)
    config = SiglipConfig(
        text_config={
            **LAYERS,
            "hidden_size": HIDDEN,
            "vocab_size": len(words),
            "max_position_embeddings": 64,
            "pad_token_id": 0,
            "eos_token_id": 1,
            "bos_token_id": 2,
            "projection_size": HIDDEN,
        },
        vision_config={**LAYERS, "hidden_size": HIDDEN, "image_size": IMAGE_SIZE, "patch_size": 16},
    )
    SiglipModel(config).save_pretrained(folder)
    image_processor = SiglipImageProcessor(size={"height": IMAGE_SIZE, "width": IMAGE_SIZE})
    SiglipProcessor(image_processor=image_processor, tokenizer=tokenizer).save_pretrained(folder)


def minilm(folder: Path) -> None:
    """BertModel with mean pooling and normalisation, as sentence-transformers 2 saved it."""
    from transformers import BertConfig, BertModel, BertTokenizer

    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    words = {word: n for n, word in enumerate([*special, *ALPHABET, *(f"##{letter}" for letter in ALPHABET)])}
    config = BertConfig(**LAYERS, hidden_size=HIDDEN, vocab_size=len(words), max_position_embeddings=128)
    BertModel(config).save_pretrained(folder)
    BertTokenizer(vocab=words, model_max_length=128).save_pretrained(folder)
    write_modules(
        folder,
        ("", "sentence_transformers.models.Transformer"),
        ("1_Pooling", "sentence_transformers.models.Pooling"),
        ("2_Normalize", "sentence_transformers.models.Normalize"),
    )
    write_json(folder / "sentence_bert_config.json", {"max_seq_length": 64, "do_lower_case": False})
    write_json(
        folder / "1_Pooling" / "config.json", {"word_embedding_dimension": HIDDEN, "pooling_mode_mean_tokens": True}
    )


def static(folder: Path) -> None:
    """Static embeddings, the lightest encoder of queries."""
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import StaticEmbedding

    embedding = StaticEmbedding(train_tokenizer().backend_tokenizer, embedding_dim=HIDDEN)
    SentenceTransformer(modules=[embedding]).save_pretrained(str(folder))


def qwen3_vl(folder: Path) -> None:
    """Qwen3VLModel: an embedding model."""
    write_checkpoint(TinyVlm(hidden_size=HIDDEN, num_layers=1, vision_hidden_size=32, vision_num_layers=2), folder)


def fresh(make: Callable[[Path], None]) -> Callable[[Path], None]:
    """The checkpoint without what makes it an embedding model."""

    def write(folder: Path) -> None:
        make(folder)
        for name in ("modules.json", "sentence_bert_config.json"):
            (folder / name).unlink()

    return write


def qwen_tokens(*more: str) -> tuple[Any, dict[str, int]]:
    """The tokenizer of a Qwen VLM, and the id of each special token."""
    tokenizer = train_tokenizer()
    tokenizer.add_special_tokens({"additional_special_tokens": [*SPECIAL_TOKENS, *more]})
    ids = tokenizer.convert_tokens_to_ids([*SPECIAL_TOKENS, *more])
    return tokenizer, dict(zip([*SPECIAL_TOKENS, *more], ids, strict=True))


def qwen_text(tokenizer: Any, ids: dict[str, int], **more: Any) -> dict[str, Any]:
    rope = {"rope_type": "default", "rope_theta": 10000.0, "mrope_section": [4, 2, 2]}
    return {
        **LAYERS,
        "hidden_size": HIDDEN,
        "num_key_value_heads": 2,
        "vocab_size": len(tokenizer),
        "pad_token_id": ids["<|endoftext|>"],
        "rope_parameters": rope,
        **more,
    }


def vision_ids(ids: dict[str, int]) -> dict[str, int]:
    return {
        "image_token_id": ids["<|image_pad|>"],
        "video_token_id": ids["<|video_pad|>"],
        "vision_start_token_id": ids["<|vision_start|>"],
        "vision_end_token_id": ids["<|vision_end|>"],
    }


def qwen_processor(
    processor: type, tokenizer: Any, template: str = CHAT_TEMPLATE, patch_size: int = 14, **parts: Any
) -> Any:
    from transformers import Qwen2VLImageProcessor, Qwen2VLVideoProcessor

    side = 2 * patch_size
    sizes: dict[str, Any] = {
        "patch_size": patch_size,
        "merge_size": 2,
        "min_pixels": side * side,
        "max_pixels": 4 * side * side,
    }
    return processor(
        image_processor=Qwen2VLImageProcessor(**sizes),
        video_processor=Qwen2VLVideoProcessor(**sizes),
        tokenizer=tokenizer,
        chat_template=template.strip(),
        **parts,
    )


def qwen2_vl(folder: Path) -> None:
    from transformers import Qwen2VLConfig, Qwen2VLModel, Qwen2VLProcessor

    tokenizer, ids = qwen_tokens()
    vision = {"depth": 1, "embed_dim": 32, "hidden_size": HIDDEN, "num_heads": 2, "mlp_ratio": 1, "patch_size": 14}
    config = Qwen2VLConfig(text_config=qwen_text(tokenizer, ids), vision_config=vision, **vision_ids(ids))
    Qwen2VLModel(config).save_pretrained(folder)
    qwen_processor(Qwen2VLProcessor, tokenizer).save_pretrained(folder)
    as_embedding_model(folder, ["text", "image", "video"])


QWEN2_5_VISION = {
    "depth": 1,
    "hidden_size": 32,
    "intermediate_size": 32,
    "num_heads": 2,
    "patch_size": 14,
    "out_hidden_size": HIDDEN,
    "fullatt_block_indexes": [0],
}


def qwen2_5_vl(folder: Path) -> None:
    from transformers import Qwen2_5_VLConfig, Qwen2_5_VLModel, Qwen2_5_VLProcessor

    tokenizer, ids = qwen_tokens()
    config = Qwen2_5_VLConfig(text_config=qwen_text(tokenizer, ids), vision_config=QWEN2_5_VISION, **vision_ids(ids))
    Qwen2_5_VLModel(config).save_pretrained(folder)
    qwen_processor(Qwen2_5_VLProcessor, tokenizer).save_pretrained(folder)
    as_embedding_model(folder, ["text", "image", "video"])


def qwen2_5_omni(folder: Path) -> None:
    """The thinker of Qwen2.5-Omni, which takes text, images, audio and video."""
    from transformers import (
        Qwen2_5OmniProcessor,
        Qwen2_5OmniThinkerConfig,
        Qwen2_5OmniThinkerForConditionalGeneration,
        Qwen2Tokenizer,
        WhisperFeatureExtractor,
    )

    tokenizer, ids = qwen_tokens(*AUDIO_TOKENS)
    named = {
        "image_token": "<|image_pad|>",
        "video_token": "<|video_pad|>",
        "vision_bos_token": "<|vision_start|>",
        "vision_eos_token": "<|vision_end|>",
        "audio_token": "<|AUDIO|>",
        "audio_bos_token": "<|audio_bos|>",
        "audio_eos_token": "<|audio_eos|>",
    }
    tokenizer = Qwen2Tokenizer(
        tokenizer_object=tokenizer.backend_tokenizer,
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        extra_special_tokens=named,
    )
    config = Qwen2_5OmniThinkerConfig(
        text_config=qwen_text(tokenizer, ids),
        vision_config=QWEN2_5_VISION,
        audio_config={
            "num_mel_bins": 16,
            "encoder_layers": 1,
            "encoder_attention_heads": 2,
            "encoder_ffn_dim": 32,
            "d_model": 32,
            "max_source_positions": 100,
            "n_window": 50,
            "output_dim": HIDDEN,
        },
        **vision_ids(ids),
        audio_token_id=ids["<|AUDIO|>"],
        audio_start_token_id=ids["<|audio_bos|>"],
        audio_end_token_id=ids["<|audio_eos|>"],
    )
    Qwen2_5OmniThinkerForConditionalGeneration(config).save_pretrained(folder)
    extractor = WhisperFeatureExtractor(feature_size=16, chunk_length=2)
    qwen_processor(Qwen2_5OmniProcessor, tokenizer, OMNI_TEMPLATE, feature_extractor=extractor).save_pretrained(folder)
    as_embedding_model(folder, ["text", "image", "audio", "video"])


def llava_next(folder: Path) -> None:
    """LLaVA-NeXT around a Llama, as E5-V."""
    from transformers import (
        LlavaNextConfig,
        LlavaNextForConditionalGeneration,
        LlavaNextImageProcessor,
        LlavaNextProcessor,
    )

    tokenizer, ids = qwen_tokens("<image>")
    config = LlavaNextConfig(
        text_config={
            **LAYERS,
            "model_type": "llama",
            "hidden_size": HIDDEN,
            "vocab_size": len(tokenizer),
            "pad_token_id": ids["<|endoftext|>"],
            "bos_token_id": ids["<|im_start|>"],
            "eos_token_id": ids["<|im_end|>"],
        },
        vision_config={
            **LAYERS,
            "model_type": "clip_vision_model",
            "hidden_size": HIDDEN,
            "image_size": IMAGE_SIZE,
            "patch_size": 16,
            "num_hidden_layers": 2,
        },
        image_grid_pinpoints=[[IMAGE_SIZE, 2 * IMAGE_SIZE], [2 * IMAGE_SIZE, IMAGE_SIZE]],
        image_token_index=ids["<image>"],
    )
    LlavaNextForConditionalGeneration(config).save_pretrained(folder)
    size = {"height": IMAGE_SIZE, "width": IMAGE_SIZE}
    image_processor = LlavaNextImageProcessor(
        size={"shortest_edge": IMAGE_SIZE}, crop_size=size, image_grid_pinpoints=config.image_grid_pinpoints
    )
    template = CHAT_TEMPLATE.replace("<|vision_start|><|image_pad|><|vision_end|>", "<image>")
    LlavaNextProcessor(
        image_processor=image_processor,
        tokenizer=tokenizer,
        patch_size=16,
        vision_feature_select_strategy="default",
        chat_template=template.strip(),
        num_additional_image_tokens=1,
    ).save_pretrained(folder)
    as_embedding_model(folder, ["text", "image"])


def qwen3_5(folder: Path) -> None:
    """Qwen3.5, whose layers alternate between linear and full attention."""
    from transformers import Qwen3_5Config, Qwen3_5ForConditionalGeneration, Qwen3VLProcessor

    tokenizer, ids = qwen_tokens()
    text = qwen_text(
        tokenizer,
        ids,
        num_hidden_layers=2,
        head_dim=16,
        layer_types=["linear_attention", "full_attention"],
        linear_key_head_dim=8,
        linear_value_head_dim=8,
        linear_num_key_heads=2,
        linear_num_value_heads=2,
        bos_token_id=None,
        eos_token_id=ids["<|im_end|>"],
    )
    text["rope_parameters"] = {**text["rope_parameters"], "mrope_section": [4, 2, 2], "partial_rotary_factor": 1.0}
    vision = {
        "depth": 1,
        "hidden_size": 32,
        "intermediate_size": 32,
        "num_heads": 2,
        "patch_size": 16,
        "out_hidden_size": HIDDEN,
        "num_position_embeddings": 64,
    }
    config = Qwen3_5Config(text_config=text, vision_config=vision, tie_word_embeddings=True, **vision_ids(ids))
    Qwen3_5ForConditionalGeneration(config).save_pretrained(folder)
    qwen_processor(Qwen3VLProcessor, tokenizer, patch_size=16).save_pretrained(folder)
    as_embedding_model(folder, ["text", "image", "video"])


def clap(folder: Path) -> None:
    """ClapModel: texts and recordings of 48,000 samples per second."""
    from transformers import ClapConfig, ClapFeatureExtractor, ClapModel, ClapProcessor, RobertaTokenizer

    special = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    words = {word: n for n, word in enumerate([*special, *ALPHABET, "\u0120"])}
    tokenizer = RobertaTokenizer(vocab=words, merges=[], model_max_length=100)
    config = ClapConfig(
        projection_dim=HIDDEN,
        text_config={**LAYERS, "hidden_size": HIDDEN, "vocab_size": len(words), "max_position_embeddings": 128},
        audio_config={
            "hidden_size": 32,
            "patch_embeds_hidden_size": 16,
            "depths": [1, 1],
            "num_attention_heads": [1, 1],
            "num_mel_bins": 16,
            "spec_size": 64,
            "window_size": 4,
            "num_hidden_layers": 2,
        },
    )
    ClapModel(config).save_pretrained(folder)
    extractor = ClapFeatureExtractor(feature_size=16, max_length_s=1, fft_window_size=256, truncation="rand_trunc")
    ClapProcessor(feature_extractor=extractor, tokenizer=tokenizer).save_pretrained(folder)
