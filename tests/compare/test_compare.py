"""Comparisons of run folders: what is pooled, refused, ranked, tested and said."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from mmexp.compare.__main__ import main
from mmexp.compare.by_data import compare_by_data
from mmexp.compare.comparison import Comparison, compare
from mmexp.compare.runs import find_runs
from mmexp.repeat.mark import has_verdict, mark
from mmexp.schema import ConfigError
from tests.compare.run_folders import ndcg_scores, write_config, write_failure, write_run, write_sweep

BATCH = "trainer.per_device_train_batch_size"


@pytest.fixture
def scores():
    """Scores of 300 queries by how many have their page at the top: those of a better run are nowhere worse."""
    draws = np.random.default_rng(3).random(300)
    values = np.append(1 / np.log2(np.arange(2, 12)), 0.0)

    def of(at_top: float) -> np.ndarray:
        place = np.where(draws < at_top, 0, np.ceil((draws - at_top) / (1 - at_top) * 10))
        return values[place.astype(int).clip(0, 10)]

    return of


def compared(*paths: Path, **asked) -> Comparison:
    return compare(find_runs(paths), **asked)


def named(comparison: Comparison, label: str):
    return next(row for row in comparison.rows if row.setting.label == label)


def test_settings_are_ranked_with_what_differs_and_how_they_differ(tmp_path, scores):
    for batch_size, at_top in ((8, 0.6), (16, 0.61), (32, 0.8)):
        write_run(tmp_path / f"b{batch_size}", scores(at_top), scores(0.5), {BATCH: batch_size})
    found = compared(tmp_path)
    assert [row.setting.parameters for row in found.rows] == [{BATCH: 32}, {BATCH: 16}, {BATCH: 8}]
    assert found.axes == {BATCH: [8, 16, 32]}
    best, middle, last = found.rows
    assert found.reference is best
    assert best.to_reference is None
    assert best.estimate.mean == pytest.approx(scores(0.8).mean())
    assert best.estimate.low < best.estimate.mean < best.estimate.high
    assert middle.to_reference.words == last.to_reference.words == "worse"
    assert best.to_baseline.delta == pytest.approx(best.estimate.mean - best.baseline.mean)
    assert best.to_baseline.words == "better"
    assert best.to_baseline.losses == 0 < best.to_baseline.wins


def test_what_is_noise_is_said_to_be(tmp_path):
    generator = np.random.default_rng(1)
    for batch_size in (8, 16):
        write_run(tmp_path / f"b{batch_size}", ndcg_scores(generator, (300,), 0.8), config={BATCH: batch_size})
    other = compared(tmp_path).rows[1]
    assert other.to_reference.delta < 0
    assert other.to_reference.words == "no difference shown"
    assert other.to_reference.low < 0 < other.to_reference.high


def test_where_an_interval_leaves_0_out_and_p_shows_nothing_a_note_says_why(tmp_path):
    generator = np.random.default_rng(1)
    better = ndcg_scores(generator, (300,), 0.8)
    for n in range(6):
        worse = np.where(np.arange(300) < 4 + 2 * n, better * 0.5, better)
        write_run(tmp_path / f"run-{n}", worse, config={BATCH: n})
    found = compared(tmp_path)
    contradicting = [row for row in found.rows[1:] if row.to_reference.high < 0 < row.to_reference.p_holm - 0.05]
    assert contradicting
    assert any("leaves 0 out may stand beside no difference shown" in note for note in found.notes)
    [alone] = [compare(found.rows[0].setting.runs)]
    assert not any("stand beside" in note for note in alone.notes)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_scores_that_are_no_numbers_are_not_ranked_and_said_by_run_metric_and_count(tmp_path, scores, value):
    broken = scores(0.8).copy()
    broken[[3, 7]] = value
    write_run(tmp_path / "a", scores(0.8))
    write_run(tmp_path / "b", broken, config={BATCH: 16})
    [run] = compared(tmp_path).unfinished
    assert run.name == "b"
    assert run.error == ("cannot be read: per_query/final.parquet: ndcg@10 is no finite number in 2 of 300 rows")


def test_equal_runs_have_p_1_and_the_width_of_what_was_not_seen(tmp_path, scores):
    for batch_size in (8, 16):
        write_run(tmp_path / f"b{batch_size}", scores(0.8), scores(0.8), {BATCH: batch_size})
    other = compared(tmp_path).rows[1].to_reference
    assert (other.delta, other.p, other.effect_size, other.ties) == (0.0, 1.0, 0.0, 300)
    assert other.low == pytest.approx(-(1 - 0.025 ** (1 / 300)))
    assert other.high == -other.low


def test_one_query_tells_nothing(tmp_path):
    for batch_size, score in ((8, 0.0), (16, 1.0)):
        write_run(tmp_path / f"b{batch_size}", [score], config={BATCH: batch_size})
    best, other = compared(tmp_path).rows
    assert other.to_reference.p == 1
    assert other.to_reference.words == "no difference shown"
    assert best.estimate.low < 0.05
    assert other.estimate.high > 0.95
    assert other.to_reference.high > 0.9


def test_runs_that_differ_in_their_seed_are_one_setting(tmp_path, scores):
    spread = np.random.default_rng(1).normal(0, 0.02, 6)
    for n, (batch_size, seed) in enumerate([(b, s) for b in (8, 16) for s in (1, 2, 3)]):
        config = {BATCH: batch_size, "seed": seed, "output_root": f"elsewhere-{n}", "launch.num_processes": n}
        write_run(tmp_path / f"b{batch_size}-s{seed}", scores(0.8 + spread[n]), scores(0.5), config)
    found = compared(tmp_path)
    assert [row.setting.seeds for row in found.rows] == [[1, 2, 3], [1, 2, 3]]
    assert set(found.axes) == {BATCH}
    row = named(found, "bs=8")
    means = [run.scores("final").values.mean() for run in row.setting.runs]
    assert row.estimate.mean == pytest.approx(np.mean(means))
    assert row.estimate.spread_over_seeds == pytest.approx(np.std(means, ddof=1))
    alone = compare(row.setting.runs[:1]).rows[0].estimate
    assert row.estimate.high - row.estimate.low > 0.9 * (alone.high - alone.low)
    assert any("pooled" in note for note in found.notes)


def test_settings_tell_one_another_how_much_seeds_matter(tmp_path, scores):
    """Two seeds of one setting tell next to nothing of it; those of six, which agree, tell enough."""
    for batch_size in (8, 16, 24, 32, 40, 48):
        for seed, at_top in ((1, 0.77), (2, 0.83)):
            config = {BATCH: batch_size, "seed": seed}
            write_run(tmp_path / f"b{batch_size}-s{seed}", scores(at_top), scores(0.5), config)
    found = compared(tmp_path)
    assert any("the 6 settings with several tell together" in note for note in found.notes)
    for row in found.rows:
        by_itself = compare(row.setting.runs)
        [alone] = by_itself.rows
        assert any("up to 99% of cases" in note for note in by_itself.notes)
        assert (row.estimate.mean, row.estimate.spread_over_seeds) == (
            alone.estimate.mean,
            alone.estimate.spread_over_seeds,
        )
        assert row.estimate.high - row.estimate.low < 0.9 * (alone.estimate.high - alone.estimate.low)
        assert row.to_baseline.high - row.to_baseline.low < 0.9 * (alone.to_baseline.high - alone.to_baseline.low)


def test_one_seed_each_is_said(tmp_path, scores):
    write_run(tmp_path / "a", scores(0.8))
    assert any(note.startswith("One seed each: spread over seeds is not counted") for note in compared(tmp_path).notes)


def test_a_repeated_seed_counts_once_and_is_named(tmp_path, scores):
    write_run(tmp_path / "old", scores(0.7), result={"ended": "2026-01-01T00:00:00+00:00"})
    write_run(tmp_path / "new", scores(0.8), result={"ended": "2026-01-02T00:00:00+00:00"})
    found = compared(tmp_path)
    assert [run.name for row in found.rows for run in row.setting.runs] == ["new"]
    assert any("old repeats a setting and seed" in note for note in found.notes)


def test_a_halved_mini_batch_is_the_same_setting(tmp_path, scores):
    write_run(tmp_path / "a", scores(0.8))
    halved = write_run(tmp_path / "b", scores(0.81), config={"seed": 2, "loss.mini_batch_num_tokens": 1024})
    halvings = [
        {"key": "mini_batch_num_tokens", "before": 4096, "after": 2048},
        {"key": "mini_batch_num_tokens", "before": 2048, "after": 1024},
    ]
    file = halved / "composition.yaml"
    file.write_text(file.read_text().replace("halvings: []", f"halvings: {json.dumps(halvings)}"))
    assert [row.setting.seeds for row in compared(tmp_path).rows] == [[1, 2]]


def test_what_says_the_same_twice_is_one_parameter_and_an_option_stands_for_its_fields(tmp_path, scores):
    same = {"model.max_pixels": 100, "data.jpeg_pixels": 100}
    write_run(tmp_path / "a", scores(0.8), config=same)
    write_run(tmp_path / "b", scores(0.7), config={"loss.margin": 0.1}, schemas={"loss": "loss/triplet"})
    write_run(tmp_path / "c", scores(0.6))
    assert set(compared(tmp_path).axes) == {"loss", "model.max_pixels"}


def test_a_sweep_says_itself_what_it_varies(tmp_path, scores):
    write_run(tmp_path / "one", scores(0.8), config={"loss.scale": 30, "trainer.weight_decay": 0.1})
    write_run(tmp_path / "two", scores(0.7))
    write_sweep(tmp_path, {"one": {"recipe": "mine", "seed": 1}, "two": {"recipe": "theirs", "seed": 1}, "three": {}})
    found = compared(tmp_path)
    assert found.axes == {"recipe": ["mine", "theirs"]}
    assert [(run.name, run.status) for run in found.unfinished] == [("three", "waiting")]


def test_unfinished_failed_and_diverged_runs_are_listed_with_why(tmp_path, scores, capsys):
    write_run(tmp_path / "good", scores(0.8))
    write_failure(tmp_path / "bad", "failed", "OSError: no\nspace")
    write_failure(tmp_path / "wild", "diverged", "Diverged: the loss is nan")
    write_config(tmp_path / "begun", {}, {})
    (tmp_path / "begun" / "metrics.jsonl").write_text("")
    bare = write_run(tmp_path / "bare", scores(0.8))
    (bare / "per_query" / "final.parquet").unlink()
    found = {run.name: (run.status, run.error) for run in compared(tmp_path).unfinished}
    assert found == {
        "bad": ("failed", "OSError: no space"),
        "bare": ("finished", "it has no per_query/final.parquet, so there are no scores to compare"),
        "begun": ("started", None),
        "wild": ("diverged", "the loss is nan"),
    }
    main([str(tmp_path), "--output", str(tmp_path / "out")])
    printed = capsys.readouterr().out
    assert "the loss is nan" in printed
    assert "started" in printed
    for status in ("failed", "diverged", "started"):
        assert status in (tmp_path / "out" / "comparison.csv").read_text()


@pytest.mark.parametrize("on_common", [False, True])
def test_different_evaluation_data_are_refused_or_compared_on_what_they_share(tmp_path, scores, on_common):
    mine = [f"q{n}" for n in range(300)]
    write_run(tmp_path / "a", scores(0.8), ids=mine)
    write_run(tmp_path / "b", scores(0.7), ids=[f"q{n}" for n in range(100, 400)], result={"data_fingerprint": "f0"})
    if not on_common:
        with pytest.raises(ConfigError, match=r"a and b have different evaluation data .*--common-queries"):
            compared(tmp_path)
        return
    found = compared(tmp_path, on_common_queries=True)
    assert found.query_ids == tuple(mine[100:])
    values = {run.name: run.scores("final").values for row in found.rows for run in row.setting.runs}
    means = {run.name: row.estimate.mean for row in found.rows for run in row.setting.runs}
    assert means == pytest.approx({"a": values["a"][100:].mean(), "b": values["b"][:200].mean()})
    assert any("evaluation data differ" in note for note in found.notes)


def test_equal_ids_of_other_queries_are_not_common(tmp_path, scores):
    write_run(tmp_path / "a", scores(0.8))
    other = write_run(tmp_path / "b", scores(0.7), result={"data_fingerprint": "f0"})
    from pyarrow import compute, parquet

    file = other / "per_query" / "final.parquet"
    table = parquet.read_table(file)
    words = compute.binary_join_element_wise(table["query"], "else", " ")
    parquet.write_table(table.set_column(table.schema.get_field_index("query"), "query", words), file)
    with pytest.raises(ConfigError, match="no query in common"):
        compared(tmp_path, on_common_queries=True)


def test_missing_queries_are_refused_and_named(tmp_path, scores):
    write_run(tmp_path / "a", scores(0.8))
    write_run(tmp_path / "b", scores(0.7)[:298])
    with pytest.raises(ConfigError, match=r"b lacks 2 of the queries of a: q0298, q0299\. .*--common-queries"):
        compared(tmp_path)
    assert len(compared(tmp_path, on_common_queries=True).query_ids) == 298


def test_queries_in_another_order_are_paired_by_id(tmp_path, scores):
    order = np.random.default_rng(0).permutation(300)
    write_run(tmp_path / "a", scores(0.8))
    write_run(tmp_path / "b", scores(0.8)[order], ids=[f"q{n:04d}" for n in order], config={BATCH: 16})
    assert compared(tmp_path).rows[1].to_reference.ties == 300


def test_a_reranker_counts_each_direction_alike(tmp_path):
    parts = {"text_to_image": [1.0, 0.5, 1.0, 0.0], "image_to_text": [1.0, 0.0]}
    lower = {"text_to_image": [0.5, 0.5, 1.0, 0.0], "image_to_text": [1.0, 0.0]}
    write_run(tmp_path / "a", parts, lower, part="direction")
    found = compared(tmp_path)
    assert found.rows[0].estimate.mean == pytest.approx((0.625 + 0.5) / 2)
    assert found.rows[0].to_baseline.delta == pytest.approx(0.125 / 2)
    assert found.query_ids[-1] == "image_to_text/q0001"
    assert compared(tmp_path, part="image_to_text").rows[0].estimate.mean == 0.5


def test_the_sizes_of_directions_are_no_chance(tmp_path):
    """Of 50 queries at 0.9 and 450 at 0.6 that hardly differ, the mean is known about as well as that of the 50."""
    generator = np.random.default_rng(0)
    draw = {"text_to_image": generator.normal(0.9, 0.02, 50), "image_to_text": generator.normal(0.6, 0.02, 450)}
    before = {direction: values - 0.1 for direction, values in draw.items()}
    write_run(tmp_path / "a", draw, before, part="direction")
    [row] = compared(tmp_path).rows
    expected = np.sqrt(sum(values.var(ddof=1) / len(values) for values in draw.values())) / 2
    assert row.estimate.high - row.estimate.low == pytest.approx(2 * 2 * expected, rel=0.1)
    assert row.to_baseline.delta == pytest.approx(0.1)
    assert row.to_baseline.p < 1e-9


def test_rerankers_among_other_numbers_of_documents_and_searches_are_refused(tmp_path, scores):
    write_run(tmp_path / "a", {"text_to_image": scores(0.8)}, part="direction")
    more = {"reranking.num_eval_negatives": 20}
    write_run(tmp_path / "b", {"text_to_image": scores(0.8)}, part="direction", config=more)
    with pytest.raises(ConfigError, match="among 100 drawn negatives and b among 20"):
        compared(tmp_path)
    write_run(tmp_path / "c", scores(0.8))
    with pytest.raises(ConfigError, match=r"a is a reranker.*and c searches"):
        compared(tmp_path / "a", tmp_path / "c")


def test_evaluations_without_a_baseline_and_two_stages_compare_with_others(tmp_path, scores):
    write_run(tmp_path / "evaluated", scores(0.7), config={"task": "evaluate"})
    write_run(tmp_path / "two-stage", {5: scores(0.75), 20: scores(0.8)}, part="top_k", config={"task": "two"})
    found = compared(tmp_path)
    assert [run.name for row in found.rows for run in row.setting.runs] == ["two-stage", "evaluated"]
    assert found.rows[0].estimate.mean == pytest.approx(scores(0.8).mean())  # of the most documents
    assert found.rows[0].baseline is found.rows[0].to_baseline is None
    assert any("Without scores of a baseline" in note for note in found.notes)


def test_an_embedding_size_can_be_compared(tmp_path, scores):
    write_run(tmp_path / "a", {128: scores(0.8), 64: scores(0.7)})
    write_run(tmp_path / "b", {128: scores(0.8)}, config={BATCH: 16})
    assert compared(tmp_path / "a").rows[0].estimate.mean == pytest.approx(scores(0.8).mean())
    found = compared(tmp_path, part="64")
    assert found.rows[0].estimate.mean == pytest.approx(scores(0.7).mean())
    assert [(run.name, run.error) for run in found.unfinished] == [("b", "it was not measured at 64, only at 128")]
    with pytest.raises(ConfigError, match="There is: 128, 64"):
        compared(tmp_path, part="32")


def test_another_metric_can_be_compared_and_an_unknown_one_is_refused(tmp_path, scores):
    write_run(tmp_path / "a", scores(0.8))
    assert compared(tmp_path, metric="accuracy@1").rows[0].estimate.mean == (scores(0.8) == 1).mean()
    with pytest.raises(ConfigError, match=r"no metric 'ndcg@5'.*Did you mean 'ndcg@10'\? It has ndcg@10, accuracy@1\."):
        compared(tmp_path, metric="ndcg@5")


@pytest.mark.parametrize("column", ["query", "query_id", "relevant", "dim", "weight", "attribute/length"])
def test_a_column_that_is_no_metric_is_refused_with_those_that_are(tmp_path, scores, column):
    from pyarrow import array, parquet

    file = write_run(tmp_path / "a", scores(0.8)) / "per_query" / "final.parquet"
    table, ones = parquet.read_table(file), array([1.0] * 300)
    parquet.write_table(table.append_column("weight", ones).append_column("attribute/length", ones), file)
    with pytest.raises(ConfigError, match=rf"no metric '{column}'\..* It has ndcg@10, accuracy@1\."):
        compared(tmp_path, metric=column)


def test_a_run_that_names_no_part_is_listed_with_what_is_so(tmp_path, scores):
    write_run(tmp_path / "a", scores(0.8))
    write_run(tmp_path / "b", scores(0.8), result={"by_dim": {}})
    [(name, error)] = [(run.name, run.error) for run in compared(tmp_path).unfinished]
    assert (name, error) == ("b", "its result.json does not say what it was measured at: it has no scores by part")
    with pytest.raises(ConfigError, match=r"none of 1 runs has finished with scores to compare: b finished \(its res"):
        compared(tmp_path / "b")


def test_runs_of_two_primary_metrics_are_refused_unless_one_is_named(tmp_path, scores):
    write_run(tmp_path / "a", scores(0.8))
    write_run(tmp_path / "b", scores(0.8), config={BATCH: 16}, result={"primary_metric": "accuracy@1"})
    with pytest.raises(ConfigError, match=r"of a is ndcg@10, and that of b is accuracy@1\. .*--metric ndcg@10"):
        compared(tmp_path)
    assert len(compared(tmp_path, metric="ndcg@10").rows) == 2


def test_a_baseline_of_fewer_queries_is_named(tmp_path, scores):
    write_run(tmp_path / "a", scores(0.8), scores(0.5)[:298])
    write_run(tmp_path / "b", scores(0.8), scores(0.5), {BATCH: 16})
    notes = compared(tmp_path).notes
    assert (
        "The baseline of a has 298 queries and lacks 2 of the 300 that are compared, so bs=8 is without a gain."
    ) in notes
    assert not any("Without scores" in note for note in notes)


def test_a_reference_is_found_by_folder_name_and_label_and_shrinks_the_family(tmp_path, scores):
    for batch_size, at_top in ((8, 0.6), (16, 0.65), (32, 0.8)):
        write_run(tmp_path / f"b{batch_size}", scores(at_top), config={BATCH: batch_size})
    for words in (str(tmp_path / "b16"), "b16", "bs=16"):
        found = compared(tmp_path, reference=words)
        assert found.reference.setting.label == "bs=16"
    assert found.rows[1].to_reference is None
    best = compared(tmp_path)
    p = {row.setting.label: row.to_reference for row in best.rows[1:]}["bs=16"]
    same = found.rows[0].to_reference
    assert same.p == pytest.approx(p.p)
    assert same.p_holm <= p.p_holm
    with pytest.raises(ConfigError, match="--reference b17 is none of"):
        compared(tmp_path, reference="b17")


def test_cost_is_the_mean_over_seeds_and_unknown_where_a_run_does_not_say(tmp_path, scores):
    write_run(tmp_path / "a", scores(0.8), scores(0.6))
    write_run(tmp_path / "b", scores(0.8), scores(0.6), {"seed": 2}, {"seconds": {"train": 7200.0}})
    row = compared(tmp_path).rows[0]
    assert (row.cost.hours, row.cost.gpu_hours, row.cost.pages_per_second) == (1.5, 3.0, 40.0)
    assert (row.cost.gpu_kwh, row.cost.cpu_kwh, row.cost.ram_kwh) == pytest.approx((1.0, 0.5, 0.5))
    assert row.cost.kwh == pytest.approx(2.0)
    assert row.cost.points_per_kwh == pytest.approx(100 * row.to_baseline.delta / 2)
    assert row.cost.energy_source == {"gpu": "measured", "cpu": "estimated", "ram": "estimated"}
    write_run(tmp_path / "b", scores(0.8), scores(0.6), {"seed": 2}, {"energy": None, "num_gpus": None})
    without = compared(tmp_path).rows[0].cost
    assert without.kwh is without.gpu_hours is without.points_per_kwh is None


def test_the_command_writes_into_the_sweep_and_fits_120_columns(tmp_path, scores, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "120")
    members = {f"m{n}": {BATCH: 8 * n, "model.max_pixels": 1000 * n, "data.num_negatives": n} for n in (1, 2)}
    for name, parameters in members.items():
        for seed in (1, 2, 3):
            config = {**parameters, "seed": seed}
            write_run(tmp_path / f"{name}-{seed}", scores(0.7 + seed / 100), scores(0.4), config)
    write_sweep(tmp_path, {f"{name}-{seed}": {**p, "seed": seed} for name, p in members.items() for seed in (1, 2, 3)})
    main([str(tmp_path)])
    printed = capsys.readouterr().out
    assert max(map(len, printed.splitlines())) <= 120
    assert "no difference shown" in printed
    assert "3 ±" in printed
    with (tmp_path / "comparison" / "comparison.csv").open() as lines:
        rows = list(csv.DictReader(lines))
    assert [row["to_baseline_words"] for row in rows] == ["better", "better"]
    written = json.loads((tmp_path / "comparison" / "comparison.json").read_text())
    assert written["rows"][0]["to_baseline"]["words"] == "better"
    main([str(tmp_path)])  # what a comparison leaves is no run
    assert len(compared(tmp_path).rows) == 2


def test_all_that_is_in_a_sweep_can_be_given_and_what_is_no_run_is_said(tmp_path, scores, caplog):
    write_run(tmp_path / "a", scores(0.8))
    write_sweep(tmp_path, {"a": {}})
    (tmp_path / "multirun.yaml").write_text("")
    (tmp_path / "plan" / ".hydra").mkdir(parents=True)
    (tmp_path / "plan" / "plan.json").write_text("{}")
    paths = sorted(tmp_path.iterdir())
    assert [run.name for run in find_runs(paths)] == ["a"]
    left_out = ", ".join(str(path) for path in paths if path.name != "a")
    assert [record.message for record in caplog.records] == [f"left out, as there is no run in it: {left_out}"]
    with pytest.raises(ConfigError, match=r"there is no run in .*multirun\.yaml, .*plan"):
        find_runs([tmp_path / "multirun.yaml", tmp_path / "plan"])
    with pytest.raises(ConfigError, match="b is not there"):
        find_runs([tmp_path / "a", tmp_path / "b"])


def test_a_repeat_counts_for_nothing_from_its_beginning_unless_it_is_named_alone(tmp_path, scores, caplog):
    write_run(tmp_path / "a", scores(0.8))
    repeat = tmp_path / "a-repeat-1"
    repeat.mkdir()
    mark(repeat, tmp_path / "a")
    write_config(repeat, {}, {})
    assert not has_verdict(repeat)
    assert [run.name for run in find_runs([tmp_path])] == ["a"]
    assert [run.name for run in find_runs([repeat])] == ["a-repeat-1"]
    assert [run.name for run in find_runs([repeat, tmp_path / "a"])] == ["a"]
    assert caplog.records[-1].message == f"left out, as it repeats a run that is compared: {repeat}"


def test_a_path_without_a_run_is_named_and_no_model_library_is_loaded(tmp_path, scores):
    write_run(tmp_path / "runs" / "a", scores(0.8))
    code = (
        "import sys\nfrom mmexp.compare.__main__ import main\nmain(sys.argv[1:-1])\n"
        "assert not {'torch', 'transformers', 'datasets', 'sentence_transformers'} & {*sys.modules}\n"
        "main(sys.argv[1:])"
    )
    called = subprocess.run(
        [sys.executable, "-c", code, f"{tmp_path}/ru*", f"{tmp_path}/nothing"],
        cwd=tmp_path,
        env={"PYTHONPATH": str(Path(__file__).parents[2]), "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
    )
    assert called.returncode == 2
    assert called.stderr == (
        f"mmexp: {tmp_path}/nothing is not there. Give folders of runs or sweeps, such as multirun/vdr_tiny.\n"
    )
    assert (tmp_path / "comparison" / "comparison.csv").exists()


def test_seeds_of_one_sweep_that_varies_nothing_else_have_its_name(tmp_path, scores):
    for seed in (1, 2):
        write_run(tmp_path / "seeds" / f"seed={seed}-{seed}a", scores(0.8), scores(0.5), {"seed": seed})
    write_sweep(tmp_path / "seeds", {f"seed={seed}-{seed}a": {"seed": seed} for seed in (1, 2)})
    [row] = compared(tmp_path / "seeds").rows
    assert row.setting.label == "seeds"


def test_members_that_were_asked_for_before_more_was_varied_have_the_value_of_their_config(tmp_path, scores):
    asked = {"a": {"seed": 1}, "b": {"seed": 1, BATCH: 16}}
    for name, batch_size in (("a", 8), ("b", 16)):
        write_run(tmp_path / "sweep" / name, scores(0.8), scores(0.5), {"seed": 1, BATCH: batch_size})
    write_sweep(tmp_path / "sweep", asked)
    assert compared(tmp_path / "sweep").axes == {BATCH: [8, 16]}


def test_rerankers_are_compared_apart_from_what_searches_all(tmp_path, scores):
    write_run(tmp_path / "embedder", scores(0.8), scores(0.5))
    write_run(tmp_path / "reranker", {"text_to_image": scores(0.8)}, {"text_to_image": scores(0.5)}, part="direction")
    found = compare_by_data(find_runs([tmp_path]))
    assert not found.refused
    assert sorted(row.setting.label for one in found.comparisons.values() for row in one.rows) == [
        "embedder",
        "reranker",
    ]
