"""A batch that fits is embedded once, with the losses and gradients of the library's cached loss."""

from __future__ import annotations

import pytest
import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.losses import CachedMultipleNegativesRankingLoss, MatryoshkaLoss

from mmexp.gradient_cache import CachedMnrlOnceIfItFits
from mmexp.models.tiny_vlm import TinyVlm
from tests.conftest import page
from tests.models import tiny_checkpoints

TEXTS = [["a b", "c", "d e f"], ["b a", "c d e", "f"], ["g", "h", "i j"]]


@pytest.fixture(scope="module")
def model() -> SentenceTransformer:
    return TinyVlm(hidden_size=32, num_layers=1, vision_hidden_size=32, vision_num_layers=2).build()


def loss_and_gradients(model, loss, accumulation: float = 2.0) -> tuple[float, dict[str, torch.Tensor]]:
    """With the loss divided, as gradient accumulation does it."""
    model.zero_grad()
    value = loss([dict(model.preprocess(column)) for column in TEXTS], None)
    (value / accumulation).backward()
    gradients = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
    assert gradients
    return value.item(), gradients


@pytest.mark.parametrize("dims", [None, [32, 8]])
@pytest.mark.parametrize(("budget", "passes"), [(10_000, 3), (1, 18)])
def test_losses_and_gradients_are_those_of_the_librarys_cached_loss(model, monkeypatch, dims, budget, passes):
    def wrapped(loss):
        return MatryoshkaLoss(model, loss, dims) if dims else loss

    expected, expected_gradients = loss_and_gradients(
        model, wrapped(CachedMultipleNegativesRankingLoss(model, mini_batch_size=1))
    )
    calls = []
    forward = model.forward
    monkeypatch.setattr(model, "forward", lambda *args, **kwargs: calls.append(1) or forward(*args, **kwargs))
    found, gradients = loss_and_gradients(model, wrapped(CachedMnrlOnceIfItFits(model, mini_batch_num_tokens=budget)))
    assert len(calls) == passes  # one for each column, or two for each of nine inputs
    assert found == pytest.approx(expected, rel=1e-5)
    assert gradients.keys() == expected_gradients.keys()
    for name, gradient in gradients.items():
        torch.testing.assert_close(gradient, expected_gradients[name], rtol=1e-4, atol=1e-6, msg=name)


def test_evaluating_the_loss_needs_no_gradients(model):
    with torch.no_grad():
        loss = CachedMnrlOnceIfItFits(model, mini_batch_num_tokens=10_000)
        value = loss([dict(model.preprocess(column)) for column in TEXTS], None)
    assert value.item() > 0
    assert not value.requires_grad


def test_inputs_without_a_mask_are_cut_by_rows(tmp_path, monkeypatch):
    """CLIP's images have no tokens to count: 4 patches each, so a budget of 8 takes them two at a time."""
    tiny_checkpoints.clip(tmp_path)
    clip = SentenceTransformer(str(tmp_path))
    pages = [page(n) for n in range(4)]

    def loss_and_gradient(loss) -> tuple[float, torch.Tensor]:
        clip.zero_grad()
        value = loss([dict(clip.preprocess(["ab", "cd", "ef", "gh"])), dict(clip.preprocess(pages))], None)
        value.backward()
        return value.item(), clip[0].model.visual_projection.weight.grad.clone()

    expected, expected_gradient = loss_and_gradient(CachedMultipleNegativesRankingLoss(clip, mini_batch_size=4))
    sizes = []
    forward = clip.forward
    monkeypatch.setattr(clip, "forward", lambda batch: sizes.append(len(next(iter(batch.values())))) or forward(batch))
    loss = CachedMnrlOnceIfItFits(clip, mini_batch_num_tokens=8)
    found, gradient = loss_and_gradient(loss)
    assert sizes == [2] * 8
    assert loss.mini_batch_num_tokens == 8
    assert found == pytest.approx(expected, rel=1e-5)
    torch.testing.assert_close(gradient, expected_gradient, rtol=1e-4, atol=1e-6)
