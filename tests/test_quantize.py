"""Embedding size and precision: rankings against NumPy, sizes by hand, the recommendation, and the command."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from scipy import stats

from mmexp.composition import freeze
from mmexp.evaluation.encode import Encoder
from mmexp.evaluation.metrics import Ranking
from mmexp.quantize.__main__ import main
from mmexp.quantize.encoding import encoder_of, loaded
from mmexp.quantize.indexes import Bfloat16Index, BinaryIndex, Float32Index, Int8Index
from mmexp.quantize.non_inferiority import lower_limit
from mmexp.quantize.recommendation import recommended, surest
from mmexp.quantize.report import Quantization
from mmexp.quantize.search import Search, prepared
from mmexp.quantize.settings import Measured, Setting, compared
from mmexp.quantize.table import words
from mmexp.schema import ConfigError
from tests.compare.run_folders import write_sweep
from tests.test_run import BARE, QUICK, SMALL, experiment_of, run_in

NUM_DOCUMENTS, NUM_QUERIES = 60, 7
IDS = [f"page-{37 * n % NUM_DOCUMENTS:02d}" for n in range(NUM_DOCUMENTS)]


def embeddings(dim: int) -> tuple[np.ndarray, np.ndarray]:
    """Queries near documents; some documents are twice there, and one dimension is the same in all of them."""
    random = np.random.default_rng(3)
    documents = random.normal(size=(NUM_DOCUMENTS, 24)).astype(np.float32)
    documents[50:] = documents[:10]
    documents[:, 2] = 0.25
    queries = documents[5 : 5 + NUM_QUERIES] + random.normal(size=(NUM_QUERIES, 24)).astype(np.float32)
    cut = [side[:, :dim].astype(np.float64) for side in (queries, documents)]
    return tuple(side / np.linalg.norm(side, axis=1, keepdims=True) for side in cut)  # type: ignore[return-value]


def best(scores: np.ndarray, count: int) -> np.ndarray:
    """The highest scores of each query, ties by id."""
    return np.array([sorted(range(NUM_DOCUMENTS), key=lambda d: (-row[d], IDS[d]))[:count] for row in scores])


def int8_codes(documents: np.ndarray) -> np.ndarray:
    low, step = documents.min(axis=0), np.ptp(documents, axis=0) / 255
    return np.clip(np.floor((documents - low) / np.where(step == 0, 1, step)), 0, 255) - 128


def expected(precision: str, multiplier: int | None, dim: int) -> np.ndarray:
    """The rankings, by definition."""
    queries, documents = (side.astype(np.float32).astype(np.float64) for side in embeddings(dim))
    if precision == "float32":
        return best(queries @ documents.T, 10)
    if precision == "bfloat16":
        exponent = np.floor(np.log2(np.abs(documents)))  # 8 bits that count, the first of which is always 1
        rounded = np.round(documents / 2 ** (exponent - 7)) * 2 ** (exponent - 7)
        return best(queries @ rounded.T, 10)
    if precision == "int8":
        codes = int8_codes(documents)
        return best(queries @ ((codes + 128) * np.ptp(documents, axis=0) / 255 + documents.min(axis=0)).T, 10)
    else:
        scores = -((queries[:, None] > 0) != (documents[None] > 0)).sum(axis=2)
        decoded = np.where(documents > 0, 1.0, -1.0)
    if multiplier is None:
        return best(scores, 10)
    found = best(scores, 10 * multiplier)
    return np.array(
        [
            [d for _, _, d in sorted((-(query @ decoded[d]).round(5), place, d) for place, d in enumerate(row))][:10]
            for query, row in zip(queries, found, strict=True)
        ]
    )


@pytest.mark.parametrize("dim", [24, 13, 8])
@pytest.mark.parametrize(
    ("index_class", "multiplier"),
    [
        (Float32Index, None),
        (Bfloat16Index, None),
        (Int8Index, None),
        (BinaryIndex, None),
        (BinaryIndex, 1),
        (BinaryIndex, 3),
    ],
)
def test_rankings_equal_those_of_numpy(index_class, multiplier, dim):
    queries, documents = (prepared(torch.from_numpy(side).float(), dim, "dot") for side in embeddings(dim))
    found = Search(index_class(documents), multiplier).rank(queries, IDS).documents
    np.testing.assert_array_equal(found, expected(index_class.precision, multiplier, dim))


def test_int8_finds_what_float32_finds_however_unequal_dimensions_are():
    """Integer products of the codes of both do not: they count a dimension for more the less it varies."""
    generator = np.random.default_rng(0)
    scales = np.exp(generator.normal(0, 0.5, 64))
    documents, queries = (torch.from_numpy(generator.normal(size=(n, 64)) * scales).float() for n in (2000, 50))
    ids = [str(n) for n in range(2000)]
    by_int8, by_float32 = (Search(kind(documents)).rank(queries, ids).documents for kind in (Int8Index, Float32Index))
    shared = [len({*ours} & {*theirs}) for ours, theirs in zip(by_int8, by_float32, strict=True)]
    assert np.mean(shared) > 9.5


def test_sizes_are_cut_before_they_are_normalised_and_only_where_the_model_compares_by_cosine():
    raw = torch.tensor([[3.0, 4.0, 12.0]])
    assert prepared(raw, 2, "cosine").tolist() == [[pytest.approx(0.6), pytest.approx(0.8)]]
    assert prepared(raw, 2, "dot").tolist() == [[3.0, 4.0]]


@pytest.mark.parametrize(
    ("index_class", "dim", "bytes_per_document"),
    [
        (Float32Index, 2048, 8192),
        (Bfloat16Index, 2048, 4096),
        (Int8Index, 2048, 2048),
        (BinaryIndex, 2048, 256),
        (BinaryIndex, 20, 3),
    ],
)
def test_bytes_per_document_are_those_of_the_codes(index_class, dim, bytes_per_document):
    index = index_class(torch.randn(3, dim, generator=torch.manual_seed(1)))
    assert index.bytes_per_document == bytes_per_document
    codes = torch.as_tensor(index.codes)
    assert codes.nelement() * codes.element_size() == 3 * bytes_per_document


def test_a_search_takes_time_that_is_measured_in_one_thread_of_torch():
    threads = torch.get_num_threads()
    documents = torch.randn(50, 16, generator=torch.manual_seed(1))
    assert 0 < Search(BinaryIndex(documents), 2).seconds_per_query(documents[:3]) < 1
    assert torch.get_num_threads() == threads


def row(bytes_per_document: int, losses: list[float], rescored: bool = False) -> Measured:
    """A setting that loses so much on each of the queries."""
    scores = 0.8 - np.array(losses)
    ranking = Ranking(np.zeros((len(losses), 1), dtype=np.int64), np.zeros((len(losses), 1), dtype=np.float32))
    return Measured(Setting(8 * bytes_per_document, "binary", rescored), bytes_per_document, 0.001, ranking, scores)


FULL, EQUAL, BETTER = row(100, [0.0] * 2000), row(60, [0.0] * 2000), row(50, [-0.1, -0.2] * 1000)
A_LITTLE_WORSE = row(20, [0.001, 0.003] * 1000)
NOT_SHOWN = row(10, [0.3, -0.3] * 1000)  # the same mean as the full one, and limits that hold much worse ones
RARE = row(8, [0.0] * 1999 + [0.1])
WORSE = row(5, [0.05, 0.06] * 1000)
OF_FEW = [row(100, [0.0] * 40), row(60, [0.0] * 40), row(50, [0.0] * 39 + [0.1])]


@pytest.mark.parametrize(
    ("measured", "margin", "expected"),
    [
        ([FULL, BETTER, A_LITTLE_WORSE, NOT_SHOWN, WORSE], 0.01, A_LITTLE_WORSE),
        ([FULL, BETTER, A_LITTLE_WORSE, NOT_SHOWN, WORSE], 0.1, WORSE),
        ([FULL, BETTER, A_LITTLE_WORSE, NOT_SHOWN, WORSE], 0.003, BETTER),
        ([FULL, NOT_SHOWN, WORSE], 0.01, FULL),
        ([FULL, EQUAL, WORSE], 0.01, EQUAL),
        ([FULL, RARE], 0.01, RARE),
        ([FULL, RARE], 0.001, FULL),
        (OF_FEW, 0.01, OF_FEW[1]),
        (OF_FEW, 0.3, OF_FEW[2]),
        ([FULL, A_LITTLE_WORSE, row(20, [0.0, 0.001] * 1000, rescored=True)], 0.01, None),  # of equals, the higher mean
    ],
)
def test_the_surest_is_the_smallest_that_is_shown_to_be_no_worse(measured, margin, expected):
    found = surest(compared(measured), margin).measured
    assert found is (measured[-1] if expected is None else expected)


@pytest.mark.parametrize(
    ("measured", "margin", "expected"),
    [
        ([FULL, BETTER, A_LITTLE_WORSE, WORSE], 0.01, A_LITTLE_WORSE),
        ([FULL, BETTER, A_LITTLE_WORSE, NOT_SHOWN, WORSE], 0.01, NOT_SHOWN),
        ([FULL, WORSE], 0.01, FULL),
        ([FULL, WORSE], 0.06, WORSE),
        (OF_FEW, 0.01, OF_FEW[2]),  # one query of 40 shows nothing
    ],
)
def test_the_smallest_that_is_not_shown_to_be_worse_by_more_than_the_margin_is_recommended(measured, margin, expected):
    assert recommended(compared(measured), margin).measured is expected


DISTRIBUTIONS = {
    "one query in a hundred loses all": ([1.0], [1.0]),
    "one in 37 loses the first place": ([0.37], [1.0]),
    "one in ten loses a little": ([0.1], [1.0]),
    "losses of all sizes": ([1.0, 0.37, 0.13, 0.07], [0.07, 0.14, 0.3, 0.49]),
    "rare ones of all, frequent ones of little": ([1.0, 0.05], [0.2, 0.8]),
}


def losses_of(name: str, mean: float, shape: tuple[int, ...]) -> np.ndarray:
    """Differences of queries, most of which are 0."""
    generator = np.random.default_rng(1)
    sizes, shares = (np.array(part) for part in DISTRIBUTIONS[name])
    is_loss = generator.random(shape) < mean / (sizes @ shares)
    return -np.where(is_loss, generator.choice(sizes, size=shape, p=shares), 0.0)


@pytest.mark.parametrize("num_queries", [100, 300, 1000])
@pytest.mark.parametrize("name", DISTRIBUTIONS)
def test_a_setting_that_loses_the_margin_is_shown_not_to_in_at_most_3_percent(name, num_queries):
    drawn = losses_of(name, 0.0101, (2000, num_queries))
    passes = np.array([lower_limit(differences, 0.025) > -0.01 for differences in drawn])
    assert passes.mean() <= 0.025


def test_that_any_of_many_settings_is_wrongly_shown_happens_in_at_most_3_percent():
    """Of 23 settings that all lose the margin, each on queries of its own."""
    losses = losses_of("losses of all sizes", 0.0101, (200, 23, 1000))
    alone, together = (
        [[lower_limit(d, alpha) > -0.01 for d in of_one] for of_one in losses] for alpha in (0.025, 0.025 / 23)
    )
    assert np.any(together, axis=1).mean() <= 0.033
    assert np.any(alone, axis=1).mean() > 0.1  # else this would show nothing


def test_lower_limits_are_exact_where_nothing_differs_and_where_some_lose_all():
    assert lower_limit(np.zeros(300), 0.025) == pytest.approx(-stats.beta.ppf(0.975, 1, 300))
    assert lower_limit(np.array([0.2]), 0.025) == pytest.approx(0.2 - 0.975)
    losses = -1.0 * (np.arange(1000) < 40)
    exact = -stats.gamma.ppf(0.975, 41) / 1000  # Garwood's limit of a count of 40
    assert lower_limit(losses, 0.025) == pytest.approx(exact)
    dense = np.random.default_rng(0).normal(0.1, 0.02, 500)
    t = stats.ttest_1samp(dense, 0).confidence_interval(0.95).low
    assert lower_limit(dense, 0.025) <= t == pytest.approx(lower_limit(dense, 0.025), abs=0.01)


@pytest.mark.parametrize(
    ("measured", "margin", "said"),
    [
        (OF_FEW, 0.01, "The smallest that is equal to the full one on all 40 queries: "),
        (OF_FEW, 0.3, "The smallest that is shown to be within that margin"),
        ([FULL, WORSE], 0.01, "2000 queries can show no margin below 0.0018"),
    ],
)
def test_words_tell_what_is_equal_from_what_is_shown(measured, margin, said):
    encoded = SimpleNamespace(document_ids=IDS)
    found = Quantization(Path("run"), "print", encoded, compared(measured), margin, 4)
    assert said in words(found)


def count_encodings(patched: pytest.MonkeyPatch) -> list[None]:
    """A list that grows whenever data is encoded."""
    calls: list[None] = []
    encode = Encoder.encode
    patched.setattr(Encoder, "encode", lambda *given: calls.append(None) or encode(*given))
    return calls


@pytest.fixture(scope="module")
def quantized(tmp_path_factory, vdr_columns):
    """A short run, quantised, then its model evaluated, and both quantised again; how often each of these encoded."""
    folder = tmp_path_factory.mktemp("quantized")
    data = shutil.copytree(vdr_columns, folder / "data")
    common = ["+experiment=vdr_2b", "dims=none", f"data.path={data}", *QUICK]
    sizes = ["dims.matryoshka_dims=[32,16,12]", "dims.truncate_dim=16"]
    trained = run_in(folder, *common, "model=tiny_vlm", *SMALL, *BARE, *sizes)
    run_dir = (folder / "run").rename(folder / "trained")
    encodings = []
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("COLUMNS", "150")
        calls = count_encodings(patched)
        main([str(run_dir)])
        encodings.append(len(calls))
        first = read(run_dir)
        evaluated = run_in(folder, *common, *BARE, "model=hub", f"model.checkpoint={run_dir}", "task=evaluate")
        encodings.append(len(calls))
        main([str(folder / "run"), "--dims", "8", "--margin", "0.5", "--rescore-multiplier", "1"])
        encodings.append(len(calls))
    return SimpleNamespace(
        folder=folder, run_dir=run_dir, trained=trained, evaluated=evaluated, first=first, encodings=encodings
    )


def read(run_dir: Path) -> dict:
    return json.loads((run_dir / "quantization" / "quantization.json").read_text())


def settings_of(summary: dict) -> dict[tuple, dict]:
    return {(entry["dim"], entry["precision"], entry["rescored"]): entry for entry in summary["settings"]}


def test_the_full_embeddings_score_what_the_run_measured_at_every_size(quantized):
    settings = settings_of(quantized.first)
    assert {dim for dim, _, _ in settings} == {32, 16, 12}
    assert len(settings) == 3 * 5
    for dim in (32, 16, 12):
        measured = quantized.trained["by_dim"][str(dim)]["final"]["ndcg@10"]
        assert settings[dim, "float32", False]["ndcg@10"] == pytest.approx(measured, abs=1e-6)
    full, *others = quantized.first["settings"]
    assert (full["delta"], full["percent_of_full"], full["bytes_per_million_documents"]) == (None, 100, 128_000_000)
    assert any(other["ndcg@10"] != full["ndcg@10"] for other in others)


def test_what_was_encoded_once_is_found_by_every_later_call(quantized):
    assert quantized.encodings == [1, 1, 1]
    assert quantized.evaluated["throughput"] is None  # nothing was encoded, so nothing is said of the speed
    # The model that was saved at 16 dimensions is one of 16.
    assert quantized.evaluated["final"] == quantized.trained["by_dim"]["16"]["final"]
    again = settings_of(read(quantized.folder / "run"))
    assert {dim for dim, _, _ in again} == {16, 8}
    assert again[16, "int8", False]["ndcg@10"] == settings_of(quantized.first)[16, "int8", False]["ndcg@10"]


def test_the_files_say_the_same(quantized):
    from pyarrow import parquet

    folder = quantized.run_dir / "quantization"
    rows = list(csv.DictReader((folder / "quantization.csv").read_text().splitlines()))
    table = parquet.read_table(folder / "per_query.parquet").to_pylist()
    assert len(table) == len(rows) * quantized.trained["num_queries"]
    for of_csv, entry in zip(rows, quantized.first["settings"], strict=True):
        assert of_csv == {name: "" if value is None else str(value) for name, value in entry.items()}
        key = ("dim", "precision", "rescored")
        of_setting = [query for query in table if all(query[name] == entry[name] for name in key)]
        assert np.mean([query["ndcg@10"] for query in of_setting]) == pytest.approx(entry["ndcg@10"])
        assert all(len(query["top"]) == 10 for query in of_setting)
    assert [sum(row[name] == "True" for row in rows) for name in ("recommended", "surest")] == [1, 1]
    assert (folder / "quantization.png").stat().st_size > 10_000
    assert "binary, rescored" in (folder / "quantization.svg").read_text()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["RUN", "--dims", "64"], "--dims 64 is no size of embeddings that have 32 dimensions. Use 1 to 32."),
        (["RUN", "--dims", "8;4"], "argument --dims: '8;4' is no list of sizes such as 1024,256."),
        (["RUN", "--margin", "1%"], "argument --margin: '1%' is no part of NDCG@10, such as 0.01."),
        (["RUN", "--rescore-multiplier", "0"], "argument --rescore-multiplier: '0' is no count, such as 4."),
        ([], "the following arguments are required: RUN_DIR."),
        (["RUN/model"], "model is no run folder"),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(quantized, capsys, arguments, message):
    refused(capsys, [word.replace("RUN", str(quantized.run_dir)) for word in arguments], message)


def refused(capsys, arguments: list[str], message: str) -> None:
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 2
    said = capsys.readouterr().err.strip().splitlines()[-1]
    assert said.startswith("mmexp: ")
    assert message in said


def test_a_run_whose_model_or_data_is_gone_is_refused(quantized, capsys):
    run_dir, data = quantized.run_dir, quantized.folder / "data"
    result = json.loads((run_dir / "result.json").read_text())
    (run_dir / "result.json").write_text(json.dumps({**result, "data_fingerprint": "of before"}))
    refused(capsys, [str(run_dir)], "has changed since: its fingerprint was of before")
    (run_dir / "result.json").write_text(json.dumps({**result, "status": "preempted"}))
    refused(capsys, [str(run_dir)], f"its status is preempted. Finish it with: python -m mmexp.resume {run_dir}")
    (run_dir / "result.json").write_text(json.dumps(result)[:100])
    refused(capsys, [str(run_dir)], f"{run_dir}/result.json cannot be read: ")
    (run_dir / "result.json").write_text(json.dumps(result))
    data.rename(quantized.folder / "moved")
    refused(capsys, [str(run_dir)], f"data.path={data}")
    (quantized.folder / "moved").rename(data)
    (run_dir / "model").rename(run_dir / "moved")
    refused(capsys, [str(run_dir)], "has no model/ any more")
    (run_dir / "moved").rename(run_dir / "model")


def test_of_a_sweep_a_member_is_asked_for(tmp_path, capsys):
    write_sweep(tmp_path, {"first": {}, "second": {}})
    refused(capsys, [str(tmp_path)], f"the folder of a sweep. Give one of its members, such as {tmp_path}/first.")


@pytest.mark.parametrize(
    ("experiment", "message"),
    [
        ("reranker_tiny", "the run of a reranker, which has no embeddings"),
        ("two_stage_tiny", "Give the run of its first stage"),
        ("multivector_tiny", "embedder_arch.pool_factor=4"),
        ("benchmark", "the run of a benchmark, which brings its own data"),
    ],
)
def test_models_without_one_embedding_are_refused_whatever_the_run_came_to(experiment, message, tmp_path, capsys):
    chosen = "+benchmark=vidore_v2" if experiment == "benchmark" else f"+experiment={experiment}"
    overrides = [chosen, "tracking=none", "model=hub", "model.checkpoint=x"]
    if experiment == "two_stage_tiny":
        overrides.append("two_stage.reranker.checkpoint=y")
    freeze(experiment_of(tmp_path, *overrides), tmp_path, overrides)
    refused(capsys, [str(tmp_path)], message)


def test_a_model_that_compares_by_distance_is_refused_with_those_that_can_be(tmp_path):
    composition = freeze(experiment_of(tmp_path, "+experiment=vdr_tiny"), tmp_path, [])
    kind = SimpleNamespace(build_model=lambda: SimpleNamespace(similarity_fn_name="euclidean"))
    with pytest.raises(ConfigError, match=r"by euclidean distance.* whose model compares by cosine or dot"):
        loaded(kind, composition)


def test_a_run_of_a_gpu_is_encoded_without_one_and_the_log_says_so(tmp_path, monkeypatch, caplog):
    experiment = experiment_of(tmp_path, "+experiment=vdr_2b", "tracking.grid=USA")
    monkeypatch.setattr(torch.accelerator, "is_available", lambda: False)
    assert encoder_of(experiment).bf16_autocast is False
    assert "trainer.bf16=true, which needs a GPU" in caplog.text
