"""The dashboard, opened: what Trackio makes of runs and of their comparison."""

from __future__ import annotations

import uuid

import pytest

from mmexp.dashboard.refresh import refresh
from mmexp.dashboard.server import serve
from mmexp.trackio_view import rebuild
from tests.browser.drawn import draws, fits, is_rendered
from tests.dashboard.run_folders import write_run, write_sweep

pytestmark = pytest.mark.browser

HOSTILE = "<img src=x onerror=alert(1)>, 'a' \"b\" &c"
SWEPT = [
    {"trainer.per_device_train_batch_size": batch_size, "model.max_pixels": pixels, "data.num_negatives": negatives}
    for batch_size in (8, 16)
    for pixels in (12288, 24576)
    for negatives in (1, 2, 4)
]


@pytest.fixture(scope="module")
def links(tmp_path_factory):
    """Of a project with a sweep of 12, runs on other evaluation data, and one with a name that means harm."""
    project, folder = f"test-{uuid.uuid4().hex[:8]}", tmp_path_factory.mktemp("runs")
    runs = [
        *write_sweep(folder / "vdr_tiny" / "grid", project, SWEPT),
        *write_sweep(folder / "vdr_tiny" / "other", project, [{"seed": 1}, {"seed": 2}], fingerprint="other"),
        write_run(folder / "vdr_tiny" / HOSTILE, project, 0.5),
    ]
    for run in runs:
        rebuild(run)
    refresh(project)
    with serve(project, "127.0.0.1", None) as links:
        yield links


def test_the_comparison_is_first_and_its_tables_and_figures_are_seen(look, links):
    with look(links["comparison"]) as page:
        page.locator(".runs-table").first.wait_for()
        assert page.locator(".run-name").first.inner_text() == "00-comparison"
        assert page.locator(".checkbox-group input:checked").count() == 1
        assert is_rendered(page, ".gallery-item img") >= 4
        rankings = page.locator(".table-section", has_text="ranking")
        assert [rankings.nth(n).locator("tbody tr").count() for n in range(rankings.count())] == [13, 1]
        head = [cell.upper() for cell in rankings.first.locator("th").all_inner_texts()]
        assert {*head[:5]} == {"#", "BS", "PX", "NEG", "NDCG@10"}
        assert page.locator(".table-section", has_text="kg CO2").count() == 2
        assert fits(page, ".runs-table")


def test_metrics_come_in_our_order_as_bars_and_lines(look, links):
    with look(links["runs"]) as page:
        page.locator(".plot canvas").first.wait_for()
        groups = [words.split()[1] for words in page.locator(".accordion-header").all_inner_texts()]
        assert groups == ["final", "matryoshka", "eval", "train", "x"]
        titles = page.locator(".plot-title").all_inner_texts()
        assert titles[:2] == ["ndcg@10", "delta"]
        assert page.locator("input[type=range]").first.input_value() == "0"
        for group in ("final", "matryoshka", "eval", "train"):
            draws(page, group)


def test_quality_is_drawn_over_energy(look, links):
    with look(f"{links['runs']}&x_axis=x/energy_kwh") as page:
        draws(page, "eval")
        assert page.evaluate("window.trackio.getViewState().x_axis") == "x/energy_kwh"


def test_the_run_comparer_finds_what_differs_among_the_runs(look, links):
    with look(links["runs"]) as page:
        page.get_by_text("Show run comparer").click()
        page.get_by_text("Diff only").click()
        rows = page.locator("table tr")
        rows.first.wait_for()
        keys = {words.split("\t")[0] for words in rows.all_inner_texts()}
        assert {"batch_size", "max_pixels", "num_negatives", "run_dir"} <= keys
        assert not {"dims", "learning_rate", "loss", "cfg.data.num_eval_pages"} & keys


def test_names_that_mean_harm_are_shown_as_they_are(look, links):
    with look(links["runs"]) as page:
        names = page.locator(".run-name")
        names.first.wait_for()
        assert any("onerror=alert(1)" in name for name in names.all_inner_texts())
