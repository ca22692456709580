"""What a run shows at its end: no number without what it may be off by."""

from __future__ import annotations

import numpy as np
import pytest

from mmexp.evaluation.evaluate import DimReport
from mmexp.recording.figures import plot
from mmexp.recording.terminal import print_results
from mmexp.statistics.means import estimates


def test_the_figure_of_a_run_draws_intervals(tmp_path, monkeypatch):
    drawn = []
    monkeypatch.setattr("matplotlib.figure.Figure.savefig", lambda figure, *_, **__: drawn.append(figure))
    plot({"baseline": report_of(0.0, 0.0, 0.5), "final": report_of(1.0, 0.5, 0.5)}, tmp_path)
    [estimate] = estimates([np.array([[1.0, 0.5, 0.5]])])
    final = drawn[0].axes[0].containers[1]
    [segment] = final[2][0].get_segments()
    assert segment[:, 1] == pytest.approx([estimate.low, estimate.high])


def report_of(*scores: float) -> DimReport:
    values = np.array(scores)
    metrics = {"ndcg@10": float(values.mean()), "bytes_per_document": 64.0}
    return DimReport({16: metrics}, {16: {"ndcg@10": values}}, {})


def test_parts_are_tested_as_one_family(capsys):
    """8 of 8 queries are better: p is 2 in 256, twice that of two sizes of which the other shows nothing."""
    before, after = np.zeros(8), np.linspace(0.5, 1, 8)
    baseline, final = (
        DimReport(
            {32: {"ndcg@10": full.mean()}, 16: {"ndcg@10": 0.5}},
            {32: {"ndcg@10": full}, 16: {"ndcg@10": np.full(8, 0.5)}},
            {},
        )
        for full in (before, after)
    )
    print_results(baseline, final, "ndcg@10")
    shown = capsys.readouterr().out
    assert "p=0.016" in shown
    assert "corrected for 2 rows (Holm)" in " ".join(shown.split())


def test_results_are_shown_with_intervals_and_what_is_noise(capsys):
    print_results(report_of(*[0.0] * 10), report_of(*[1.0] * 8, 0.0, 0.0), "ndcg@10")
    shown = capsys.readouterr().out
    assert "+0.8000 p=0.008" in shown  # of 8 queries all signs are alike: 2 in 256
    assert "better" in shown
    print_results(report_of(1.0, 0.5, 0.5, 0.0), report_of(0.5, 1.0, 0.5, 0.0), "ndcg@10")
    shown = capsys.readouterr().out
    assert "no difference shown" in shown
    assert "+0.0000 p=1.000" in shown
    assert "0.5000" in shown
    assert max(map(len, shown.splitlines())) <= 80
    print_results(None, report_of(1.0, 0.5), "ndcg@10")
    assert "[" in capsys.readouterr().out
