"""The page of a comparison: complete, self-contained, and safe to open whatever the data holds."""

from __future__ import annotations

import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from hydra import compose, initialize_config_dir

from mmexp.__main__ import CONF
from mmexp.compare.comparison import compare
from mmexp.compare.report import write
from mmexp.compare.report.breakdowns import (
    LENGTH,
    MOST_GROUPS,
    UNKNOWN,
    Columns,
    binned,
    breakdown_by_setting,
    breakdowns,
    most_common,
    sorted_names,
)
from mmexp.compare.report.breakdowns_section import breakdowns_section
from mmexp.compare.report.queries import disagreement, shared_failures, sides_of
from mmexp.compare.report.thumbnails import Thumbnails, evaluation_data
from mmexp.compare.runs import Run, find_runs
from mmexp.composition import freeze
from mmexp.experiment import register, to_experiment
from mmexp.schema import ConfigError
from tests.compare.given import Given, comparison_of
from tests.compare.run_folders import write_run

HOSTILE = '"><script>alert(1)</script>&<img src=x onerror=alert(1)> $x_1$'
FINAL = [1.0, 0.0, 0.5, 0.0, 1.0, 1.0]
OTHER = [0.5, 0.0, 1.0, 0.0, 1.0, 0.0]
TOPICS = ["tax", "tax", "law", "law", "tax", HOSTILE]
TEXTS = ["one", "one two", "one two three", HOSTILE, "a b c d e", "a b c d e f"]


def given_pair() -> list[Given]:
    common = {"attributes": {"topic": TOPICS, "constant": ["x"] * 6}, "texts": TEXTS, "evaluations": [0.1, 0.3]}
    return [
        Given({"x.b": HOSTILE}, FINAL, 1.0, **common),
        Given({"x.b": "plain"}, OTHER, 2.0, **common),
    ]


@pytest.fixture(scope="module")
def comparison(tmp_path_factory):
    failed = Given({"x.b": "plain"}, FINAL, error=HOSTILE)
    found = comparison_of(tmp_path_factory.mktemp("runs"), [*given_pair(), failed])
    (found.reference.setting.runs[0].run_dir / "composition.yaml").unlink()
    return found


@pytest.fixture(scope="module")
def folder(comparison, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("comparison")
    write(comparison, folder)
    return folder


@pytest.fixture(scope="module")
def page(folder) -> str:
    return (folder / "index.html").read_text()


class Elements(HTMLParser):
    """Every element with its attributes, and whether all are closed in order."""

    VOID = ("meta", "img")

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))
        if tag not in self.VOID and tag != "wbr":
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def test_the_page_loads_nothing_from_anywhere(page, folder):
    elements = Elements(page).found
    assert not {"script", "link", "iframe", "object", "embed", "base"} & {tag for tag, _ in elements}
    loaded = [value for _, attrs in elements for name, value in attrs.items() if name in ("src", "href", "xlink:href")]
    assert len(loaded) > 10
    for value in loaded:
        assert value.startswith(("#", "data:image/")) or (folder / value).exists() or value == "comparison.csv"
    assert all(target.startswith("#") for target in re.findall(r"url\(([^)]*)\)", page))
    assert "@import" not in page


def test_what_comes_from_data_is_text_and_never_markup(page):
    elements = Elements(page)
    assert elements.open == []
    assert not any(name.startswith("on") for _, attrs in elements.found for name in attrs)
    assert "<script" not in page
    # The ranking, the table of a figure, the error of a run, a query and a breakdown hold it.
    assert page.count("&lt;script&gt;alert(1)&lt;/script&gt;") >= 5


def test_the_page_shows_ranking_words_unfinished_runs_and_all_parts(page):
    for words in ("reference", "no difference shown", "run-2", "Ranking", "Cost", "Not compared", "Breakdowns"):
        assert words in page
    for part in ("ranking", "cost", "unfinished", "figures", "queries", "breakdowns"):
        assert f'id="{part}"' in page
    assert "GPU measured, CPU estimated, RAM estimated" in page


def test_every_figure_is_in_the_page_with_its_table_and_beside_it_as_files(page, folder):
    names = sorted(file.stem for file in folder.glob("*.png"))
    assert "quality_over_cost" in names
    assert names == sorted(file.stem for file in folder.glob("*.svg"))
    figures = re.findall(r"<figure>.*?</figure>", page, flags=re.DOTALL)
    assert len(figures) == len(names)
    assert all("<svg" in figure and "<table" in figure for figure in figures)


def test_the_page_says_why_it_shows_no_pages(page, comparison, tmp_path):
    assert "Pages are not shown:" in page
    assert "it has no composition.yaml" in page
    write(comparison, tmp_path, shows_pages=False)
    assert "Pages are not shown: they were not asked for (--no-pages)." in (tmp_path / "index.html").read_text()


def test_queries_that_differ_most_come_first_in_both_directions(comparison):
    found = disagreement(comparison)
    assert [result.query_id for result in found.first_better] == ["q5", "q0"]
    assert [result.query_id for result in found.second_better] == ["q2"]
    [worse] = found.second_better
    assert (worse.scores, worse.text, worse.relevant) == ((0.5, 1.0), TEXTS[2], ["page-2"])
    assert worse.top[0] == ["page-2", "page-3", "page-4"]


def test_equal_runs_differ_on_no_query_and_leave_no_figure_of_an_earlier_comparison(tmp_path):
    comparison = comparison_of(tmp_path, [Given({"x.b": n}, FINAL) for n in range(2)])
    old, of_others = tmp_path / "learning_curves.png", tmp_path / "mine.png"
    old.touch()
    of_others.touch()
    found = disagreement(comparison)
    assert (found.first_better, found.second_better) == ([], [])
    write(comparison, tmp_path)
    assert (tmp_path / "index.html").read_text().count("On no query.") == 2
    assert (old.exists(), of_others.exists()) == (False, True)


def test_failures_are_those_that_no_setting_answers(comparison):
    assert [(failure.query_id, failure.best_score) for failure in shared_failures(comparison)] == [
        ("q1", 0.0),
        ("q3", 0.0),
    ]


def test_one_run_is_compared_with_what_it_was_before(tmp_path):
    comparison = comparison_of(tmp_path, given_pair()[:1])
    assert [side.stage for side in sides_of(comparison)] == ["final", "baseline"]
    assert [result.query_id for result in disagreement(comparison).first_better] == ["q0", "q4", "q5", "q2"]


def test_breakdowns_equal_means_over_the_queries_of_each_group(comparison):
    [found] = breakdowns(comparison, Columns.of(comparison), ["topic"], sides_of(comparison))
    means = {group.value: [interval.mean for interval in group.intervals] for group in found.groups}
    assert means["tax"] == pytest.approx([2 / 3, 0.5])
    assert means["law"] == pytest.approx([0.25, 0.5])
    assert {group.value: group.num_queries for group in found.groups} == {"tax": 3, "law": 2, HOSTILE: 1}
    differences = {group.value: group.difference.delta for group in found.groups}
    assert differences["law"] == pytest.approx(-0.25)


def test_differences_of_groups_are_corrected_for_those_of_all_columns(tmp_path):
    """One side wins all 8 queries of one topic, and ties the other: p is 2 / 2^8, times 2 groups, or 4 of 2 columns."""
    topics, kinds = ["a"] * 8 + ["b"] * 8, ["text", "table"] * 8
    better = np.where(np.array(topics) == "a", 0.9, 0.5)
    attributes = {"topic": topics, "kind": kinds}
    given = [Given({"x": n}, scores, attributes=attributes) for n, scores in enumerate((better, np.full(16, 0.5)))]
    comparison = comparison_of(tmp_path, given)
    columns, sides = Columns.of(comparison), sides_of(comparison)
    [alone] = breakdowns(comparison, columns, ["topic"], sides)
    both = breakdowns(comparison, columns, ["topic", "kind"], sides)
    of_topics, of_kinds = ([group.difference for group in one.groups] for one in both)
    assert [one.p for one in (*of_topics, *of_kinds)] == [2 / 2**8, 1, 2 / 2**4, 2 / 2**4]
    assert alone.groups[0].difference.p_holm == 4 / 2**8
    assert [one.p_holm for one in (*of_topics, *of_kinds)] == [8 / 2**8, 1, 6 / 2**4, 6 / 2**4]
    assert "corrected for all 4 groups of all columns" in str(breakdowns_section("ndcg@10", both, {}))


def test_a_breakdown_of_all_settings_has_a_column_for_each_group(comparison):
    table = breakdown_by_setting(comparison, LENGTH)
    assert len(table.rows) == 2
    assert [interval.mean for interval in table.rows[0][1:]] == pytest.approx([1.0, 0.25, 0.0, 1.0])
    assert table.columns[1:] == ["1 (1)", "2 to 3 (2)", "4 (1)", "5 to 6 (2)"]


def test_the_directions_of_a_reranker_are_a_breakdown_and_its_scores_are_shown_as_measured(tmp_path):
    ids = {"text_to_image": ["a", "b", "c"], "image_to_text": ["x"]}
    for n, scores in enumerate(([1.0, 0.5, 0.0], [0.5, 0.5, 0.0])):
        parts = {"text_to_image": scores, "image_to_text": [0.25]}
        write_run(tmp_path / str(n), parts, config={"x.b": n}, part="direction", ids=ids)
    comparison = compare(find_runs([tmp_path]))
    assert comparison.rows[0].estimate.mean == pytest.approx((0.5 + 0.25) / 2)  # a mean over directions
    table = breakdown_by_setting(comparison, "direction")
    assert table.columns[1:] == ["image_to_text (1)", "text_to_image (3)"]
    assert [interval.mean for interval in table.rows[0][1:]] == pytest.approx([0.25, 0.5])
    columns = Columns({"all": ["alike"] * 4})
    [together] = breakdowns(comparison, columns, ["all"], sides_of(comparison))
    assert together.groups[0].intervals[0].mean == comparison.rows[0].estimate.mean
    assert together.groups[0].difference.delta == pytest.approx(0.5 / 3 / 2)
    [better] = disagreement(comparison).first_better
    assert (better.query_id, better.scores, better.text) == ("text_to_image/a", (1.0, 0.5), None)
    write(comparison, tmp_path)
    assert "what is compared has no embedding sizes" in (tmp_path / "index.html").read_text()


def test_an_unknown_column_is_refused_with_those_that_there_are(comparison):
    with pytest.raises(ConfigError, match=r"--by topics: .* They have: topic, constant, .*Did you mean 'topic'\?"):
        breakdown_by_setting(comparison, "topics")


def test_columns_that_say_nothing_have_no_breakdown(comparison):
    columns = Columns.of(comparison)
    assert columns.reason_against("constant") == "all queries have the same value"
    assert columns.reason_against("topic") is None


def test_numbers_are_grouped_in_quarters_and_rare_words_together():
    assert binned([1, 1, 2, 3, 5, 8, 9, 30]) == ["1", "1", "2 to 3", "2 to 3", "5 to 8", "5 to 8", "9 to 30", "9 to 30"]
    assert set(binned([4, None, 4])) == {"4", UNKNOWN}
    bins = binned([-0.25, 0.5, 1.25, 3.0, 10.0, 1 / 3, 0.1, None])
    assert sorted_names(list(dict.fromkeys(bins))) == ["-0.25", "0.1 to 0.3333", "0.5 to 1.25", "3 to 10", UNKNOWN]
    words = most_common([f"w{n}" for n in range(20) for _ in range(20 - n)] + [None])
    assert len(set(words)) == MOST_GROUPS
    assert words.count("(others: 10)") == 9 + 8 + 7 + 6 + 5 + 4 + 3 + 2 + 1 + 1


def run_of_made_up_pages(folder: Path) -> Run:
    register()
    overrides = ["+experiment=vdr_tiny", "data.num_train_pages=10", "data.num_eval_pages=10"]
    with initialize_config_dir(str(CONF), version_base="1.3"):
        experiment = to_experiment(compose("config", overrides=[*overrides, f"output_root={folder}"]))
    freeze(experiment, folder, overrides)
    return Run(folder, "run", "finished", {}, {}, None, None)


def test_pages_are_read_from_the_data_of_the_run_by_their_ids(tmp_path):
    run = run_of_made_up_pages(tmp_path)
    split = evaluation_data(run)
    texts = {"eval-0003": split.queries[3], "eval-0001": None}
    pages = Thumbnails.of(run, texts)
    assert pages.problem is None
    assert pages["eval-0003"].startswith("data:image/jpeg;base64,")
    assert pages["eval-0003"] != pages["eval-0004"]
    assert pages["no-such-page"] is None
    assert Thumbnails.of(run, {"eval-0003": "another question"}).problem.startswith("the data holds other queries")


def test_the_report_is_written_and_pages_read_without_torch():
    code = """
import sys
import datasets, mmexp.compare.report
from mmexp.compare.report.thumbnails import thumbnail
from mmexp.data.made_up_pages import MadeUpPages
train, _ = MadeUpPages(num_train_pages=5, num_eval_pages=5).read()
assert thumbnail(train.documents[0]).startswith("data:image/jpeg")
assert not {"torch", "transformers"} & set(sys.modules)
"""
    subprocess.run([sys.executable, "-c", code], check=True)
