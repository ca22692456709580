"""The embedded model: the same code path as the 2B, small enough for any test."""

from pathlib import Path

import pytest
import torch
from PIL import Image
from transformers import Qwen3VLConfig, Qwen3VLModel
from transformers.models.qwen3_vl import Qwen3VLProcessor

from mmexp.data.made_up_pages import ASKED
from mmexp.models.tiny_vlm import TinyVlm, train_tokenizer, write_checkpoint

SMALL = {"hidden_size": 32, "num_layers": 1, "vision_hidden_size": 32, "vision_num_layers": 2}
REAL_PAGE_PIXELS = 360_000
ANY_TEXT = "naïve Straße, 東京 🙂\n\t{}"


def weights_of(folder: Path, seed: int) -> bytes:
    folder.mkdir()
    write_checkpoint(TinyVlm(weights_seed=seed, **SMALL), folder)
    return (folder / "model.safetensors").read_bytes()


@pytest.fixture(scope="module")
def model():
    return TinyVlm(**SMALL, min_pixels=1024, max_pixels=REAL_PAGE_PIXELS).build()


def test_the_same_seed_writes_the_same_bytes_and_another_seed_others(tmp_path):
    first, again, other = (weights_of(tmp_path / name, seed) for name, seed in (("a", 0), ("b", 0), ("c", 1)))
    assert first == again
    assert first != other


def test_writing_a_checkpoint_leaves_the_callers_random_state_alone(tmp_path):
    before = torch.get_rng_state()
    write_checkpoint(TinyVlm(**SMALL), tmp_path)
    assert torch.equal(torch.get_rng_state(), before)


def test_it_is_the_architecture_and_processor_of_the_2b(model):
    transformer = model[0].model
    assert type(transformer) is Qwen3VLModel
    assert type(transformer.config) is Qwen3VLConfig
    assert type(model.processor) is Qwen3VLProcessor
    assert len(transformer.visual.deepstack_merger_list) == 2


def test_every_asked_word_and_role_is_one_token():
    tokenizer = train_tokenizer()
    words = [f" {value}" for values in ASKED.values() for value in values]
    assert len(words) > 20
    for word in [*words, "user", "assistant"]:
        assert len(tokenizer.encode(word, add_special_tokens=False)) == 1, word


def test_any_text_survives_the_tokenizer():
    tokenizer = train_tokenizer()
    assert tokenizer.decode(tokenizer.encode(ANY_TEXT, add_special_tokens=False)) == ANY_TEXT


def test_a_page_at_real_resolution_takes_a_token_per_merged_patch(model):
    page = Image.new("RGB", (1654, 2339), "white")
    features = model.preprocess([page])
    _, height, width = features["image_grid_thw"][0].tolist()
    image_tokens = int((features["input_ids"] == model[0].model.config.image_token_id).sum())
    assert image_tokens == height * width // 4
    assert REAL_PAGE_PIXELS * 0.8 < height * width * 16 * 16 <= REAL_PAGE_PIXELS


def test_texts_and_pages_of_one_batch_keep_their_embeddings(model):
    pages = [Image.radial_gradient("L").convert("RGB").resize(size) for size in ((96, 128), (256, 160))]
    inputs = ["short", "a much longer question about a page", *pages]
    alone = torch.stack([model.encode(item, convert_to_tensor=True) for item in inputs])
    together = torch.cat(
        [model.encode(inputs[:2], convert_to_tensor=True), model.encode(inputs[2:], convert_to_tensor=True)]
    )
    assert torch.allclose(alone, together, atol=1e-5)
    assert not torch.allclose(alone[2], alone[3], atol=1e-3)
