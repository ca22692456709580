"""The figures of a comparison: what they say, and that their tables say the same."""

from __future__ import annotations

from itertools import product

import matplotlib
import numpy as np
import pytest
from matplotlib.container import ErrorbarContainer

from mmexp.compare.report import charts, draw
from mmexp.compare.report.charts import SETTINGS, Chart, LeftOut
from mmexp.compare.report.cost_chart import pareto_front, quality_over_cost
from mmexp.compare.report.effects import effects, mean_over, varied_together
from mmexp.compare.report.effects_chart import main_effects
from mmexp.compare.report.learning_chart import learning_curves
from mmexp.compare.report.part_chart import quality_over_parts
from mmexp.compare.report.tables import Interval
from tests.compare.given import Given, comparison_of


def grid() -> list[Given]:
    """Two axes crossed, two values each; the metric is 0.2 + 0.1 a + 0.004 b, plus 0.05 where both are high."""
    given = []
    for n, (a, b) in enumerate(product((1, 2), (10, 20))):
        mean = 0.2 + 0.1 * a + 0.004 * b + (0.05 if (a, b) == (2, 20) else 0)
        final, evaluations = [mean - 0.1, mean, mean + 0.1, mean], [mean / 4, mean / 2, mean]
        given.append(Given({"x.a": a, "y.b": b}, final, 1.0 + n, 1000 * a, evaluations=evaluations))
    return given


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    """Every figure of a comparison that has something for each of them."""
    found = draw(comparison_of(tmp_path_factory.mktemp("grid"), grid()))
    assert all(isinstance(chart, Chart) and chart.name in charts.NAMES for chart in found)
    return {chart.name: chart for chart in found}


def numbers_of(table) -> np.ndarray:
    """All numbers of a table, with the ends of its intervals."""
    cells = [cell for row in table.rows for cell in row]
    ends = [value for cell in cells if isinstance(cell, Interval) for value in (cell.mean, cell.low, cell.high)]
    return np.array(ends + [float(cell) for cell in cells if isinstance(cell, int | float)])


def heights_of(figure) -> list[float]:
    """Where points and ends of bars are drawn; what a legend draws is in no axes."""
    found: list[float] = []
    for axes in figure.axes:
        found += [y for line in axes.get_lines() for y in line.get_ydata()]
        for bars in (one for one in axes.containers if isinstance(one, ErrorbarContainer)):
            found += [y for bar in bars[2] for segment in bar.get_segments() for y in segment[:, 1]]
    return found


NAMES = [
    "quality_over_cost",
    "quality_over_dim",
    "quality_over_size",
    "main_effects",
    "interactions",
    "learning_curves",
]


@pytest.mark.parametrize("name", NAMES)
def test_every_height_that_a_figure_draws_is_a_number_of_its_table(drawn, name):
    heights, numbers = heights_of(drawn[name].figure), numbers_of(drawn[name].table)
    assert len(heights) > 3
    for height in heights:
        assert np.isclose(numbers, height, atol=1e-12).any(), height


@pytest.mark.parametrize("name", NAMES)
def test_every_axis_says_what_it_shows(drawn, name):
    panels = drawn[name].figure.axes
    assert all(axes.get_xlabel() for axes in panels)
    assert panels[0].get_ylabel() == "NDCG@10"


def test_lines_differ_in_marker_and_dashes_and_not_in_color_alone():
    styles = [charts.style(n) for n in range(charts.MOST_STYLES)]
    for looks in zip(*styles, strict=True):
        assert len(set(map(str, looks))) == charts.MOST_STYLES


def test_the_front_holds_what_nothing_cheaper_or_as_cheap_beats():
    #         a  b  c: as good as b and dearer  d: best  e: dearer and worse  f: as cheap as a, worse  g: equal to b
    costs = [1.0, 2.0, 3.0, 4.0, 5.0, 1.0, 2.0]
    quality = [0.5, 0.7, 0.7, 0.9, 0.8, 0.4, 0.7]
    assert pareto_front(costs, quality) == [0, 1, 6, 3]
    assert pareto_front([3.0], [0.1]) == [0]


def test_settings_that_do_not_say_what_they_took_are_counted_and_not_drawn(tmp_path):
    given = grid()
    given[1].kwh = None
    with matplotlib.rc_context(SETTINGS):
        chart = quality_over_cost(comparison_of(tmp_path, given))
    assert chart.table.columns[1] == "time (hours)"  # which all of them say
    assert len(chart.table.rows) == 4


def test_little_energy_is_shown_in_wh_on_the_axis_and_in_the_table(tmp_path):
    given = grid()
    for n, of in enumerate(given):
        of.kwh = 0.0002 * (n + 1)
    comparison = comparison_of(tmp_path, given)
    chart = quality_over_cost(comparison)
    assert chart.table.columns[1] == "energy (Wh)"
    assert chart.figure.axes[0].get_xlabel().startswith("energy (Wh)")
    assert sorted(row[1] for row in chart.table.rows) == pytest.approx([0.2, 0.4, 0.6, 0.8])
    assert charts.energy_unit([0.001, None, 0.02]) == ("kWh", 1.0)
    assert charts.energy_unit([0.0, 0.009]) == ("Wh", 1000.0)


def test_a_panel_by_itself_is_as_wide_as_two():
    (alone, one), (both, two) = (charts.panels(count, (3.6, 3.1), 2) for count in (1, 2))
    assert (len(one), len(two)) == (1, 2)
    assert alone.get_size_inches() == pytest.approx(both.get_size_inches())


def test_main_effects_are_means_over_the_other_axes(tmp_path):
    comparison = comparison_of(tmp_path, grid())
    found = effects(comparison, [("x.a",), ("y.b",)])
    assert found["x.a",].values == [(1,), (2,)]
    assert [interval.mean for interval in found["x.a",].intervals] == pytest.approx([0.36, 0.485])
    assert [interval.mean for interval in found["y.b",].intervals] == pytest.approx([0.39, 0.455])
    assert found["x.a",].num_settings == 2


def test_interactions_are_means_at_each_pair_of_values(tmp_path):
    [pair] = effects(comparison_of(tmp_path, grid()), [("x.a", "y.b")]).values()
    assert pair.values == [(1, 10), (1, 20), (2, 10), (2, 20)]
    assert [interval.mean for interval in pair.intervals] == pytest.approx([0.34, 0.38, 0.44, 0.53])


def test_combinations_that_were_not_run_with_every_value_do_not_count(tmp_path):
    without_one = [given for given in grid() if given.parameters != {"x.a": 2, "y.b": 20}]
    found = effects(comparison_of(tmp_path, without_one), [("x.a",), ("x.a", "y.b")])
    assert [interval.mean for interval in found["x.a",].intervals] == pytest.approx([0.34, 0.44])  # at b = 10 alone
    assert found["x.a",].num_settings == 1
    assert found["x.a", "y.b"] is None


def test_effects_keep_the_seeds_where_a_member_failed(tmp_path):
    """As many as all settings have, and of those with more the ones that the others have too."""
    given = [
        Given({"x.a": a, "seed": seed}, [0.1 * a + 0.01 * seed, 0.3])
        for a, seeds in ((1, (1, 2, 3)), (2, (1, 3)))
        for seed in seeds
    ]
    comparison = comparison_of(tmp_path, given)
    mean = mean_over(comparison, [row.setting for row in comparison.rows])
    assert mean == pytest.approx(np.array([[0.16, 0.3], [0.18, 0.3]]))


def test_axes_that_say_the_same_are_one_and_it_is_the_one_that_was_typed(tmp_path):
    given = grid()
    for of in given:
        of.parameters = {"a.follows": of.parameters["y.b"] * 2, **of.parameters}
        of.overrides = ["x.a=1", "++y.b=10"]
    comparison = comparison_of(tmp_path, given)
    assert set(comparison.axes) == {"a.follows", "x.a", "y.b"}
    assert varied_together(comparison) == {"x.a": [], "y.b": ["a.follows"]}
    assert "cannot be told apart: b with follows." in main_effects(comparison).reading


def test_a_figure_with_nothing_to_show_says_why(tmp_path):
    [only] = grid()[:1]
    only.parameters, only.evaluations = {}, ()
    found = draw(comparison_of(tmp_path, [only]))
    left_out = {chart.title: chart.reason for chart in found if isinstance(chart, LeftOut)}
    assert left_out == {
        "NDCG@10 against cost": "there is one setting, so no choice to be made.",
        "Model size against NDCG@10": "all models are of one size.",
        "Main effects of what was swept": "nothing was swept.",
        "Pairwise interactions of what was swept": (
            "of no two swept axes was every value of one run with every value of the other."
        ),
        "Learning curves of NDCG@10": "no run was evaluated in training.",
    }
    assert [chart.name for chart in found if isinstance(chart, Chart)] == ["quality_over_dim"]


def test_of_many_settings_the_best_and_the_reference_stand_out(tmp_path):
    given = [Given({"x.a": n}, [0.9 - 0.01 * n] * 3, evaluations=[0.1, 0.2]) for n in range(40)]
    comparison = comparison_of(tmp_path, given, reference="x.a=35")
    rows = charts.best_and_reference(comparison)
    assert [row.setting.parameters["x.a"] for row in rows] == [*range(12), 35]
    styled = [n for n, looks in charts.looks_of(rows, comparison).items() if looks is not None]
    assert styled == [0, 1, 2, 12]


def test_every_setting_is_drawn_over_embedding_size_and_is_in_the_table(tmp_path):
    count = 2 * charts.MOST_SETTINGS
    given = [Given({"x.a": n}, [0.9 - 0.01 * n, 0.8, 0.7]) for n in range(count)]
    chart = quality_over_parts(comparison_of(tmp_path, given, reference=f"x.a={count - 1}"))
    assert [row[1] for row in chart.table.rows] == ["baseline", "final"] * count
    assert all(isinstance(cell, Interval) for row in chart.table.rows for cell in row[2:])
    in_color = [one for one in chart.figure.axes[0].containers if isinstance(one, ErrorbarContainer)]
    grey = [line for line in chart.figure.axes[0].get_lines() if line.get_color() == charts.GREY]
    assert (len(in_color), len(grey)) == (2 * 4, 2 * (count - 4))  # the best three and the reference; all others
    heights, numbers = heights_of(chart.figure), numbers_of(chart.table)
    assert all(np.isclose(numbers, height, atol=1e-12).any() for height in heights)


def test_curves_of_settings_that_no_legend_names_are_drawn(tmp_path):
    """Published models that were only evaluated rank first, and finetunes have the curves."""
    runs = [Given({"x.a": n}, [1.0, 0.9]) for n in range(6)]
    runs += [Given({"x.a": n}, [0.5, 0.4], evaluations=[0.1, 0.2, 0.3]) for n in (6, 7)]
    chart = learning_curves(comparison_of(tmp_path, runs))
    assert {row[0] for row in chart.table.rows} == {"7: x.a=6", "8: x.a=7"}
