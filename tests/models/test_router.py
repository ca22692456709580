"""Routers: encoders by modality and by task, what they say of themselves, and what they refuse."""

from __future__ import annotations

import pytest
import torch

from mmexp.data.cells import Values
from mmexp.data.splits import Row, Split
from mmexp.models.facts import check_modalities, model_facts
from mmexp.models.hub import Card, HubModel
from mmexp.models.router import Router, RouterEncoder
from mmexp.reranker_archs.any_to_any import AnyToAny
from mmexp.schema import ConfigError
from tests.conftest import page
from tests.models import tiny_checkpoints as tiny
from tests.test_run import QUICK, run_in

TEXTS = ["who is it", "a much longer question, about page 12"]


@pytest.fixture(scope="module")
def minilm(tmp_path_factory) -> str:
    tiny.minilm(folder := tmp_path_factory.mktemp("minilm"))
    return str(folder)


@pytest.fixture(scope="module")
def siglip(tmp_path_factory) -> str:
    tiny.siglip(folder := tmp_path_factory.mktemp("siglip"))
    return str(folder)


@pytest.fixture(scope="module")
def qwen(tmp_path_factory) -> str:
    tiny.qwen3_vl(folder := tmp_path_factory.mktemp("qwen"))
    return str(folder)


@pytest.fixture(scope="module")
def by_modality(minilm, siglip) -> Router:
    return Router(
        encoders={
            "text": RouterEncoder(checkpoint=minilm, projection_dimension=32),
            "image": RouterEncoder(checkpoint=siglip),
        }
    )


def test_an_input_goes_to_the_encoder_of_its_modality(by_modality, minilm, siglip):
    model = by_modality.build()
    images = model.encode([page(1), page(2)], convert_to_tensor=True)
    expected = HubModel(checkpoint=siglip).build().encode([page(1), page(2)], convert_to_tensor=True)
    torch.testing.assert_close(images, torch.nn.functional.normalize(expected))
    bert, pooling, dense = model[0].sub_modules["text"]
    assert pooling.pooling_mode == "mean"
    features = pooling(bert(bert.preprocess(TEXTS)))
    expected = torch.nn.functional.normalize(dense(features)["sentence_embedding"])
    for task in (None, "query", "document"):
        torch.testing.assert_close(model.encode(TEXTS, task=task, convert_to_tensor=True), expected)


def test_its_facts_name_every_encoder_and_its_tokens_are_its_image_encoders(by_modality):
    facts = model_facts(by_modality.build())
    assert facts.architecture == "BertModel + SiglipModel"
    assert facts.modules == ["Router(text: Transformer + Pooling(mean) + Dense, image: Transformer)", "Normalize"]
    assert facts.tokens_per_page == (tiny.IMAGE_SIZE // 16) ** 2
    assert facts.embedding_dimension == by_modality.embedding_dimension() == 32


def test_tasks_have_encoders_of_their_own(minilm, qwen, tmp_path):
    router = Router(encoders={"query": RouterEncoder(checkpoint=minilm), "document": RouterEncoder(checkpoint=qwen)})
    model = router.build()
    query, document = (model.encode(TEXTS, task=task) for task in ("query", "document"))
    assert query == pytest.approx(HubModel(checkpoint=minilm).build().encode(TEXTS), abs=1e-6)
    assert document == pytest.approx(HubModel(checkpoint=qwen).build().encode(TEXTS), abs=1e-6)
    assert (model.encode(TEXTS) == document).all()
    model.save_pretrained(str(tmp_path))
    saved = HubModel(checkpoint=str(tmp_path))
    assert saved.embedding_dimension() is None
    assert (saved.build().encode(TEXTS, task="query") == query).all()


def test_a_task_and_a_modality_together_come_first(minilm, siglip, qwen):
    names = {"text": minilm, "query_text": qwen, "image": siglip}
    model = Router(encoders={name: RouterEncoder(checkpoint=checkpoint) for name, checkpoint in names.items()}).build()
    text = model.encode(TEXTS, task="document")
    assert text == pytest.approx(HubModel(checkpoint=minilm).build().encode(TEXTS), abs=1e-6)
    assert model.encode(TEXTS, task="query") == pytest.approx(HubModel(checkpoint=qwen).build().encode(TEXTS), abs=1e-6)


def test_pixel_bounds_reach_the_encoder_that_takes_them(minilm, qwen, siglip):
    encoders = {"text": RouterEncoder(checkpoint=minilm), "image": RouterEncoder(checkpoint=qwen)}
    small, large = (
        model_facts(Router(encoders=encoders, min_pixels=1024, max_pixels=pixels).build()).tokens_per_page
        for pixels in (4096, 102_400)
    )
    assert small < large / 4
    with pytest.raises(ConfigError, match=r"model\.max_pixels=4096 would have no effect on BertModel \+ SiglipModel"):
        Router(encoders={**encoders, "image": RouterEncoder(checkpoint=siglip)}, max_pixels=4096).build()


@pytest.mark.parametrize("routing", ["modality", "task", "static"])
def test_a_router_trains_every_encoder_and_a_saved_one_trains_on(
    routing, minilm, siglip, qwen, vdr_columns, tmp_path, monkeypatch
):
    """With mini-batches of one input."""
    steps = []
    monkeypatch.setattr("mmexp.run.save_model", _save_and_remember(steps))
    tiny.static(tmp_path / "static")
    encoders = {
        "modality": {"text": minilm, "image": siglip},
        "task": {"query": minilm, "document": qwen},
        "static": {"query": tmp_path / "static", "document": qwen},
    }[routing]
    entries = ",".join(f"{name}:{{checkpoint:{checkpoint}}}" for name, checkpoint in encoders.items())
    router = ["model=router", f"+model.encoders={{{entries}}}"]
    data = [f"data.path={vdr_columns}", "data.max_train_rows=8", "data.max_eval_queries=2", "dims=none"]
    common = ["+experiment=vdr_2b", *data, *QUICK, "trainer.bf16=false", "tracking=none", "tracking.grid=null"]
    common += ["trainer.dataloader_num_workers=1", "trainer.learning_rate=1e-2"]
    if routing == "static":
        with pytest.raises(ConfigError, match=r"cannot cut the inputs of static embeddings\. Use loss\.recompute="):
            run_in(tmp_path / "cached", *common, *router, "loss.recompute=gradcache")
    common += ["loss.mini_batch_num_tokens=1"]
    first = run_in(tmp_path / "first", *common, *router)
    assert first["model"]["modules"][0].startswith("Router(")
    assert first["throughput"]["pages_per_second"] > 0
    saved = tmp_path / "first" / "run" / "model"
    again = run_in(tmp_path / "again", *common, "model=hub", f"model.checkpoint={saved}")
    assert again["baseline"] == first["final"]
    before, after = (dict(model.named_parameters()) for model in steps)
    for route in encoders:
        moved = [n for n in before if f".{route}." in n and not torch.equal(before[n], after[n])]
        assert moved, route


def _save_and_remember(models: list):
    from mmexp.training.save import save_model

    return lambda model, *rest: models.append(model) or save_model(model, *rest)


def test_the_first_inputs_are_tried_before_anything_is_computed(minilm, siglip, by_modality):
    def split(query, document) -> Split:
        return Split(Values(["q1"], [query]), Values(["d1"], [document]), [Row(0, 0, [])])

    check_modalities(by_modality.build(), split("who", page(1)))
    with pytest.raises(
        ConfigError, match=r"BertModel \+ SiglipModel\) cannot take the document 'd1', which is audio: it takes"
    ):
        check_modalities(by_modality.build(), split("who", torch.zeros(100)))
    with pytest.raises(
        ConfigError, match=r"\(BertModel\) cannot take the document 'd1', which is image: it takes text\."
    ):
        check_modalities(HubModel(checkpoint=minilm).build(), split("who", page(1)))
    apart = Router(
        encoders={"query_text": RouterEncoder(checkpoint=minilm), "document_image": RouterEncoder(checkpoint=siglip)}
    )
    with pytest.raises(ConfigError, match=r"cannot take the document 'd1', which is text: No route found"):
        check_modalities(apart.build(), split("who", "a text"))


def test_what_cannot_be_is_refused_with_the_encoders_own_key(minilm, siglip):
    wide = RouterEncoder(checkpoint=minilm, projection_dimension=48)
    text, image = RouterEncoder(checkpoint=minilm), RouterEncoder(checkpoint=siglip)
    refused = [
        ({"text": text}, r"names 1 encoders"),
        ({"text": text, "imgae": image}, r"model\.encoders\.imgae: 'imgae' is neither a task .* Did you mean 'image'"),
        ({"text": text, "audio": image}, r"model\.encoders\.audio cannot be .* takes text, image and not audio"),
        ({"text": wide, "image": image}, r"model\.encoders\.image\.projection_dimension=48"),
        ({"text": text, "image": RouterEncoder(checkpoint="no/model")}, r"model\.encoders\.image\.checkpoint=no/model"),
        (
            {"text": text, "image": RouterEncoder(checkpoint=siglip, max_pixels=9)},
            r"model\.encoders\.image\.max_pixels=9",
        ),
        ({"text": text, "image": RouterEncoder(checkpoint=siglip, card=Card(name="x"))}, r"Use model\.card"),
    ]
    for encoders, message in refused:
        with pytest.raises(ConfigError, match=message):
            Router(encoders=encoders).build()
    with pytest.raises(ConfigError, match=r"a reranker reads both together"):
        Router(encoders={"text": text, "image": image}).build_reranker(AnyToAny(), {})


def test_a_dual_encoder_is_taken_as_it_is(siglip, tmp_path):
    from mmexp.models.hub import PoolingMode

    assert model_facts(HubModel(checkpoint=siglip).build()).modules == ["Transformer"]
    with pytest.raises(ConfigError, match=r"\(SiglipModel\) pools each modality itself\. Use model\.pooling=null"):
        HubModel(checkpoint=siglip, pooling=PoolingMode.mean).build()
    with pytest.raises(ConfigError, match=r"Give it with model\.max_seq_length=64"):
        HubModel(checkpoint=siglip, pad_to_max_length=True)


def test_siglips_texts_do_not_depend_on_their_batch_once_they_are_padded(siglip):
    unpadded = HubModel(checkpoint=siglip).build()
    assert unpadded.encode(TEXTS)[0] != pytest.approx(unpadded.encode(TEXTS[0]), abs=1e-2)
    padded = HubModel(checkpoint=siglip, max_seq_length=64, pad_to_max_length=True).build()
    assert padded.encode(TEXTS)[0] == pytest.approx(padded.encode(TEXTS[0]), abs=1e-5)
