"""Every option of `model` on a tiny checkpoint of its own architecture: trained, evaluated, saved, loaded again."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import pytest

from mmexp.__main__ import CONF
from mmexp.models.hub import HubModel
from tests.conftest import page, write_config, write_readme
from tests.models import tiny_checkpoints as tiny
from tests.test_run import BARE, QUICK, SMALL, losses_of, run_in

# The architecture of every option's checkpoint. A new option needs its line here, and a maker where there is none.
ARCHITECTURES: dict[str, Callable[[Path], None]] = {
    "all_minilm": tiny.minilm,
    "clip_vit_b32": tiny.old_clip,
    "clip_vit_l14": tiny.old_clip,
    "e5_v": tiny.llava_next,
    "hub": tiny.clip,
    "lco_embedding_omni_3b": tiny.qwen2_5_omni,
    "lco_embedding_omni_7b": tiny.qwen2_5_omni,
    "nomic_embed_multimodal_3b": tiny.qwen2_5_vl,
    "nomic_embed_multimodal_7b": tiny.qwen2_5_vl,
    "qwen3_5_0_8b": tiny.fresh(tiny.qwen3_5),
    "qwen3_vl_2b_instruct": tiny.fresh(tiny.qwen3_vl),
    "qwen3_vl_embedding_2b": tiny.qwen3_vl,
    "qwen3_vl_embedding_2b_vdr": tiny.qwen3_vl,
    "qwen3_vl_embedding_8b": tiny.qwen3_vl,
    "siglip2_base": tiny.siglip,
    "vdr_2b_multi_v1": tiny.qwen2_vl,
    "vdr_2b_v1": tiny.qwen2_vl,
}
# A checkpoint for each of a router's encoders.
ENCODERS = {
    "router": {"query": tiny.minilm, "document": tiny.qwen3_vl},
    "router_minilm_siglip2": {"text": tiny.minilm, "image": tiny.siglip},
}
# The one option that is meant for rerankers gets what makes it an embedder.
MORE = {
    "qwen3_5_0_8b": ["model.pooling=lasttoken"],
    "router_minilm_siglip2": [f"model.encoders.text.projection_dimension={tiny.HIDDEN}"],
    "tiny_vlm": SMALL[:4],
}
TEXT_ONLY = ["all_minilm"]


def comes_with_code(option: Path) -> bool:
    """Whether the checkpoint is no architecture of transformers, and so cannot be made here."""
    text = option.read_text()
    return "Comes with code of its own" in text or "trust_remote_code: true" in text


OPTIONS = sorted(option.stem for option in (CONF / "model").glob("*.yaml") if not comes_with_code(option))


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Callable[[Callable[[Path], None]], Path]:
    """Writes a checkpoint of an architecture, once."""
    folders: dict[Callable[[Path], None], Path] = {}

    def write(make: Callable[[Path], None]) -> Path:
        if make not in folders:
            folders[make] = tmp_path_factory.mktemp("checkpoint")
            make(folders[make])
        return folders[make]

    return write


@pytest.fixture(scope="module")
def passages(tmp_path_factory) -> Path:
    """Questions and passages of text."""
    from datasets import Value

    folder = tmp_path_factory.mktemp("passages")
    columns = {"query": [f"who is {n}" for n in range(12)], "image": [f"{n} is the number {n}" for n in range(12)]}
    for config in ("train", "eval"):
        write_config(folder, config, columns, dict.fromkeys(columns, Value("string")))
    write_readme(folder, ["train", "eval"])
    return folder


def checkpoints_of(option: str, made) -> list[str]:
    if option in ENCODERS:
        encoders = ",".join(f"{name}:{{checkpoint:{made(make)}}}" for name, make in ENCODERS[option].items())
        return [f"+model.encoders={{{encoders}}}"]
    return [f"model.checkpoint={made(ARCHITECTURES[option])}"] if option in ARCHITECTURES else []


@pytest.mark.parametrize("option", OPTIONS)
def test_an_option_trains_evaluates_saves_and_loads_again(option, made, vdr_columns, passages, tmp_path, monkeypatch):
    import mmexp.run

    trained = []
    save = mmexp.run.save_model
    monkeypatch.setattr("mmexp.run.save_model", lambda model, *rest: trained.append(model) or save(model, *rest))
    text_only = option in TEXT_ONLY
    result = run_in(
        tmp_path,
        "+experiment=vdr_2b",
        f"model={option}",
        *checkpoints_of(option, made),
        *MORE.get(option, []),
        f"data.path={passages if text_only else vdr_columns}",
        f"data.num_negatives={0 if text_only else 1}",
        "data.max_train_rows=8",
        "data.max_eval_queries=2",
        "dims=none",
        *QUICK,
        *BARE,
    )
    assert result["status"] == "finished"
    assert [step for step, _ in losses_of(tmp_path / "run")] == [1, 2]
    assert all(math.isfinite(loss) and loss > 0 for _, loss in losses_of(tmp_path / "run"))
    assert result["model"]["embedding_dimension"] == tiny.HIDDEN
    assert (result["model"]["tokens_per_page"] == 1) == text_only
    assert result["throughput"]["tokens_per_second"] > result["throughput"]["samples_per_second"]

    saved = HubModel(checkpoint=str(tmp_path / "run" / "model"))
    assert saved.embedding_dimension() in (tiny.HIDDEN, None)
    loaded = saved.build()
    inputs = ["short", "a much longer question about page 12"] if text_only else [page(3), page(1)]
    for task, cells in (("query", ["short", "a much longer question about page 12"]), ("document", inputs)):
        together = trained[0].encode(cells, task=task)
        assert (loaded.encode(cells, task=task) == together).all()
        alone = trained[0].encode(cells[0], task=task)
        assert alone == pytest.approx(together[0], abs=0.05), "an embedding depends on the rest of its batch"
        assert together[1] != pytest.approx(together[0], abs=1e-3)


def test_every_option_is_covered():
    known = {*ARCHITECTURES, *ENCODERS, *MORE}
    assert set(OPTIONS) <= known, "say in ARCHITECTURES what the new option's checkpoint is"
