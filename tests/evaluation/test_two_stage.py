"""Retrieve, then rerank: against the library's own models, step by step, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from pyarrow import parquet
from sentence_transformers import CrossEncoder
from sentence_transformers.cross_encoder.evaluation import CrossEncoderRerankingEvaluator

from mmexp.compare.comparison import compare
from mmexp.compare.runs import find_runs
from mmexp.data.made_up_pages import MadeUpPages
from mmexp.evaluation.metrics import Ranking
from mmexp.evaluation.reranking import PreprocessedPairs
from mmexp.evaluation.two_stage import blended, reordered
from mmexp.models.hub import HubModel
from mmexp.models.tiny_vlm import TinyVlm, write_checkpoint
from mmexp.reranker_archs.any_to_any import AnyToAny
from mmexp.schema import ConfigError
from tests.test_run import experiment_of, run_in

PAGES = {"num_train_pages": 20, "num_eval_pages": 30}
PROMPT = "Does it match?"


def tiny(seed: int) -> TinyVlm:
    return TinyVlm(hidden_size=32, num_layers=1, vision_hidden_size=32, vision_num_layers=2, weights_seed=seed)


@pytest.fixture(scope="module")
def embedder(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("embedder")
    write_checkpoint(tiny(0), folder)
    return folder


@pytest.fixture(scope="module")
def reranker_run(tmp_path_factory) -> Path:
    """A run folder with a reranker that keeps a prompt for the direction."""
    folder = tmp_path_factory.mktemp("reranker")
    tiny(1).build_reranker(AnyToAny(), {"text_to_image": PROMPT}).save_pretrained(str(folder / "model"))
    (folder / "result.json").write_text("{}")
    return folder


def overrides_of(embedder: Path, reranker: Path) -> list[str]:
    return [
        "+experiment=two_stage",
        f"model.checkpoint={embedder}",
        f"two_stage.reranker.checkpoint={reranker}",
        "two_stage.top_k=[5,20]",
        "data=made_up_pages",
        *[f"data.{key}={value}" for key, value in PAGES.items()],
        "trainer.bf16=false",
        "trainer.dataloader_num_workers=1",
        "tracking=none",
    ]


@pytest.fixture(scope="module")
def finished(embedder, reranker_run, tmp_path_factory) -> tuple[dict, Path, list[tuple[int, int]]]:
    """result.json, the run folder, and every pair that was scored."""
    scored: list[tuple[int, int]] = []
    remember = PreprocessedPairs.__init__

    def spy(self, model, queries, documents, pairs, *others) -> None:
        scored.extend(pairs)
        remember(self, model, queries, documents, pairs, *others)

    folder = tmp_path_factory.mktemp("two_stage")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(PreprocessedPairs, "__init__", spy)
        result = run_in(folder, *overrides_of(embedder, reranker_run))
    return result, folder / "run", scored


def test_before_is_the_embedder_alone(finished, embedder, tmp_path):
    result, run_dir, _ = finished
    alone = run_in(
        tmp_path,
        *("task=evaluate", "model=hub", f"model.checkpoint={embedder}", "data=made_up_pages", "dims=none"),
        *[f"data.{key}={value}" for key, value in PAGES.items()],
        *("trainer.bf16=false", "trainer.dataloader_num_workers=1", "tracking=none"),
    )
    assert result["num_documents"] == alone["num_documents"] == PAGES["num_eval_pages"]
    assert alone["throughput"]["pages_per_second"] > 0
    assert result["throughput"] is None  # by_top_k says how fast both stages were
    for metric, value in alone["final"].items():
        assert result["baseline"][metric] == pytest.approx(value, abs=1e-6), metric
    means = {row.setting.runs[0].run_dir: row.estimate.mean for row in compare(find_runs([run_dir, tmp_path])).rows}
    expected = {run_dir: result["final"]["ndcg@10"], tmp_path / "run": alone["final"]["ndcg@10"]}
    assert means == pytest.approx({path.resolve(): value for path, value in expected.items()})


@pytest.mark.parametrize("k", [5, 20])
def test_after_is_what_the_librarys_reranker_makes_of_the_best_documents(finished, reranker_run, k):
    result, run_dir, _ = finished
    rows = [row for row in parquet.read_table(run_dir / "per_query" / "final.parquet").to_pylist() if row["top_k"] == k]
    evaluation = MadeUpPages(**PAGES).build(42).evaluation
    position = {id_: n for n, id_ in enumerate(evaluation.documents.ids)}
    reranker = CrossEncoder(str(reranker_run / "model"))
    metrics_of = CrossEncoderRerankingEvaluator(samples=[]).compute_metrics
    for row in rows[:8]:
        # The ten best of 20 reranked are shown; of five, these five.
        shown = row["top"][: min(k, 10)]
        pairs = [(row["query"], evaluation.documents[position[page]]) for page in shown]
        scores = reranker.predict(pairs, prompt=PROMPT)
        assert row["top_scores"][: len(shown)] == pytest.approx(scores.tolist(), abs=1e-4)
        assert scores.tolist() == sorted(scores.tolist(), reverse=True)
        ndcg = metrics_of([int(page in row["relevant"]) for page in row["top"]], -np.arange(len(row["top"])))[1]
        assert row["ndcg@10"] == pytest.approx(ndcg, abs=1e-6)
    mean = np.mean([row["ndcg@10"] for row in rows])
    assert result["by_top_k"][str(k)]["final"]["ndcg@10"] == pytest.approx(mean, abs=1e-9)


def test_each_pair_is_scored_once_a_page_at_a_time(finished):
    _, _, scored = finished
    assert len(scored) == len(set(scored)) == PAGES["num_eval_pages"] * 20
    pages = [page for _, page in scored]
    assert pages == sorted(pages)  # so that it is decoded once


def test_result_says_what_was_gained_and_what_it_cost(finished):
    result, _, _ = finished
    assert result["final"] == result["by_top_k"]["20"]["final"]
    assert result["delta"] == pytest.approx(result["final"]["ndcg@10"] - result["baseline"]["ndcg@10"])
    small, large = (result["by_top_k"][k]["final"] for k in ("5", "20"))
    assert small["ndcg@10"] <= small["ceiling_ndcg@10"] <= large["ceiling_ndcg@10"] <= 1
    assert large["ceiling_ndcg@10"] > large["ndcg@10"]  # neither model is trained
    assert small["pages_per_second"] == large["pages_per_second"] > 0
    assert large["seconds_per_query"] - small["seconds_per_query"] == pytest.approx(15 / large["pages_per_second"])
    assert result["baseline"]["seconds_per_query"] < small["seconds_per_query"]
    assert result["seconds"]["rerank"] > 0
    low, high = result["intervals"]["delta"]  # query by query, so that the gain can be tested
    assert low <= result["delta"] <= high


def test_reordering_moves_only_what_was_scored_and_leaves_ties_as_they_were():
    ranking = Ranking(np.array([[7, 3, 5, 1]]), np.array([[0.9, 0.8, 0.7, 0.6]], dtype=np.float32))
    new = reordered(ranking, np.array([[1.0, 2.0, 2.0]], dtype=np.float32))
    assert new.documents.tolist() == [[3, 5, 7, 1]]
    assert new.scores[0, :3].tolist() == [2, 2, 1]
    assert np.isnan(new.scores[0, 3])
    assert ranking.documents.tolist() == [[7, 3, 5, 1]]


def test_blending_counts_both_stages_in_units_of_their_own_spread():
    reranker, retriever = np.array([[0.0, 100.0, 50.0]]), np.array([[0.9, 0.8, 0.7]])
    assert blended(reranker, retriever, 0.0) is reranker
    assert blended(reranker, retriever, 1.0)[0].argsort()[::-1].tolist() == [0, 1, 2]
    half = blended(reranker, retriever, 0.5)
    expected = (np.array([-1, 1, 0]) + np.array([1, 0, -1])) / 2 * np.sqrt(1.5)
    np.testing.assert_allclose(half[0], expected, atol=1e-9)
    assert blended(reranker * 1000 + 5, retriever, 0.5) == pytest.approx(half)
    assert np.isfinite(blended(np.zeros((1, 3)), retriever, 0.5)).all()  # a reranker that tells nothing apart


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["task=train"], "task=train cannot be with two_stage"),
        (["reranker_arch=any_to_any"], "Use reranker_arch=none; the second stage has its own"),
        (["two_stage.top_k=[50,10]"], r"is not ascending\. Use two_stage\.top_k=\[10, 50\]"),
        (["two_stage.retrieval_weight=2"], r"two_stage\.retrieval_weight=2\.0 is no weight"),
        (["two_stage.top_k=[]"], r"Use two_stage\.top_k=\[10\]"),
    ],
)
def test_what_cannot_be_is_refused_at_composition(embedder, reranker_run, tmp_path, overrides, message):
    with pytest.raises(ConfigError, match=message):
        experiment_of(tmp_path, *overrides_of(embedder, reranker_run), *overrides)


def test_models_of_the_other_kind_and_runs_without_a_model_are_refused(embedder, reranker_run, tmp_path):
    with pytest.raises(ConfigError, match="is a reranker, and here an embedder is asked for"):
        run_in(tmp_path, *overrides_of(reranker_run, reranker_run))
    with pytest.raises(ConfigError, match=r"two_stage\.reranker is an embedder.*Train a reranker from it"):
        run_in(tmp_path / "embedders", *overrides_of(embedder, embedder))
    with pytest.raises(ConfigError, match=r"two_stage\.reranker\.checkpoint=nobody/no-such-reranker .*cannot be"):
        run_in(tmp_path / "missing", *overrides_of(embedder, Path("nobody/no-such-reranker")))
    (tmp_path / "result.json").write_text(json.dumps({"status": "failed"}))
    with pytest.raises(ConfigError, match="a run that has left no model"):
        HubModel(checkpoint=str(tmp_path))


def test_a_multi_vector_model_can_be_the_first_stage(embedder, reranker_run, tmp_path):
    overrides = [*overrides_of(embedder, reranker_run), "embedder_arch=multi_vector", "two_stage.top_k=[5]"]
    result = run_in(tmp_path, *overrides)
    assert result["baseline"]["bytes_per_document"] == result["baseline"]["vectors_per_document"] * 128 * 4 > 128 * 4
    assert 0 < result["baseline"]["ndcg@10"] <= result["final"]["ceiling_ndcg@10"]
