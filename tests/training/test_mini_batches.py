"""Mini-batches: the losses and gradients of the batch as a whole, in the memory of one mini-batch."""

from __future__ import annotations

from contextlib import nullcontext

import pytest
import torch
from peft import LoraConfig
from sentence_transformers import SentenceTransformer
from sentence_transformers.base.losses.gradcache import _get_batch_size
from sentence_transformers.sentence_transformer.losses import (
    CachedMultipleNegativesRankingLoss,
    MatryoshkaLoss,
    MultipleNegativesRankingLoss,
)
from torch import nn
from torch.distributed._tools.mem_tracker import MemTracker

from mmexp.losses.mini_batches import Recompute
from mmexp.losses.mnrl import CachedMnrl, Mnrl
from mmexp.models.tiny_vlm import TinyVlm
from mmexp.schema import ConfigError
from mmexp.training.mini_batches import MiniBatchedForward, ranges
from tests.conftest import page
from tests.distributed.engines import ENGINES
from tests.models import tiny_checkpoints
from tests.test_run import experiment_of

TEXTS = [["a b", "c", "d e f"], ["b a", "c d e", "f"], ["g", "h", "i j"]]
# Queries, pages, and negatives that are pages of other sizes.
MIXED = [TEXTS[0], [page(n) for n in range(3)], [page(n, (64, 96 + 32 * n)) for n in range(3)]]


def new_model() -> SentenceTransformer:
    torch.manual_seed(0)
    return TinyVlm(hidden_size=32, num_layers=1, vision_hidden_size=32, vision_num_layers=2).build()


@pytest.fixture
def model() -> SentenceTransformer:
    return new_model()


def loss_and_gradient(model, loss, columns=MIXED, accumulation: float = 2.0) -> tuple[float, torch.Tensor]:
    """With the loss divided, as gradient accumulation does it."""
    model.zero_grad()
    value = loss([dict(model.preprocess(column)) for column in columns], None)
    (value / accumulation).backward()
    gradient = torch.cat([p.grad.flatten().clone() for p in model.parameters() if p.grad is not None])
    assert gradient.norm() > 1e-3
    return value.item(), gradient


def assert_equal(found, expected, tolerance: float = 1e-5) -> None:
    assert found[0] == pytest.approx(expected[0], rel=tolerance)
    assert (found[1] - expected[1]).norm() <= tolerance * expected[1].norm()


def count_rows(model, monkeypatch) -> list[int]:
    """How many inputs each forward pass of the model has had, as they come."""
    sizes: list[int] = []
    forward = model.forward

    def counted(features, **kwargs):
        sizes.append(_get_batch_size(features))
        return forward(features, **kwargs)

    monkeypatch.setattr(model, "forward", counted)
    return sizes


def test_the_end_of_a_batch_is_computed_once_and_what_is_before_it_in_order():
    assert ranges([3, 3, 3, 3], budget=6, left=12) == ([(0, 2)], [(2, 4)])
    assert ranges([3, 3, 3, 3], budget=7, left=20) == ([(0, 2), (2, 4)], [])
    assert ranges([3, 3, 3, 3], budget=7, left=16) == ([(0, 2), (2, 3)], [(3, 4)])
    assert ranges([9, 1, 9], budget=2, left=19) == ([(0, 1), (1, 2), (2, 3)], [])
    assert ranges([2, 2], budget=5, left=4) == ([], [(0, 2)])


@pytest.mark.parametrize("dims", [None, [32, 8]])
@pytest.mark.parametrize(
    ("cut", "passes"),
    [
        ({"mini_batch_num_tokens": 10_000}, [3, 3, 3]),
        ({"mini_batch_num_tokens": 1}, [1] * 18),
        ({"mini_batch_num_tokens": 50}, [3, 2, 1, 1, 2, 1, 1, 2, 3]),
        ({"mini_batch_size": 1}, [1] * 17),
        ({"mini_batch_size": 2}, [2, 1, 2, 1, 1, 2, 1, 1, 2, 1, 2]),
    ],
)
def test_losses_and_gradients_are_those_of_the_librarys_losses(model, monkeypatch, dims, cut, passes):
    def wrapped(loss):
        return MatryoshkaLoss(model, loss, dims) if dims else loss

    expected = loss_and_gradient(model, wrapped(MultipleNegativesRankingLoss(model)))
    cached = loss_and_gradient(model, wrapped(CachedMultipleNegativesRankingLoss(model, mini_batch_size=1)))
    sizes = count_rows(model, monkeypatch)
    found = loss_and_gradient(model, wrapped(CachedMnrl(**cut).build(model)))
    assert sizes == passes
    assert_equal(found, expected)
    assert_equal(found, cached)


def bf16(model):
    return torch.autocast("cpu", torch.bfloat16)


def gradient_checkpointing(model):
    model[0].model.gradient_checkpointing_enable()
    return nullcontext()


def lora(model):
    model.add_adapter(LoraConfig(target_modules=["q_proj", "v_proj"], init_lora_weights=False))
    return nullcontext()


def frozen(model):
    for parameter in model[0].model.visual.parameters():
        parameter.requires_grad = False
    return nullcontext()


@pytest.mark.parametrize("change", [bf16, gradient_checkpointing, lora, frozen], ids=lambda change: change.__name__)
def test_it_holds_however_the_model_is_trained(model, change):
    model.train()
    with change(model):
        expected = loss_and_gradient(model, Mnrl().build(model))
        found = loss_and_gradient(model, CachedMnrl(mini_batch_size=1).build(model))
    assert_equal(found, expected, tolerance=0.03 if change is bf16 else 1e-5)


def test_dropout_is_the_same_when_a_mini_batch_is_computed_again(model, monkeypatch):
    model[0].model.language_model.layers[0].mlp.down_proj = nn.Sequential(
        model[0].model.language_model.layers[0].mlp.down_proj, nn.Dropout(0.5)
    )
    model.train()
    loss = CachedMnrl(mini_batch_size=1).build(model)
    torch.manual_seed(7)
    found = loss_and_gradient(model, loss)
    torch.manual_seed(8)
    assert loss_and_gradient(model, loss)[0] != found[0]  # there is dropout, or the claim is empty
    monkeypatch.setattr(
        "mmexp.training.mini_batches.checkpoint", lambda f, *args, use_reentrant, **kwargs: f(*args, **kwargs)
    )
    torch.manual_seed(7)
    assert_equal(found, loss_and_gradient(model, loss))


def peak_bytes(num_rows: int, loss_config) -> int:
    """Of a step, beyond the pages themselves."""
    model = new_model()
    columns = [["a"] * num_rows, [page(n) for n in range(num_rows)]]
    features = [dict(model.preprocess(column)) for column in columns]
    loss = loss_config.build(model)
    with MemTracker() as tracker:
        loss(features, None).backward()
    return tracker.get_tracker_snapshot("peak")[torch.device("cpu")]["Total"] - features[1]["pixel_values"].nbytes


def test_memory_does_not_grow_with_the_batch():
    """But for the embeddings themselves; what a mini-batch of pages takes is far more."""
    cut = CachedMnrl(mini_batch_num_tokens=100)
    growth = peak_bytes(24, cut) - peak_bytes(8, cut)
    assert growth < 0.1 * (peak_bytes(24, Mnrl()) - peak_bytes(8, Mnrl()))


def test_without_gradients_mini_batches_bound_the_memory_too(model, monkeypatch):
    sizes = count_rows(model, monkeypatch)
    with torch.no_grad():
        value = CachedMnrl(mini_batch_size=2).build(model)([dict(model.preprocess(column)) for column in MIXED], None)
    assert sizes == [2, 1, 2, 1, 1, 2]
    assert value.item() > 0
    assert not value.requires_grad


def test_outside_of_its_loss_a_model_is_as_it_was(model, monkeypatch):
    expected = model.encode(TEXTS[0] * 4)
    sizes = count_rows(model, monkeypatch)
    loss_and_gradient(model, MatryoshkaLoss(model, CachedMnrl(mini_batch_size=1).build(model), [32, 8]))
    sizes.clear()
    assert (model.encode(TEXTS[0] * 4) == expected).all()
    assert sizes == [12]


def test_inputs_without_a_mask_are_cut_by_rows(tmp_path, monkeypatch):
    """CLIP's images have no tokens to count: 4 patches each, so a budget of 8 takes them two at a time."""
    torch.manual_seed(0)
    tiny_checkpoints.clip(tmp_path)
    clip = SentenceTransformer(str(tmp_path))
    columns = [["ab", "cd", "ef", "gh"], [page(n) for n in range(4)]]
    expected = loss_and_gradient(clip, MultipleNegativesRankingLoss(clip), columns)
    sizes = count_rows(clip, monkeypatch)
    found = loss_and_gradient(clip, CachedMnrl(mini_batch_num_tokens=8).build(clip), columns)
    assert sizes == [2, 2, 2, 2, 2, 2, 2]
    assert_equal(found, expected, 1e-4)  # its weights are large


def test_static_embeddings_are_not_cut(tmp_path):
    tiny_checkpoints.static(tmp_path)
    static = SentenceTransformer(str(tmp_path))
    expected = loss_and_gradient(static, MultipleNegativesRankingLoss(static), TEXTS)
    assert_equal(loss_and_gradient(static, CachedMnrl(mini_batch_size=1).build(static), TEXTS), expected)


class Flat(nn.Module):
    """Takes inputs as Flash Attention has them: all tokens in one row."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.embedding = nn.Embedding(20, 8)

    def forward(self, features, **kwargs):
        tokens = self.embedding(features["input_ids"][0]).tanh()
        lengths = features["cu_seq_lens_q"].diff().tolist()
        assert features["max_length_q"] == max(lengths)
        return {"sentence_embedding": torch.stack([part.mean(0) for part in tokens.split(lengths)])}


def test_flattened_inputs_are_cut_where_an_input_ends():
    def loss_and_gradient(cut: bool) -> tuple[float, torch.Tensor]:
        model = Flat()
        loss = MultipleNegativesRankingLoss(model)
        columns = [
            {
                "input_ids": torch.arange(first, first + 9)[None],
                "cu_seq_lens_q": torch.tensor([0, 2, 5, 9]),
                "cu_seq_lens_k": torch.tensor([0, 2, 5, 9]),
                "max_length_q": 4,
                "max_length_k": 4,
            }
            for first in (0, 11)
        ]
        value = (MiniBatchedForward(model, num_tokens=5).of_loss(loss) if cut else loss)(columns, None)
        value.backward()
        return value.item(), model.embedding.weight.grad

    assert_equal(loss_and_gradient(cut=True), loss_and_gradient(cut=False))


def test_the_librarys_cached_loss_remains_one_key_away(model):
    loss = CachedMnrl(recompute=Recompute.gradcache, mini_batch_size=2).build(model)
    assert type(loss) is CachedMultipleNegativesRankingLoss
    assert loss.mini_batch_size == 2


@pytest.mark.parametrize(
    ("option", "engines", "instead"),
    [
        (["cached_mnrl", "loss.recompute=gradcache"], ["zero2", "zero3", "fsdp2"], r"Use loss\.recompute=checkpoint"),
        (
            ["multi_vector_cached_mnrl", "loss.recompute=gradcache", "loss.mini_batch_size=1"],
            ["zero2", "zero3"],
            r"Use loss\.recompute=checkpoint, or launch/accelerate=zero1\.",
        ),
        (["reranker_cached_mnrl"], ["zero2", "zero3"], r"Use loss=reranker_mnrl, or launch/accelerate=zero1\."),
        (["cached_mnrl"], [], ""),
        (["mnrl"], [], ""),
    ],
)
def test_losses_with_several_backward_passes_name_the_engines_that_they_cannot_have(tmp_path, option, engines, instead):
    kind = {"multi": "multivector_tiny", "reran": "reranker_tiny"}.get(option[0][:5], "vdr_tiny")
    loss = experiment_of(tmp_path, f"+experiment={kind}", f"loss={option[0]}", *option[1:]).loss
    for engine in (None, *ENGINES):
        if engine in engines:
            with pytest.raises(ConfigError, match=rf"launch/accelerate={engine}.*{instead}"):
                loss.check_distributed(engine)
        else:
            loss.check_distributed(engine)


def test_the_librarys_cached_gist_is_refused(tmp_path):
    with pytest.raises(ConfigError, match=r"embeds every batch with the guide too.*Use loss\.recompute=checkpoint"):
        experiment_of(
            tmp_path,
            *("+experiment=vdr_tiny", "loss=cached_gist", "loss.guide.checkpoint=me/guide", "loss.recompute=gradcache"),
        )
