"""Multi-vector models: parity with the published form, the index, losses, saving, and what is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hydra import compose, initialize_config_dir
from pyarrow import parquet
from sentence_transformers import MultiVectorEncoder
from sentence_transformers.multi_vector_encoder.evaluation import MultiVectorInformationRetrievalEvaluator

from mmexp.__main__ import CONF
from mmexp.data.made_up_pages import MadeUpPages
from mmexp.data.pairs import Rows, training_examples
from mmexp.embedder_archs.multi_vector import MultiVector, MultiVectorSimilarity
from mmexp.evaluation.encode import Encoder
from mmexp.evaluation.multi_vector import MultiVectorEvaluator
from mmexp.kinds import kind_of
from mmexp.losses.multi_vector_losses import MultiVectorCachedMnrl, MultiVectorMnrl
from mmexp.models.facts import weights_checksum
from mmexp.models.hub import HubModel
from mmexp.models.tiny_vlm import TinyVlm, write_checkpoint
from mmexp.schema import ConfigError
from mmexp.typed_config import register, to_experiment
from tests.conftest import page
from tests.loss_options import MULTI_VECTOR_LOSSES
from tests.test_run import QUICK, SMALL, assert_losses_equal, experiment_of, losses_of, run_in

PAGES = ["data.num_train_pages=20", "data.num_eval_pages=10"]
PIXELS = {"min_pixels": 1024, "max_pixels": 128 * 160}


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("tiny")
    write_checkpoint(TinyVlm(hidden_size=32, num_layers=1, vision_hidden_size=32, vision_num_layers=2), folder)
    return folder


def built(checkpoint: Path, seed: int = 0, **arch) -> MultiVectorEncoder:
    torch.manual_seed(seed)
    return HubModel(checkpoint=str(checkpoint), **PIXELS).build_multi_vector(MultiVector(**arch))


# 4096 tokens hold a whole batch, which ours embeds once and the plain script twice.
@pytest.mark.parametrize("mini_batch", [{"mini_batch_size": 1}, {"mini_batch_num_tokens": 4096}])
def test_losses_and_metrics_equal_those_of_the_published_form(checkpoint, vdr_columns, tmp_path, mini_batch):
    from tests.evaluation.reference_multivector import reference_multivector

    arguments = {
        "num_train_epochs": 1,
        "per_device_train_batch_size": 6,
        "learning_rate": 1e-3,
        "warmup_steps": 0.1,
        "logging_steps": 1,
        "seed": 5,
    }
    mapping = {r"^(model\.)?1\.linear": 1e-2}
    expected = reference_multivector(
        checkpoint, vdr_columns, tmp_path / "reference", mini_batch, learning_rate_mapping=mapping, **arguments
    )
    result = run_in(
        tmp_path,
        "+experiment=vdr_2b_multivector",
        "model=hub",
        f"model.checkpoint={checkpoint}",
        *[f"model.{key}={value}" for key, value in PIXELS.items()],
        f"data.path={vdr_columns}",
        "learning_rates.head=1e-2",
        "seed=5",
        "trainer.bf16=false",
        "trainer.eval_strategy=no",
        "trainer.save_strategy=no",
        "tracking=none",
        *[f"loss.{key}={value}" for key, value in mini_batch.items()],
        *[f"++trainer.{key}={value}" for key, value in arguments.items() if key != "seed"],
    )
    assert_losses_equal(tmp_path / "run", expected.losses, num_logged=4)
    for stage in ("baseline", "final"):
        for metric, value in getattr(expected, stage).items():
            assert result[stage][metric] == pytest.approx(value, abs=1e-6), metric
    assert expected.final != expected.baseline  # training moved something, or the claim is empty


@pytest.mark.parametrize("arch", [{}, {"similarity": MultiVectorSimilarity.meanmaxsim, "pool_factor": 3.0}])
def test_every_metric_equals_that_of_the_librarys_evaluator(checkpoint, arch):
    model = built(checkpoint, **arch)
    split = MadeUpPages(num_train_pages=5, num_eval_pages=40).build().evaluation
    evaluator = MultiVectorEvaluator(split, [128], Encoder(num_workers=1), document_batch_size=16)
    report = evaluator.evaluate(model)
    name = model.similarity_fn_name
    expected = MultiVectorInformationRetrievalEvaluator(
        {str(query): split.queries[query] for query in split.relevant},
        {split.documents.ids[document]: split.documents[document] for document in split.corpus},
        {str(query): {split.documents.ids[d] for d in answers} for query, answers in split.relevant.items()},
        write_csv=False,
        batch_size=16,
    )(model)
    assert len(expected) > 10
    for metric, value in expected.items():
        assert report.full[metric.removeprefix(f"{name}_")] == pytest.approx(value, abs=1e-6), metric
    lengths = [len(vectors) for vectors in model.encode_document([split.documents[d] for d in split.corpus])]
    assert report.full["vectors_per_document"] == np.mean(lengths) > 1
    assert report.full["bytes_per_document"] == np.mean(lengths) * 128 * 4


@pytest.mark.parametrize("loss", MULTI_VECTOR_LOSSES)
def test_every_loss_trains_a_model_that_is_loaded_again_as_it_was_saved(loss, tmp_path):
    overrides = ["+experiment=multivector_tiny", f"loss={loss}", *SMALL, *QUICK, *PAGES]
    trained = run_in(tmp_path / "train", *overrides, "embedder_arch.dimension=16", "embedder_arch.pool_factor=2")
    run_dir = tmp_path / "train" / "run"
    assert trained["status"] == "finished"
    assert [step for step, _ in losses_of(run_dir)] == [1, 2]
    assert trained["model"]["embedding_dimension"] == 16
    assert trained["by_dim"].keys() == {"16"}
    assert trained["throughput"]["pages_per_second"] > 0
    per_query = parquet.read_table(run_dir / "per_query" / "final.parquet").to_pylist()
    assert np.mean([row["ndcg@10"] for row in per_query]) == pytest.approx(trained["final"]["ndcg@10"])

    again = run_in(
        tmp_path / "again",
        *("task=evaluate", "embedder_arch=multi_vector", "model=hub", f"model.checkpoint={run_dir}"),
        *("data=made_up_pages", *PAGES, "dims=none", "trainer.bf16=false", "tracking=none"),
    )
    assert again["final"] == pytest.approx(trained["final"], abs=1e-6)
    saved = MultiVectorEncoder(str(run_dir / "model"))
    assert saved.similarity(saved.encode_query(["a"]), saved.encode_document([page(1)])).shape == (1, 1)


def test_the_cached_loss_equals_the_loss_without_a_cache_cut_or_not(checkpoint):
    model = built(checkpoint)
    train = MadeUpPages(num_train_pages=20, num_eval_pages=5).build().train
    rows = training_examples(train, Rows.columns).dataset()[:4]
    gradients, values = [], []
    for loss in (
        MultiVectorMnrl(score_mini_batch_size=64),
        MultiVectorCachedMnrl(mini_batch_size=1),
        MultiVectorCachedMnrl(mini_batch_num_tokens=80),
        MultiVectorCachedMnrl(mini_batch_num_tokens=4096),
    ):
        model.zero_grad()
        columns = [
            {**model.preprocess(cells, task=task), "task": task}
            for cells, task in zip(rows.values(), ("query", "document", "document"), strict=True)
        ]
        value = loss.build(model)(columns, None)
        value.backward()
        values.append(value.item())
        gradients.append(torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None]))
    assert gradients[0].norm() > 0.1
    for value, gradient in zip(values[1:], gradients[1:], strict=True):
        assert value == pytest.approx(values[0], rel=1e-5)
        assert torch.allclose(gradient, gradients[0], rtol=1e-3, atol=1e-5)


def test_the_loss_scores_as_the_model_does(checkpoint):
    losses = {
        similarity: MultiVectorMnrl().build(built(checkpoint, similarity=similarity)).similarity_fct.__name__
        for similarity in MultiVectorSimilarity
    }
    assert [*losses.values()] == ["colbert_scores", "mean_colbert_scores"]


def test_the_projection_comes_from_the_seed_in_the_size_and_type_that_are_asked_for(checkpoint):
    first, again, other = (built(checkpoint, seed, dimension=16) for seed in (0, 0, 1))
    assert weights_checksum(first) == weights_checksum(again) != weights_checksum(other)
    assert first.encode_query("a question").shape[1] == first.get_embedding_dimension() == 16
    assert built(checkpoint).get_embedding_dimension() == 128


def test_only_the_tokens_of_a_document_that_are_asked_for_count(checkpoint):
    whole, images = built(checkpoint), built(checkpoint, image_tokens_only=True)
    assert 1 < len(images.encode_document(page(1))) < len(whole.encode_document(page(1)))
    assert len(images.encode_query("a question")) == len(whole.encode_query("a question"))
    skipping = built(checkpoint, skiplist_words=["b"])
    assert len(skipping.encode_document("b a")) == len(whole.encode_document("b a")) - 1
    assert len(skipping.encode_query("b a")) == len(whole.encode_query("b a"))


@pytest.mark.parametrize(
    "rate", ["learning_rates: {head: 3e-3}", r"trainer: {learning_rate_mapping: {'^(model\.)?1\.linear': 3e-3}}"]
)
def test_the_projection_learns_at_a_rate_of_its_own(tmp_path, rate, monkeypatch):
    """By part, or by a pattern over names, which YAML carries with its special characters."""
    chosen = {"dims": "none", "loss": "multi_vector_cached_mnrl", "embedder_arch": "multi_vector"}
    overrides = ", ".join(f"override /{group}: {option}" for group, option in chosen.items())
    (tmp_path / "experiment").mkdir()
    (tmp_path / "experiment" / "mine.yaml").write_text(
        f"# @package _global_\ndefaults: [vdr_tiny, {overrides}, _self_]\nname: mine\n{rate}\n"
    )
    groups = []
    from transformers.trainer_callback import TrainerCallback

    class Look(TrainerCallback):
        def on_train_begin(self, args, state, control, **kwargs) -> None:
            model = kwargs["model"]
            names = {id(parameter): name for name, parameter in model.named_parameters()}
            groups.extend(
                ({names[id(p)] for p in group["params"]}, group["initial_lr"])
                for group in kwargs["optimizer"].param_groups
            )

    monkeypatch.setattr("mmexp.training.fit.optional_callbacks", lambda experiment, folder: [Look()])
    run_in(tmp_path, f"hydra.searchpath=[file://{tmp_path}]", "+experiment=mine", *SMALL, *QUICK, *PAGES)
    own = {name for names, initial in groups if initial == 3e-3 for name in names}
    others = {name for names, initial in groups if initial == 1e-3 for name in names}
    assert {name.removeprefix("model.") for name in own} == {"1.linear.weight"}
    assert len(others) > 20


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["reranker_arch=any_to_any"], "embedder_arch=multi_vector cannot be with reranker_arch"),
        (["dims=halves"], "dims names embedding sizes, and the vectors of a multi-vector model have one"),
        (["dims.truncate_dim=16"], "dims names embedding sizes"),
        (["loss=cached_mnrl"], "CachedMnrl is a loss for embedders, and the model is a multi-vector embedder"),
        (["embedder_arch=single_vector"], r"is a loss for multi-vector embedders.*\(loss=cached_mnrl\)"),
        (["embedder_arch.pool_factor=0.5"], r"embedder_arch\.pool_factor=0\.5 is below 1"),
        (["loss.score_mini_batch_size=0"], r"loss\.score_mini_batch_size=0 is below 1"),
        (["loss.mini_batch_size=0"], r"loss\.mini_batch_size=0 is below 1"),
    ],
)
def test_contradictions_are_refused_with_the_way_out(tmp_path, overrides, message):
    with pytest.raises(ConfigError, match=message):
        experiment_of(tmp_path, "+experiment=multivector_tiny", *overrides)


def test_what_a_checkpoint_cannot_be_is_refused(checkpoint, tmp_path):
    pooled = tmp_path / "pooled"
    built(checkpoint, pool_factor=2.0).save_pretrained(str(pooled))
    with pytest.raises(
        ConfigError, match=r"is a multi-vector model, and here an embedder is asked for.*embedder_arch=mu"
    ):
        HubModel(checkpoint=str(pooled)).build()
    with pytest.raises(ConfigError, match=r"dimension=16 cannot apply: the checkpoint has vectors of 128 already"):
        built(pooled, dimension=16)
    with pytest.raises(ConfigError, match=r"pool_factor=4\.0 would pool what the checkpoint has pooled already"):
        built(pooled, pool_factor=4.0)


def test_a_fresh_vlm_becomes_a_multi_vector_model(checkpoint, tmp_path):
    for file in checkpoint.iterdir():
        if file.is_file() and file.name not in ("modules.json", "sentence_bert_config.json"):
            (tmp_path / file.name).symlink_to(file)
    model = built(tmp_path)
    assert [type(module).__name__ for module in model] == ["Transformer", "Dense", "MultiVectorMask", "Normalize"]
    assert model.encode_document(page(1)).shape[1] == 128


def test_the_experiment_is_the_published_recipe():
    register()
    with initialize_config_dir(str(CONF), version_base="1.3"):
        overrides = ["+experiment=vdr_2b_multivector", "tracking.grid=ESP"]
        multivector, single = (
            to_experiment(compose("config", overrides=[name, *overrides[1:]]))
            for name in (overrides[0], "+experiment=vdr_2b")
        )
    assert kind_of(multivector).trainer_class.__name__ == "MultiVectorEncoderTrainer"
    assert (multivector.model.checkpoint, multivector.data) == (single.model.checkpoint, single.data)
    assert multivector.embedder_arch == MultiVector()
    assert multivector.loss.scale == 1.0
    assert {part.value: rate for part, rate in multivector.learning_rates.items()} == {"head": 2e-4}
    assert multivector.trainer == {**single.trainer, "max_grad_norm": 30.0, "batch_sampler": "batch_sampler"}
