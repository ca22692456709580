"""Freezing, adapters and learning rates by part: only what is named moves, and an adapter outlives its run."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from sentence_transformers import CrossEncoder, SentenceTransformer

from mmexp.adapters import work_in_adapters
from mmexp.adapters.lora import Lora, linear_layers
from mmexp.models.hub import HubModel
from mmexp.models.tiny_vlm import TinyVlm, write_checkpoint
from mmexp.models.weights import Dtype, Quantization
from mmexp.reranker_archs.any_to_any import AnyToAny
from mmexp.reranker_archs.feature_extraction import FeatureExtraction
from mmexp.reranker_archs.sequence_classification import SequenceClassification
from mmexp.schema import ConfigError
from mmexp.training.parts import Part, parameters_by_part, part_of, pattern_of
from mmexp.training.tuning import Tuning
from tests.conftest import page
from tests.evaluation.test_reranking import write_bert
from tests.models.test_models import text_checkpoint
from tests.test_run import (
    BARE,
    QUICK,
    SMALL,
    continue_in,
    evaluated_again,
    experiment_of,
    losses_of,
    run_in,
    stop_after,
)

RUN = ["+experiment=vdr_tiny", "dims=none", *SMALL, *QUICK, "data.num_train_pages=40", "data.num_eval_pages=10"]
LORA = ["adapter=lora", "adapter.rank=4", "trainer.learning_rate=1e-2"]


def tiny() -> TinyVlm:
    return TinyVlm(hidden_size=32, num_layers=1, vision_hidden_size=32, vision_num_layers=2)


def loaded(run_dir: Path) -> SentenceTransformer:
    return SentenceTransformer(str(run_dir / "model"))


def moved(run_dir: Path) -> set[str]:
    """The names of the parameters that training changed."""
    before, after = dict(tiny().build().named_parameters()), dict(loaded(run_dir).named_parameters())
    assert before.keys() == after.keys()
    return {name for name in before if not torch.equal(before[name], after[name])}


@pytest.mark.parametrize(
    ("build", "parts"),
    [
        (lambda: tiny().build(), {"vision", "merger", "language"}),
        (lambda: tiny().build_reranker(AnyToAny(), {}), {"vision", "merger", "language"}),  # the head is tied
        (lambda: tiny().build_reranker(FeatureExtraction(), {}), {"vision", "merger", "language", "head"}),
    ],
)
def test_every_parameter_is_of_one_part_and_each_part_has_a_pattern_that_finds_it_alone(build, parts):
    import re

    model = build()
    by_part = parameters_by_part(model)
    assert {part.value for part in by_part} == parts
    assert sum(map(len, by_part.values())) == len(list(model.parameters()))
    inside_a_loss = {f"loss.model.{name}" for name, _ in model.named_parameters()}
    for part, parameters in by_part.items():
        found = {name for name in inside_a_loss if re.search(pattern_of(part, model), name)}
        assert found == {f"loss.model.{name}" for name in parameters}, part
        assert len(pattern_of(part, model)) < 200


def test_a_text_model_is_all_language(tmp_path):
    model = HubModel(checkpoint=str(text_checkpoint(tmp_path))).build()
    assert set(parameters_by_part(model)) == {Part.language}


@pytest.mark.parametrize(
    ("parameter", "part"),
    [
        ("0.model.vision_model.encoder.layers.0.mlp.fc1.weight", Part.vision),  # CLIP, SigLIP
        ("0.model.visual_projection.weight", Part.merger),
        ("0.model.text_model.encoder.layers.0.mlp.fc1.weight", Part.language),
        ("0.model.multi_modal_projector.linear_1.weight", Part.merger),  # LLaVA
        ("0.model.audio_tower.layers.0.fc1.weight", Part.audio),  # Qwen-Omni
        ("0.sub_modules.image.0.model.vision_model.embeddings.weight", Part.vision),
        ("0.sub_modules.text.0.model.encoder.layer.0.output.dense.weight", Part.language),
        ("0.sub_modules.query.0.model.embeddings.weight", Part.query),
        ("0.sub_modules.document_image.0.model.vision_model.embeddings.weight", Part.document),
        ("0.sub_modules.text.2.linear.weight", Part.head),  # a router's projection
        ("0.model.lm_head.weight", Part.head),
        ("2.linear.weight", Part.head),
    ],
)
def test_names_of_other_architectures(parameter, part):
    assert part_of(parameter) is part


def test_frozen_parts_stay_as_they_are_and_all_others_move(tmp_path):
    result = run_in(tmp_path, *RUN, "freeze=[vision,merger]")
    names = moved(tmp_path / "run")
    assert {part_of(name) for name in names} == {Part.language}
    language = parameters_by_part(tiny().build())[Part.language]
    # A token that no row has keeps its embedding, but the matrix as a whole moves.
    assert names == set(language)
    assert result["trainable_parameters"] == {
        "vision": 0,
        "merger": 0,
        "language": sum(parameter.numel() for parameter in language.values()),
    }


def test_lora_moves_the_layers_that_it_names_and_is_saved_merged(tmp_path):
    result = run_in(tmp_path, *RUN, *LORA, "adapter.targets=[q_proj,v_proj]")
    layers = {
        f"{name}.weight" for name in linear_layers(tiny().build(), Part.language) if name.endswith(("q_proj", "v_proj"))
    }
    assert moved(tmp_path / "run") == layers
    assert len(layers) == 2
    trainable = result["trainable_parameters"]
    assert trainable["vision"] == trainable["merger"] == 0
    assert trainable["language"] == 4 * (32 + 32) + 4 * (32 + 16)  # rank x (inputs + outputs); two value heads of 8
    assert not (tmp_path / "run" / "model" / "adapter_config.json").exists()


def test_an_adapter_saved_alone_is_small_and_measures_as_the_merged_model(tmp_path):
    merged = run_in(tmp_path / "merged", *RUN, *LORA)
    alone = run_in(tmp_path / "alone", *RUN, *LORA, "adapter.merge=false")
    assert alone["final"] == merged["final"]
    folder = tmp_path / "alone" / "run" / "model"
    weights = load_file(folder / "adapter_model.safetensors")
    assert all("lora_" in name for name in weights)
    assert not (folder / "model.safetensors").exists()
    inputs = ["a question", page(1)]
    torch.testing.assert_close(
        torch.tensor(loaded(tmp_path / "alone" / "run").encode(inputs)),
        torch.tensor(loaded(tmp_path / "merged" / "run").encode(inputs)),
        atol=1e-5,
        rtol=1e-4,
    )
    measured = run_in(
        tmp_path / "again",
        *("task=evaluate", "model=hub", f"model.checkpoint={tmp_path / 'alone' / 'run'}", "dims=none", "seed=42"),
        *("data=made_up_pages", "data.num_train_pages=40", "data.num_eval_pages=10", "trainer.bf16=false"),
        *("tracking=none", "trainer.dataloader_num_workers=1"),
    )
    assert measured["final"]["ndcg@10"] == pytest.approx(alone["final"]["ndcg@10"], abs=1e-6)


def test_a_checkpoint_that_is_an_adapter_is_trained_on_as_the_model_that_it_makes(tmp_path):
    run_in(tmp_path / "first", *RUN, *LORA, "adapter.merge=false")
    again = ["model=hub", f"model.checkpoint={tmp_path / 'first' / 'run'}", "trainer.bf16=false"]
    without_sizes = [override for override in RUN if not override.startswith("model.")]
    for n, adapter in enumerate(["adapter=none", "adapter=lora"]):
        result = run_in(tmp_path / str(n), *without_sizes, *again, adapter)
        assert result["trainable_parameters"]["language"] > 0
        assert result["baseline"] == run_in(tmp_path / f"same{n}", *without_sizes, *again, "task=evaluate")["final"]


def test_updates_are_kept_in_float32_over_weights_in_bfloat16(tmp_path):
    model = HubModel(checkpoint=str(written(tmp_path)), dtype=Dtype.bfloat16).build()
    Lora(rank=2).add(model, tmp_path / "base")
    dtypes = {("lora_" in name, parameter.dtype) for name, parameter in model.named_parameters()}
    assert dtypes == {(True, torch.float32), (False, torch.bfloat16)}
    assert model.encode(["a question"]).shape == (1, 32)


def written(folder: Path) -> Path:
    write_checkpoint(tiny(), folder)
    return folder


def test_an_adapter_over_weights_in_4_bits_trains_is_saved_and_loaded_again(tmp_path, monkeypatch):
    pytest.importorskip("bitsandbytes")
    monkeypatch.setattr("mmexp.models.weights.missing_for_quantization", list)  # a CPU is enough for a test
    checkpoint = tmp_path / "checkpoint"
    checkpoint.mkdir()
    # Blocks of 64 weights share a scale.
    write_checkpoint(TinyVlm(hidden_size=64, num_layers=1, vision_hidden_size=64, vision_num_layers=2), checkpoint)
    overrides = ["+experiment=vdr_tiny", "model=hub", "model.max_pixels=20000", "dims=none", *BARE, "adapter=qlora"]
    overrides += ["data.num_train_pages=40", "data.num_eval_pages=10", *QUICK, "trainer.learning_rate=1e-2"]
    result = run_in(tmp_path, *overrides, f"model.checkpoint={checkpoint}")
    assert set(result["trainable_parameters"].values()) == {0, result["trainable_parameters"]["language"]}
    assert result["final"] != result["baseline"]
    saved = load_file(tmp_path / "run" / "model" / "adapter_model.safetensors")
    # They start at zero. On a CPU, bitsandbytes passes no gradient on below the last of the layers.
    assert any(weight.any() for name, weight in saved.items() if "lora_B" in name)
    model = HubModel(checkpoint=str(tmp_path / "run" / "model"), quantization=Quantization.nf4).build()
    loaded_again = {name.replace(".default", ""): p for name, p in model.named_parameters() if "lora_" in name}
    assert len(loaded_again) == len(saved)
    for name, weight in saved.items():
        [found] = (p for key, p in loaded_again.items() if key.endswith(name.removeprefix("base_model.model.")))
        torch.testing.assert_close(found.float(), weight, rtol=1e-2, atol=1e-6)  # it is loaded in bfloat16
    again = evaluated_again(tmp_path / "again", tmp_path / "run", overrides)
    # To no more digits than bfloat16 has: training and evaluating compute with other kernels on a CPU.
    assert again["final"]["ndcg@10"] == pytest.approx(result["final"]["ndcg@10"], abs=5e-3)


def test_a_head_drawn_at_random_is_trained_beside_an_adapter(tmp_path):
    bert = write_bert(tmp_path / "bert")
    model = HubModel(checkpoint=str(bert)).build_reranker(SequenceClassification(), {})
    Lora(rank=2).add(model, tmp_path / "base")
    trainable = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    assert {part_of(name) for name in trainable} == {Part.language, Part.head}
    head = next(p for name, p in model.named_parameters() if p.requires_grad and part_of(name) is Part.head)
    torch.nn.init.ones_(head)
    before = model.predict([("a", "book")])
    work_in_adapters(model)
    assert model.predict([("a", "book")]) == pytest.approx(before)
    assert not any("modules_to_save" in name or "lora" in name for name, _ in model.named_parameters())


def test_interrupted_with_an_adapter_and_resumed_equals_uninterrupted(tmp_path, monkeypatch):
    common = [*RUN, *LORA, "adapter.dropout=0.1", "trainer.max_steps=4", "best_checkpoint=true"]
    whole = run_in(tmp_path / "whole", *common)
    with monkeypatch.context() as patched:
        patched.setattr("mmexp.training.fit.optional_callbacks", lambda experiment, folder: [stop_after(3)])
        with pytest.raises(KeyboardInterrupt):
            run_in(tmp_path / "parts", *common)
    resumed = continue_in(tmp_path / "parts")
    assert losses_of(tmp_path / "parts" / "run") == losses_of(tmp_path / "whole" / "run")
    assert resumed["final"] == whole["final"]


@pytest.mark.parametrize("arch", ["any_to_any", "feature_extraction"])
def test_a_reranker_takes_an_adapter_and_trains_its_head(arch, tmp_path):
    run = ["+experiment=reranker_tiny", f"reranker_arch={arch}", *SMALL, *QUICK, *LORA]
    result = run_in(tmp_path, *run, "data.num_train_pages=40", "data.num_eval_pages=10", "freeze=[]")
    assert result["trainable_parameters"].get("head", 32) == 32
    assert result["trainable_parameters"]["vision"] == 0
    model = CrossEncoder(str(tmp_path / "run" / "model"))
    assert not any("lora" in name for name, _ in model.named_parameters())
    assert model.predict([("a question", page(1))]).shape == (1,)


def test_each_part_trains_at_its_own_learning_rate(tmp_path, monkeypatch):
    import mmexp.training.fit

    trainers = []
    build = mmexp.training.fit.build_trainer
    monkeypatch.setattr("mmexp.training.fit.build_trainer", lambda *args: trainers.append(build(*args)) or trainers[0])
    rates = {Part.vision: 1e-5, Part.merger: 3e-4}
    run_in(
        tmp_path,
        *("+experiment=vdr_tiny", *SMALL, *QUICK, "dims=halves", "data.num_train_pages=40", "data.num_eval_pages=10"),
        *(f"learning_rates.{part.value}={rate}" for part, rate in rates.items()),
        *("trainer.learning_rate=2e-3", "trainer.lr_scheduler_type=constant", "trainer.warmup_steps=0"),
    )
    [trainer] = trainers
    rate_of = {id(p): group["lr"] for group in trainer.optimizer.param_groups for p in group["params"]}
    for part, parameters in parameters_by_part(trainer.model).items():
        assert {rate_of[id(p)] for p in parameters.values()} == {rates.get(part, 2e-3)}, part


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["freeze=[audio]"], r"freeze names audio, which matches no module.*It has vision, merger, language\."),
        (["freeze=[vision,merger,language]"], "nothing would be trained"),
        (["freeze=[vision]", "learning_rates.vision=1e-5"], r"learning_rates\.vision is of a part that freeze"),
        (["learning_rates.head=1e-5"], "learning_rates names head, which matches no module"),
        (["adapter=lora", "adapter.parts=[audio]"], r"adapter\.parts names audio, which matches no module"),
        (
            ["adapter=lora", "adapter.targets=[q_prj]"],
            r"no linear layer of language is called that.*mean 'q_pr",
        ),
        (["adapter=lora", "freeze=[language]"], r"adapter\.parts and freeze both name language"),
        (["adapter=lora", "learning_rates.vision=1e-5"], r"learning_rates\.vision is of a part that the adapter keeps"),
        (["adapter=qlora"], r"model\.quantization=nf4 needs an NVIDIA GPU.*adapter=lora"),
    ],
)
def test_what_cannot_be_tuned_is_refused_before_the_baseline(tmp_path, overrides, message):
    with pytest.raises(ConfigError, match=message):
        run_in(tmp_path, *RUN, *overrides)
    assert not (tmp_path / "run" / "per_query").exists()


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["adapter=lora", "adapter.rank=0"], r"adapter\.rank=0 is not above 0"),
        (["adapter=lora", "adapter.dropout=1"], r"adapter\.dropout=1\.0 is no share"),
        (["adapter=lora", "adapter.parts=[]"], r"adapter\.parts is empty"),
        (["model.quantization=nf4"], "which cannot be trained"),
    ],
)
def test_settings_that_cannot_be_are_refused_at_composition(tmp_path, overrides, message):
    with pytest.raises(ConfigError, match=message):
        experiment_of(tmp_path, *RUN, *overrides)


def test_a_model_that_is_loaded_with_nothing_to_train_is_refused(tmp_path):
    frozen = tiny().build().requires_grad_(False)
    with pytest.raises(ConfigError, match="nothing of the model would be trained: its weights are in 4 bits"):
        Tuning(experiment_of(tmp_path, *RUN), frozen)
    Tuning(experiment_of(tmp_path, *RUN, "task=evaluate"), frozen)


def test_none_is_the_default(tmp_path):
    assert experiment_of(tmp_path, *RUN).adapter is experiment_of(tmp_path, *RUN, "adapter=none").adapter is None
