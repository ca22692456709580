"""A benchmark's task against our own evaluation of its data, and against mteb by itself; and what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from pyarrow import parquet

from mmexp.__main__ import arrange
from mmexp.benchmark.embedded import Embedded
from mmexp.benchmark.reading import read_benchmark
from mmexp.benchmark.scoring import score, text_of
from mmexp.benchmark.settings import Benchmark
from mmexp.benchmark.tasks import find_tasks
from mmexp.compare.comparison import compare
from mmexp.compare.runs import find_runs
from mmexp.composition import freeze
from mmexp.data.media import Media
from mmexp.evaluation.encode import Encoder
from mmexp.models.tiny_vlm import TinyVlm, write_checkpoint
from mmexp.schema import ConfigError
from tests.benchmark.made_up_task import PAGES, SEED, MadeUpPageRetrieval
from tests.test_run import experiment_of, run_in

SIZES = {"hidden_size": 32, "num_layers": 1, "vision_hidden_size": 32, "vision_num_layers": 2}
BENCHMARK = ["+benchmark=mteb", "benchmark.name=MadeUpPageRetrieval"]


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory) -> dict[str, Path]:
    """A saved model of each kind of embedder."""
    from mmexp.embedder_archs.multi_vector import MultiVector
    from mmexp.models.hub import HubModel

    folder = tmp_path_factory.mktemp("checkpoints")
    write_checkpoint(TinyVlm(**SIZES), folder / "single_vector")
    model = HubModel(checkpoint=str(folder / "single_vector")).build_multi_vector(MultiVector(dimension=16))
    model.save_pretrained(str(folder / "multi_vector"))
    return {name: folder / name for name in ("single_vector", "multi_vector")}


def evaluation_of(arch: str, checkpoint: Path) -> list[str]:
    return [
        f"embedder_arch={arch}",
        "model=hub",
        f"model.checkpoint={checkpoint}",
        "trainer.bf16=false",
        "trainer.dataloader_num_workers=1",
        "tracking=none",
    ]


@pytest.fixture(scope="module", params=["single_vector", "multi_vector"])
def measured(request, checkpoints, tmp_path_factory) -> dict:
    """The same model and data three times: on the benchmark, by our own evaluation, and by mteb without us."""
    folder, checkpoint = tmp_path_factory.mktemp(request.param), checkpoints[request.param]
    common = evaluation_of(request.param, checkpoint)
    encoded: list[int] = []
    with pytest.MonkeyPatch.context() as patch:
        forward = Encoder.forward
        patch.setattr(
            Encoder,
            "forward",
            lambda self, model, batches, *rest: (
                encoded.append(sum(len(batch.indices) for batch in batches.batches))
                or forward(self, model, batches, *rest)
            ),
        )
        on_benchmark = run_in(folder / "benchmark", *BENCHMARK, *common)
    pages = [f"data.{key}={value}" for key, value in PAGES.items()]
    own = run_in(folder / "own", *common, "task=evaluate", "data=made_up_pages", *pages, f"data.seed={SEED}")
    return {
        "arch": request.param,
        "run": folder / "benchmark" / "run",
        "benchmark": on_benchmark,
        "own": own,
        "plain": by_mteb_alone(request.param, checkpoint),
        "encoded": encoded,
    }


def by_mteb_alone(arch: str, checkpoint: Path):
    """mteb's result of the checkpoint, by its own wrapper, which takes a model it does not know for one of text."""
    import mteb
    from mteb.models.sentence_transformer_wrapper import MultiVectorWrapper, SentenceTransformerEncoderWrapper

    wrapper = {"single_vector": SentenceTransformerEncoderWrapper, "multi_vector": MultiVectorWrapper}[arch]
    if arch == "single_vector":
        from sentence_transformers import SentenceTransformer as model_class
    else:
        from sentence_transformers import MultiVectorEncoder as model_class
    model = wrapper(model_class(str(checkpoint)))
    model.mteb_model_meta = model.mteb_model_meta.model_copy(update={"modalities": ["text", "image"]})
    [result] = mteb.evaluate(
        model, MadeUpPageRetrieval(), cache=None, co2_tracker=False, show_progress_bar=False
    ).task_results
    return result


def rows_of(measured: dict) -> list[dict]:
    return parquet.read_table(measured["run"] / "per_query" / "final.parquet").to_pylist()


def test_ndcg_equals_our_own_evaluation_of_the_same_pages(measured):
    rows, expected = rows_of(measured), measured["own"]["final"]
    assert 0 < expected["ndcg@10"] < 0.9
    for name in ("ndcg@10", "recall@10", "precision@5"):
        assert sum(row[name] for row in rows) / len(rows) == pytest.approx(expected[name], abs=1e-6), name
    for key in ("num_queries", "num_documents"):
        assert measured["benchmark"][key] == measured["own"][key]


def test_scores_equal_those_of_mteb_by_itself(measured):
    """Which rounds its means to five digits."""
    final = measured["benchmark"]["by_task"]["MadeUpPageRetrieval"]["final"]
    assert final["main_score"] == final["ndcg@5"] == pytest.approx(measured["plain"].get_score(), abs=1e-5)
    in_its_form = json.loads((measured["run"] / "mteb" / "MadeUpPageRetrieval.json").read_text())
    for ours, theirs in zip(in_its_form["scores"]["test"], measured["plain"].scores["test"], strict=True):
        assert ours["hf_subset"] == theirs["hf_subset"]
        for name in ("ndcg_at_10", "map_at_100", "mrr_at_10"):
            assert ours[name] == pytest.approx(theirs[name], abs=1e-6), name


def test_scores_of_every_query_are_kept(measured):
    rows = rows_of(measured)
    assert len({row["query_id"] for row in rows}) == len(rows) == PAGES["num_eval_pages"]
    assert {(row["task"], row["subset"]) for row in rows} == {
        ("MadeUpPageRetrieval", "english"),
        ("MadeUpPageRetrieval", "french"),
    }
    mean = sum(row["ndcg@10"] * row["weight"] for row in rows) / len(rows)
    assert mean == pytest.approx(measured["benchmark"]["final"]["ndcg@10"], abs=1e-9)
    assert sum(row["weight"] for row in rows) == pytest.approx(len(rows))
    assert len({row["weight"] for row in rows}) == 2  # of two languages with unequally many queries
    for row in rows:
        assert row["top_scores"] == sorted(row["top_scores"], reverse=True)
        assert (row["relevant"][0] == row["top"][0]) == (row["ndcg@10"] == 1)


def test_runs_on_a_benchmark_can_be_compared_by_task(measured):
    [run] = find_runs([measured["run"]])
    final = measured["benchmark"]["final"]["ndcg@10"]
    for part in (None, "MadeUpPageRetrieval"):
        scores = run.scores("final", part)
        weights = scores.strata.weights
        assert (weights * scores.values).mean() == pytest.approx(final, abs=1e-9)
        assert weights.mean() == pytest.approx(1)
        assert scores.strata.shares == pytest.approx([0.5, 0.5])  # of two languages with unequally many queries
    assert run.parts == ["MadeUpPageRetrieval"]
    assert set(run.content()) == set(scores.query_ids)
    comparison = compare([run])
    assert comparison.rows[0].estimate.mean == pytest.approx(final, abs=1e-9)


def test_the_interval_of_a_run_is_that_of_a_comparison(measured):
    [row] = compare(find_runs([measured["run"]])).rows
    low, high = measured["benchmark"]["intervals"]["final"]
    assert (low, high) == pytest.approx((row.estimate.low, row.estimate.high))


def test_a_page_that_two_languages_search_is_encoded_once(measured):
    assert sum(measured["encoded"]) == 2 * PAGES["num_eval_pages"]  # as many queries as pages


def test_the_result_says_which_data_it_is_of(measured):
    result = measured["benchmark"]
    task = result["benchmark"]["tasks"]["MadeUpPageRetrieval"]
    assert (task["path"], task["revision"], task["main_score"]) == ("made/up", "1", "ndcg@5")
    assert result["versions"]["mteb"]
    assert result["seconds"]["MadeUpPageRetrieval"] > 0
    assert result["data_fingerprint"] != measured["own"]["data_fingerprint"]


def test_a_model_that_was_measured_is_not_encoded_again(measured, checkpoints, monkeypatch):
    monkeypatch.setattr(Encoder, "forward", None)
    arch = measured["arch"]
    measured["run"].rename(measured["run"].with_name("first"))
    again = run_in(measured["run"].parent, *BENCHMARK, *evaluation_of(arch, checkpoints[arch]))
    assert again["final"] == measured["benchmark"]["final"]


@pytest.mark.parametrize(
    "name",
    [
        "MockMultilingualRetrievalTask",
        "MockRetrievalDialogTask",
        "MockInstructionRetrieval",
        "MockRerankingTask",
        "MockMultilingualVisionCentricQA",
        "MockAny2AnyRetrievalI2T",
    ],
)
def test_embeddings_that_are_never_wrong_score_1_on_every_sort_of_task(name, tmp_path):
    """Each query's is the sum of its answers', which are at right angles."""
    import mteb.mocks.mock_tasks  # noqa: F401

    [split] = read_benchmark(Benchmark(name), Media(), tmp_path).evaluation.tasks
    documents = torch.eye(len(split.corpus))
    position = {document: n for n, document in enumerate(split.corpus)}
    queries = torch.stack([documents[[position[d] for d in answers]].sum(0) for answers in split.relevant.values()])
    scores = score(split, Embedded(split, queries, documents, torch.inner))
    assert scores.metrics["ndcg@10"] == pytest.approx(1)
    assert {row["query"] for row in scores.per_query} == {text_of(split.queries[n]) for n in range(len(split.queries))}
    assert [row["query"] is None for row in scores.per_query] == [name.endswith("I2T")] * len(scores.per_query)


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"name": "ViDoRe(v22)"}, r"neither a benchmark nor a task of mteb \S+, .* Did you mean 'ViDoRe\(v2\)'\?"),
        ({"name": "VidoreDocVQARetrival"}, r"Did you mean 'VidoreDocVQARetrieval'\?"),
        ({"name": "ViDoRe(v2)", "tasks": ["ESG"]}, r"benchmark\.tasks=ESG is no task of ViDoRe\(v2\)\."),
        ({"name": "ViDoRe(v2)", "languages": ["jpn"]}, r"leaves nothing of ViDoRe\(v2\), which has deu, eng, fra, spa"),
        ({"name": "ViDoRe(v2)", "splits": ["dev"]}, r"benchmark\.splits=dev is no split of Vidore2\S+, which has test"),
        ({"name": "STS12"}, r"has STS12, which is STS, and NDCG@10 measures retrieval"),
    ],
)
def test_what_mteb_does_not_have_is_refused_with_what_it_has(asked, message, tmp_path):
    with pytest.raises(ConfigError, match=message):
        find_tasks(Benchmark(**asked), tmp_path)


@pytest.mark.parametrize(("version", "num_tasks"), [("v1", 10), ("v2", 4), ("v3", 10)])
def test_the_shipped_options_name_benchmarks_that_there_are(version, num_tasks, tmp_path):
    experiment = experiment_of(tmp_path, f"+benchmark=vidore_{version}", "tracking=none")
    tasks = find_tasks(experiment.benchmark, tmp_path)
    assert len(tasks) == num_tasks
    assert experiment.task.value == "evaluate"
    assert experiment.name == experiment.data_name.lower().replace("(", "_").rstrip(")")


def test_a_benchmark_can_be_asked_for_in_part(tmp_path):
    asked = Benchmark("ViDoRe(v2)", tasks=["Vidore2ESGReportsRetrieval"], languages=["eng", "fra"])
    [task] = find_tasks(asked, tmp_path)
    assert task.hf_subsets == ["french", "english"]


def test_data_that_cannot_be_reached_is_named(tmp_path):
    with pytest.raises(ConfigError, match=r"the data of VidoreDocVQARetrieval \(\S+, revision \w+\) cannot be opened"):
        read_benchmark(Benchmark("VidoreDocVQARetrieval"), Media(), tmp_path)


def test_without_mteb_the_error_says_what_to_install(monkeypatch, tmp_path):
    monkeypatch.setattr("mmexp.benchmark.tasks.find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"pip install 'mmexp\[benchmark\]'"):
        find_tasks(Benchmark("ViDoRe(v2)"), tmp_path)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["task=train"], "task=train cannot be with benchmark"),
        (["reranker_arch=any_to_any"], "reranker_arch cannot be with benchmark"),
    ],
)
def test_what_cannot_be_with_a_benchmark_is_refused(overrides, message, tmp_path):
    with pytest.raises(ConfigError, match=message):
        experiment_of(tmp_path, *BENCHMARK, "tracking=none", *overrides)


def test_data_that_would_be_ignored_is_refused(tmp_path):
    overrides = [*BENCHMARK, "tracking=none", "data.num_eval_pages=10"]
    with pytest.raises(ConfigError, match=r"data\.num_eval_pages=10 would be ignored: benchmark\.name=MadeUpPageRet"):
        freeze(experiment_of(tmp_path, *overrides), tmp_path, overrides)


def test_a_benchmark_that_there_is_not_is_refused_before_a_run_begins(tmp_path):
    experiment = experiment_of(tmp_path, "+benchmark=mteb", "benchmark.name=MadeUpPageRetrival", "tracking=none")
    with pytest.raises(ConfigError, match="neither a benchmark nor a task of mteb"):
        freeze(experiment, tmp_path, [])
    assert not [*tmp_path.iterdir()]


def test_a_benchmark_takes_the_place_of_the_embedded_experiment():
    assert arrange(["+benchmark=vidore_v1", "seed=1"]) == ["seed=1", "+benchmark=vidore_v1"]
    assert arrange(["+benchmark=mteb", "+experiment=vdr_2b"]) == ["+experiment=vdr_2b", "+benchmark=mteb"]
