import json
from pathlib import Path

import pytest
import torch
from PIL import Image

from mmexp.models.facts import model_facts, weights_checksum
from mmexp.models.hub import Card, HubModel, PoolingMode
from mmexp.models.tiny_vlm import TinyVlm, write_checkpoint
from mmexp.models.weights import Attention, Dtype
from mmexp.schema import ConfigError

PAGE = Image.new("RGB", (400, 500), "white")


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory) -> Path:
    """A tiny embedding checkpoint of the 2B's architecture, in the Hub's layout."""
    folder = tmp_path_factory.mktemp("checkpoint")
    write_checkpoint(TinyVlm(), folder)
    return folder


@pytest.fixture(scope="module")
def fresh_vlm(tmp_path_factory) -> Path:
    """The same without what makes it an embedding model."""
    folder = tmp_path_factory.mktemp("vlm")
    write_checkpoint(TinyVlm(), folder)
    for name in ("modules.json", "sentence_bert_config.json"):
        (folder / name).unlink()
    return folder


def tokens(model, page) -> int:
    return int(model.preprocess([page])["attention_mask"].sum())


def test_the_same_seed_gives_the_same_weights_and_another_seed_others():
    first, again, other = (weights_checksum(TinyVlm(weights_seed=seed).build()) for seed in (0, 0, 1))
    assert first == again
    assert first != other


def test_a_checkpoint_loads_as_what_it_is(checkpoint):
    facts = model_facts(HubModel(checkpoint=str(checkpoint)).build())
    assert facts.architecture == "Qwen3VLModel"
    assert facts.modules == ["Transformer", "Pooling(lasttoken)", "Normalize"]
    assert {"text", "image"} <= set(facts.modalities)
    assert facts.embedding_dimension == HubModel(checkpoint=str(checkpoint)).embedding_dimension() == 128
    assert facts.parameters > 100_000


def test_a_folder_below_the_home_folder_is_found(checkpoint, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "model").symlink_to(checkpoint)
    (tmp_path / "run" / "result.json").write_text("{}")
    assert HubModel(checkpoint="~/run").checkpoint == str(tmp_path / "run" / "model")
    assert HubModel(checkpoint="~/run/model").embedding_dimension() == 128
    with pytest.raises(ConfigError, match=rf"model\.checkpoint={tmp_path}/gone .*there is no such folder"):
        HubModel(checkpoint="~/gone").build()
    with pytest.raises(ConfigError, match=r"model\.checkpoint=~nobody-here/run .*there is no such folder"):
        HubModel(checkpoint="~nobody-here/run").build()


def test_pixel_bounds_decide_the_tokens_of_a_page_and_are_saved_with_the_model(checkpoint, tmp_path):
    small = HubModel(checkpoint=str(checkpoint), min_pixels=1024, max_pixels=32 * 32 * 12).build()
    large = HubModel(checkpoint=str(checkpoint), min_pixels=1024, max_pixels=32 * 32 * 100).build()
    assert tokens(small, PAGE) < tokens(large, PAGE)
    overhead = tokens(small, Image.new("RGB", (32, 32))) - 1
    assert tokens(small, PAGE) - overhead <= 12
    raised = HubModel(checkpoint=str(checkpoint), min_pixels=32 * 32 * 9, max_pixels=32 * 32 * 100).build()
    assert tokens(raised, Image.new("RGB", (32, 32))) - overhead >= 9
    small.save_pretrained(str(tmp_path))
    assert tokens(HubModel(checkpoint=str(tmp_path)).build(), PAGE) == tokens(small, PAGE)


def test_a_fresh_vlm_gets_the_pooling_that_is_asked_for(fresh_vlm):
    model = HubModel(checkpoint=str(fresh_vlm), pooling=PoolingMode.lasttoken).build()
    assert model_facts(model).modules == ["Transformer", "Pooling(lasttoken)", "Normalize"]
    text, page = model.encode(["a question"]), model.encode([PAGE])
    assert text.shape == page.shape == (1, 128)
    assert (text**2).sum() == pytest.approx(1, abs=1e-5)


def test_a_fresh_vlm_without_a_pooling_is_refused(fresh_vlm):
    with pytest.raises(ConfigError, match=r"not an embedding model yet.*model\.pooling=lasttoken"):
        HubModel(checkpoint=str(fresh_vlm)).build()


def test_a_second_pooling_is_refused(checkpoint):
    with pytest.raises(ConfigError, match=r"model\.pooling=mean cannot apply"):
        HubModel(checkpoint=str(checkpoint), pooling=PoolingMode.mean).build()


@pytest.mark.parametrize("dtype", [Dtype.float32, Dtype.bfloat16])
def test_dtype_and_attention_reach_the_weights(checkpoint, dtype):
    model = HubModel(checkpoint=str(checkpoint), dtype=dtype, attention=Attention.eager).build()
    assert model.dtype == getattr(torch, dtype.value)
    assert model.config._attn_implementation == "eager"


def test_without_flash_attention_sdpa_is_used_and_said(checkpoint, caplog):
    caplog.set_level("INFO")
    model = HubModel(checkpoint=str(checkpoint)).build()
    assert model.config._attn_implementation == "sdpa"
    assert "flash-attn is not installed" in caplog.text


def test_prompts_and_card_reach_the_model(checkpoint, tmp_path):
    card = Card(language="en", license="apache-2.0", name="A name")
    model = HubModel(checkpoint=str(checkpoint), prompts={"query": "Find: "}, card=card).build()
    assert model.prompts["query"] == "Find: "
    assert model.model_card_data.license == "apache-2.0"
    assert model.model_card_data.model_name == "A name"


@pytest.mark.parametrize(
    ("checkpoint", "why"), [("nobody/no-such-model", ""), ("/nowhere/model", "there is no such folder")]
)
def test_a_model_that_cannot_be_reached_is_named_before_weights_are_read(checkpoint, why):
    config = HubModel(checkpoint=checkpoint)
    for load in (config.embedding_dimension, config.build):
        with pytest.raises(ConfigError, match=rf"model\.checkpoint={checkpoint} .*cannot be loaded: .*{why}"):
            load()


def test_pixel_bounds_that_would_be_ignored_are_refused(tmp_path):
    folder = text_checkpoint(tmp_path)
    with pytest.raises(ConfigError, match=r"model\.max_pixels=1000 would have no effect"):
        HubModel(checkpoint=str(folder), max_pixels=1000).build()
    assert HubModel(checkpoint=str(folder)).build().get_embedding_dimension() == 32


def text_checkpoint(folder: Path) -> Path:
    """A tiny text embedding model with a fixed page size: none."""
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.base.modules import Transformer
    from sentence_transformers.sentence_transformer.modules import Pooling
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from tokenizers.pre_tokenizers import Whitespace
    from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

    words = {word: n for n, word in enumerate(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "page", "of", "a", "book"])}
    tokenizer = Tokenizer(WordLevel(words, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = Whitespace()
    base = folder / "bert"
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="[UNK]", pad_token="[PAD]").save_pretrained(base)
    sizes = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
    BertModel(BertConfig(vocab_size=len(words), **sizes)).save_pretrained(base)
    transformer = Transformer(str(base))
    SentenceTransformer(modules=[transformer, Pooling(32, "mean")]).save_pretrained(str(folder / "text"))
    return folder / "text"


def test_checksum_sees_a_single_changed_bit(checkpoint):
    model = HubModel(checkpoint=str(checkpoint)).build()
    before = weights_checksum(model)
    with torch.no_grad():
        weight = next(model.parameters()).view(-1)
        weight[7] = torch.nextafter(weight[7], weight.new_tensor(10.0))
    assert weights_checksum(model) != before


def test_the_checkpoint_has_the_hubs_layout(checkpoint):
    files = {path.name for path in checkpoint.iterdir()}
    assert {"config.json", "model.safetensors", "tokenizer.json", "modules.json", "chat_template.jinja"} <= files
    assert json.loads((checkpoint / "config.json").read_text())["model_type"] == "qwen3_vl"
