"""Every YAML in conf/ composes, states only what differs, and names its file; nothing of this imports torch."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from hydra import compose, initialize_config_dir
from hydra.core.config_store import ConfigStore
from hydra.core.global_hydra import GlobalHydra
from omegaconf import OmegaConf

from mmexp.__main__ import CONF, arrange
from mmexp.experiment import Experiment
from mmexp.schema import ConfigError
from mmexp.sweep.names import label, swept, values
from mmexp.typed_config import register, to_experiment
from tests.loss_options import LOSSES, MULTI_VECTOR_LOSSES, RERANKER_LOSSES, with_what_it_needs

GROUPS = sorted(path.name for path in CONF.iterdir() if path.is_dir() and path.name != "local")
OPTIONS = [(group, file.stem) for group in GROUPS for file in sorted((CONF / group).glob("*.yaml"))]
# What the user must give, made up here.
REQUIRED = {
    ("benchmark", "mteb"): ["benchmark.name=x"],
    ("data", "folder"): ["data.path=x"],
    ("data", "hub_columns"): ["data.path=x"],
    ("data", "hub_ids"): ["data.path=x"],
    ("experiment", "vdr_folder"): ["data.path=x"],
    ("experiment", "two_stage"): ["model.checkpoint=x", "two_stage.reranker.checkpoint=y"],
    ("experiment", "two_stage_tiny"): ["model.checkpoint=x", "two_stage.reranker.checkpoint=y"],
    ("experiment", "second_stage_tiny"): ["model.checkpoint=x"],
    ("model", "hub"): ["model.checkpoint=x"],
    ("model", "router"): ["+model.encoders={query:{checkpoint:x},document:{checkpoint:y}}"],
}


REQUIRED |= {("loss", loss): with_what_it_needs(loss, Path("x"), Path("x"))[1:] for loss in LOSSES}
for loss in RERANKER_LOSSES:
    REQUIRED["loss", loss].append("reranker_arch=any_to_any")
for loss in MULTI_VECTOR_LOSSES:
    REQUIRED["loss", loss].append("embedder_arch=multi_vector")
REQUIRED["embedder_arch", "multi_vector"] = ["loss=multi_vector_mnrl"]
REQUIRED |= {
    (group, option): ["loss=list_net"] for group, option in OPTIONS if group == "reranker_arch" and option != "none"
}


@pytest.fixture(scope="module", autouse=True)
def hydra():
    register()
    with initialize_config_dir(str(CONF), version_base="1.3"):
        yield
    GlobalHydra.instance().clear()


def composed(*overrides: str) -> Experiment:
    return to_experiment(compose("config", overrides=[*overrides, "tracking.grid=ESP"]))


@pytest.mark.parametrize(("group", "option"), OPTIONS)
def test_every_option_composes_into_a_valid_experiment(group, option):
    prefix = "+" if group in ("experiment", "benchmark", "debug", "sweep") else ""
    experiment = composed(f"{prefix}{group}={option}", *REQUIRED.get((group, option), []))
    if group == "experiment":
        assert experiment.name == option
    if group == "sweep":
        assert experiment.sweep.name == option


@pytest.mark.parametrize("debug", ["fast_dev_run", "limit", "overfit", "profile"])
@pytest.mark.parametrize("experiment", [option for group, option in OPTIONS if group == "experiment"])
def test_every_debug_option_works_on_every_experiment(experiment, debug):
    required = REQUIRED.get(("experiment", experiment), [])
    with_debug = composed(f"+experiment={experiment}", f"+debug={debug}", *required)
    assert with_debug != composed(f"+experiment={experiment}", *required)


@pytest.mark.parametrize("experiment", [option for group, option in OPTIONS if group == "experiment"])
def test_every_experiment_says_its_command_and_hardware(experiment):
    text = (CONF / "experiment" / f"{experiment}.yaml").read_text()
    header = text[: text.index("defaults:")]
    assert "python -m mmexp" in header
    assert "Hardware:" in header
    assert f"+experiment={experiment}" in header or experiment == "vdr_tiny"


def test_the_flagship_is_the_published_recipe():
    vdr = composed("+experiment=vdr_2b")
    assert vdr.model.checkpoint == "Qwen/Qwen3-VL-Embedding-2B"
    assert (vdr.model.dtype.value, vdr.model.attention.value) == ("bfloat16", "flash_attention_2_or_sdpa")
    assert (vdr.model.min_pixels, vdr.model.max_pixels) == (28 * 28, 600 * 600)
    assert vdr.data.path == "tomaarsen/llamaindex-vdr-en-train-preprocessed"
    assert (vdr.data.train_config, vdr.data.eval_config, vdr.data.num_negatives) == ("train", "eval", 1)
    assert type(vdr.loss).__name__ == "CachedMnrl"
    assert vdr.dims.matryoshka_dims == [2048, 1536, 1024, 512, 256, 128, 64]
    assert vdr.dims.truncate_dim == 1024
    assert vdr.trainer == {
        "num_train_epochs": 1,
        "per_device_train_batch_size": 64,
        "learning_rate": 2e-5,
        "warmup_steps": 0.1,
        "bf16": True,
        "batch_sampler": "no_duplicates",
        "eval_strategy": "steps",
        "eval_steps": 0.1,
        "save_strategy": "steps",
        "save_steps": 0.1,
        "save_total_limit": 2,
        "logging_steps": 0.05,
    }
    assert (vdr.model.card.language, vdr.model.card.license) == ("en", "apache-2.0")
    assert vdr.model.card.name


@pytest.mark.parametrize(("group", "option"), OPTIONS)
def test_an_option_states_only_what_differs_from_its_schema(group, option):
    text = (CONF / group / f"{option}.yaml").read_text()
    content = yaml.safe_load(text) or {}
    parents = [
        entry
        for entry in content.pop("defaults", [])
        if isinstance(entry, str) and entry.startswith("/schema/") and entry.endswith(("@_here_", f"@{group}"))
    ]
    if not parents:
        return
    if text.startswith("# @package _global_"):
        content = content.get(group, {})
    path = parents[0].removeprefix("/").split("@")[0].split("/")
    node = ConfigStore.instance().repo
    for part in [*path[:-1], f"{path[-1]}.yaml"]:
        node = node[part]
    for key, value in content.items():
        assert OmegaConf.is_missing(node.node, key) or node.node[key] != value, f"{key}={value} is the schema's default"


def test_bare_is_the_embedded_experiment():
    assert arrange([]) == ["+experiment=vdr_tiny"]
    assert arrange(["--cfg", "job"]) == ["+experiment=vdr_tiny", "--cfg", "job"]
    assert arrange(["-m", "seed=1,2", "--config-dir", "x"]) == [
        "-m",
        "+experiment=vdr_tiny",
        "seed=1,2",
        "--config-dir",
        "x",
    ]
    assert arrange(["+debug=limit", "+experiment=a"]) == ["+experiment=a", "+debug=limit"]
    assert arrange(["+sweep=a"]) == ["+sweep=a"]
    assert arrange(["+sweep=a", "+experiment=b"]) == ["+sweep=a", "experiment=b"]


def test_a_reranker_experiment_becomes_an_embedders_without_its_architecture():
    overrides = arrange(["+experiment=reranker_tiny", "reranker_arch=null", "loss=cached_mnrl"])
    assert overrides == ["+experiment=reranker_tiny", "reranker_arch=none", "loss=cached_mnrl"]
    assert composed(*overrides).reranker_arch is None


def test_the_tiny_model_sets_what_a_cpu_needs_whatever_the_data():
    experiment = composed("+experiment=vdr_folder", "data.path=x", "model=tiny_vlm")
    assert experiment.data.jpeg_pixels == experiment.model.max_pixels
    assert experiment.trainer["bf16"] is False


@pytest.mark.parametrize("sweep", [option for group, option in OPTIONS if group == "sweep"])
def test_every_sweep_says_its_command_and_varies_keys_that_there_are(sweep):
    text = (CONF / "sweep" / f"{sweep}.yaml").read_text()
    assert f"#   python -m mmexp +sweep={sweep}" in text
    assert "Hardware:" in text
    content = yaml.safe_load(text)["hydra"]
    assert content["mode"] == "MULTIRUN"
    for n in (0, -1):
        member = [f"{key}={str(of_key).split(',')[n]}" for key, of_key in content["sweeper"]["params"].items()]
        assert composed(f"+sweep={sweep}", *member) != composed(f"+sweep={sweep}")


def test_the_sweep_axes_are_single_keys_and_make_the_members_label():
    overrides = ["trainer.per_device_train_batch_size=8", "model.max_pixels=100000", "data.num_negatives=2"]
    experiment = composed("+experiment=vdr_2b", *overrides)
    assert experiment.trainer["per_device_train_batch_size"] == 8
    assert experiment.model.max_pixels == 100000
    assert experiment.data.num_negatives == 2
    command = ["+experiment=vdr_2b", "trainer.per_device_train_batch_size=8,16"]
    parameters = swept(["+experiment=vdr_2b", *overrides], command)
    assert label(parameters) == "bs=8__px=100000__neg=2"
    assert values(parameters)["model.max_pixels"] == 100000
    assert label(swept(["+experiment=vdr_2b"], command)) == "default"
    assert label({"data.path": "/a/b c"}) == "data.path=-a-b-c"
    assert len(label({f"trainer.key{n}": str(n) for n in range(50)})) <= 120


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["model.min_pixels=10", "model.max_pixels=4"], r"model\.min_pixels=10 is above model\.max_pixels=4"),
        (["dims.matryoshka_dims=[64,128]"], r"not descending\. Use dims\.matryoshka_dims=\[128, 64\]"),
        (["dims.matryoshka_weights=[1]"], r"dims\.matryoshka_weights has 1 weights for 4 sizes"),
        (["dims.truncate_dim=0"], r"dims\.truncate_dim=0 is below 1"),
        (["dims.halvings=-1"], r"dims\.halvings=-1 is below 0"),
        (["data.num_negatives=-1"], r"data\.num_negatives=-1 is below 0"),
        (["trainer.learning_rate=nan"], r"trainer\.learning_rate=nan is no number"),
        (["trainer.max_steps=2.5"], r"trainer\.max_steps=2\.5 is no whole number\. Use trainer\.max_steps=2\."),
        (["trainer.per_device_train_batch_size=0.5"], r"per_device_train_batch_size=0\.5 is below 1"),
        (["trainer.gradient_accumulation_steps=1.5"], r"gradient_accumulation_steps=1\.5 is no whole number"),
        (["loss.mini_batch_size=0"], r"loss\.mini_batch_size=0 is below 1"),
        (["loss=cosent"], r"Name its column with data\.label_column"),
        (["+modle=x"], r"modle is no key of the config\. Did you mean 'model'"),
        (["data=folder"], r"data\.path is not set"),
        (["model.checkpoint=x"], r"model\.checkpoint=x cannot be with model=tiny_vlm.*model=hub"),
        (["sweep.name=a/b"], r"sweep\.name=a/b is no name of a folder"),
        (["sweep.at_once=0"], r"sweep\.at_once=0 is below 1"),
        (["data.negatives=x", "data.num_negatives=0"], r"data\.negatives=x would be ignored"),
        (["name=a/../b"], r"name=a/\.\./b is no name of a folder"),
        (["seed=-1"], r"seed=-1 is below 0"),
        (["profile_steps=0"], r"profile_steps=0 is below 1"),
        (["early_stopping_patience=0"], r"early_stopping_patience=0 is below 1"),
        (["evaluation.num_tokens=0"], r"evaluation\.num_tokens=0 is below 1"),
        (["learning_rates.vision=-1e-3"], r"learning_rates\.vision=-0\.001 is below 0"),
        (["loss.scale=-20"], r"loss\.scale=-20\.0 is not above 0"),
        (["model.max_pixels=-1"], r"model\.max_pixels=-1 is below 1"),
        (["data.num_eval_pages=0"], r"data\.num_eval_pages=0 is no multiple of 5 above 0"),
        (["trainer.learning_rate=abc"], r"trainer\.learning_rate=abc is no number"),
        (["trainer.max_steps=0"], r"trainer\.max_steps=0 is below 1\. Use 1 or more, or -1"),
        (["trainer.per_device_train_batch_size=-3"], r"per_device_train_batch_size=-3 is below 1"),
        (["trainer.eval_steps=0"], r"trainer\.eval_steps=0 is not above 0"),
    ],
)
def test_contradictions_are_refused_with_the_key_and_the_remedy(overrides, message):
    with pytest.raises(ConfigError, match=message):
        composed("+experiment=vdr_tiny", *overrides)


def run_cli(*arguments: str, cwd: Path | None = None) -> subprocess.CompletedProcess:
    environment = {**os.environ, "PYTHONPATH": str(CONF.parent)}
    return subprocess.run(
        [sys.executable, "-m", "mmexp", *arguments],
        capture_output=True,
        text=True,
        cwd=cwd,
        env=environment,
        timeout=120,
    )


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ("modle=x", "mmexp: modle is no key of the config. Did you mean 'model'?"),
        ("model=tiny_vml", "mmexp: model=tiny_vml: there is no option 'tiny_vml' in model/. Did you mean 'tiny_vlm'?"),
        ("+experiment=vdr_2", "Did you mean 'vdr_2b'?"),
        ("model.max_pixls=4", "mmexp: model.max_pixls is no key of the config. Did you mean 'max_pixels'?"),
        ("model.max_pixels=abc", "mmexp: model.max_pixels=abc cannot be:"),
        ("tracking.grid=null", "tracking.grid=ESP"),
        ("launch.num_processes=2", "launch.num_processes is no key of the chosen launch. These have it: accelerate"),
        ("experiment=vdr_2b", "mmexp: experiment=... is no key of the config by itself. Type +experiment=... instead."),
        ("plan.tflops=5", "plan.tflops=5 would be ignored: it is for task=plan"),
        ("sweep.at_once=2", "sweep.at_once=2 would be ignored: it is for a sweep. Add -m, or leave it out."),
        (
            "model.checkpoint=a/seed=1",
            "in it must be quoted, within the quotes of the shell: \"model.checkpoint='a/seed=1'\"",
        ),
        ("name=[a", "name=[a cannot be read: brackets and quotes must close"),
        ("seed", "mmexp: seed says no value. Type seed=VALUE."),
        ("dims=[64,32]", "mmexp: dims=[64,32] cannot be: dims is chosen by name (halves, "),
        ("model=3", "model is chosen by name ("),
        ("seed=1,2", 'mmexp: seed=1,2 has several values. Add -m to sweep over them; a list is "seed=[1,2]"'),
        ("loss.margn=1", "The options of loss have, one or another: "),
    ],
)
def test_what_cannot_be_composed_is_one_line_and_leaves_nothing(argument, message, tmp_path):
    result = run_cli(argument, cwd=tmp_path)
    assert result.returncode == 2
    assert message in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1
    assert not list(tmp_path.glob("multirun/*/*"))


def test_a_run_folder_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    result = run_cli(f"output_root={tmp_path}/file/runs", cwd=tmp_path)
    assert result.returncode == 2
    assert re.search(r"mmexp: the run folder cannot be made: .*output_root=", result.stderr)


@pytest.mark.parametrize("arguments", [["--help"], ["--cfg", "job"], ["--info", "defaults-tree"]])
def test_looking_at_the_config_imports_no_torch_and_works_anywhere(arguments, tmp_path):
    code = (
        "import sys; from mmexp.__main__ import main\n"
        f"try: main({arguments!r})\n"
        "except SystemExit: pass\n"
        "assert 'hydra' in sys.modules\n"
        "heavy = {'torch', 'transformers', 'sentence_transformers', 'datasets', 'trackio', 'codecarbon'}\n"
        "heavy &= set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    environment = {**os.environ, "PYTHONPATH": str(CONF.parent)}
    result = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    assert "vdr_tiny" in result.stdout or arguments == ["--help"]


def test_a_users_own_config_folder_adds_options_and_experiments(tmp_path):
    (tmp_path / "experiment").mkdir()
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "mine.yaml").write_text("defaults: [/schema/model/hub@_here_]\ncheckpoint: me/mine\n")
    (tmp_path / "experiment" / "mine.yaml").write_text(
        "# @package _global_\ndefaults:\n  - vdr_2b\n  - override /model: mine\n  - _self_\nname: mine\n"
    )
    result = run_cli("--config-dir", str(tmp_path), "+experiment=mine", "--cfg", "job", cwd=tmp_path)
    assert "checkpoint: me/mine" in result.stdout, result.stderr
    assert "name: mine" in result.stdout
