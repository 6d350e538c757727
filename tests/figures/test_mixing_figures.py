"""Figures of the mixture law, and the colours of a user's own categories."""

import itertools

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

from helpers.analysis.mixing.recommendation import list_mixtures
from helpers.figures.endpoints import plot_parts
from helpers.figures.lattice import plot_lattice, plot_shapley
from helpers.figures.mixing import plot_forecast, plot_predictions, plot_size_gains, plot_triangle
from helpers.figures.style import BLUE, MORE_COLORS, WIDTH, color_categories, name_category, name_cell


@pytest.fixture
def ax():
    yield plt.figure(figsize=(6.4, 5)).add_subplot()
    plt.close("all")


def test_the_triangle_marks_the_mixture_of_least_loss_and_its_ties(ax):
    shares = list_mixtures(3)
    table = pd.DataFrame(shares, columns=["share_qa", "share_heart", "share_gen"])
    table["loss"] = (shares[:, 0] - 0.5) ** 2 + (shares[:, 1] - 0.5) ** 2
    panel = plot_triangle(table.assign(indistinguishable=table["loss"] < 0.01), ax)
    panel.figure.canvas.draw()
    ties, star = panel.collections[-2:]
    assert len(ties.get_offsets()) == (table["loss"] < 0.01).sum()
    assert len(star.get_offsets()) == 1
    assert not star.get_clip_on()  # whole at the edge too
    assert panel.get_tlabel() == "Question answering rows (share)"
    assert panel.get_llabel() == "heart rows (share)"


def test_left_out_cells_are_marked_beside_those_of_the_fit(ax):
    table = pd.DataFrame(
        {"category": ["qa", "qa", "gen"], "kind": ["fitted", "mixture", "rows"], "observed": [1.0, 2.0, 3.0]}
    )
    plot_predictions(table.assign(predicted=table["observed"] + 0.1), ax)
    labels = [text.get_text() for text in ax.get_legend().get_texts()]
    assert labels == [
        "Question answering",
        "Generation",
        "fitted",
        "mixture left out",
        "number of rows left out",
    ]
    [line] = [
        line for line in ax.lines if np.allclose(line.get_xdata(), line.get_ydata()) and len(line.get_xdata())
    ]
    assert list(line.get_xdata()) == [1.0, pytest.approx(3.1)]


def test_a_forecast_stands_beside_its_measurement_and_alone_where_there_is_none(ax):
    table = pd.DataFrame({"mixture": ["recommended", "equal parts"], "cell": ["qa:9+gen:1", "qa+ie+gen"]})
    table = table.assign(predicted=[1.5, 1.6], predicted_low=1.4, predicted_high=1.7, measured=[np.nan, 1.62])
    plot_forecast(table.assign(low=[np.nan, 1.5], high=[np.nan, 1.7], seed_1=[np.nan, 1.62]), ax)
    assert [text.get_text() for text in ax.get_yticklabels()] == [
        "recommended\nQA 9 + GEN 1",
        "equal parts\nQA + IE + GEN",
    ]
    drawn = {line.get_label(): line.get_xdata() for line in ax.lines}
    assert np.isfinite(drawn["each training seed"]).sum() == 1
    labels = {bar.get_label(): bar.lines[0].get_xdata() for bar in ax.containers}
    assert list(labels["predicted"]) == [1.5, 1.6]
    assert np.isnan(labels["measured"][0])


def test_training_seeds_with_equal_losses_show_one_dot_each(ax):
    table = pd.DataFrame({"mixture": ["recommended"], "cell": ["qa"], "predicted": 1.5, "measured": 1.6})
    table = table.assign(predicted_low=1.4, predicted_high=1.7, low=1.5, high=1.7)
    plot_forecast(table.assign(seed_1=1.6, seed_2=1.6), ax)
    dots = [tuple(line.get_ydata()) for line in ax.lines if line.get_marker() == "."]
    assert len(set(dots)) == 2


def test_own_categories_have_colours_and_names_and_the_studys_keep_theirs(ax):
    colors = color_categories(["oncology", "qa", "cardiology"])
    assert list(colors) == ["qa", "cardiology", "oncology"]
    assert colors == {"qa": BLUE, "cardiology": MORE_COLORS[0], "oncology": MORE_COLORS[1]}
    assert len(set(color_categories("abcdef").values())) == 6
    assert (name_category("qa"), name_category("oncology")) == ("Question answering", "oncology")
    assert name_cell("qa:200+oncology:100") == "QA 200 + oncology 100"
    assert name_cell("qa~shuffled") == "QA, shuffled"
    table = pd.DataFrame(
        {"trained_on": ["qa", "oncology", "qa+oncology"] * 2, "tested_on": ["qa", "oncology"] * 3}
    )
    table = table.assign(estimate=0.1, low=0.0, high=0.2).sort_values(["tested_on", "trained_on"])
    plot_lattice(table, ax)
    pairs = pd.DataFrame(
        {"trained_on": ["qa", "qa", "oncology", "oncology"], "tested_on": ["qa", "oncology"] * 2}
    )
    plot_shapley(pairs.assign(estimate=0.1, low=0.0, high=0.2), plt.figure().add_subplot())


@pytest.mark.parametrize("trained_on", [["qa", "ie", "gen", "other"], ["gen", "heart", "lung"]])
def test_gains_of_categories_without_tasks_have_their_own_colour_beside_those_with_tasks(trained_on, ax):
    rows = pd.DataFrame(
        [{"trained_on": name, "tested_on": tested} for name in trained_on for tested in ("qa", "ie", "gen")]
    ).assign(part="text", estimate=0.1, low=0.0, high=0.2)
    figure = plot_parts(rows, ax).figure
    marks = {handle.get_label(): handle.get_color() for handle in figure.legends[0].legend_handles}
    colors = color_categories([*trained_on, "qa", "ie", "gen"])
    assert marks == {f"tuned on {name_cell(name)}": colors[name] for name in trained_on}
    heights = [
        line.get_ydata()[0] for panel in figure.axes for line in panel.lines if len(line.get_ydata()) == 1
    ]
    by_category = np.sort(heights).reshape(3, -1)
    assert (by_category.max(axis=1)[:-1] + 0.2 < by_category.min(axis=1)[1:]).all()


def test_gains_by_size_have_a_panel_for_each_category_whose_own_rows_are_thick():
    figure = plt.figure(figsize=(7, 4))
    rows = [
        {
            "trained_on": cell,
            "tested_on": category,
            "n_rows": size,
            "estimate": 0.1,
            "n_seeds": 1 + (size < 300),
        }
        | dict.fromkeys(("low", "high"), np.nan if size == 300 else 0.1)
        for cell in ("qa", "gen")
        for category in ("gen", "qa")
        for size in (75, 150, 300)
    ]
    plot_size_gains(pd.DataFrame(rows), figure.add_subplot())
    panels = figure.axes[1:]
    assert [panel.get_title() for panel in panels] == ["on QA rows", "on GEN rows"]
    for panel, own in zip(panels, ("qa", "gen"), strict=True):
        widths = {bar.get_label(): bar.lines[0].get_linewidth() for bar in panel.containers}
        assert max(widths, key=widths.get) == own
        assert [text.get_text() for text in panel.get_xticklabels()] == ["75", "150", "300"]
        hollow = [
            line for line in panel.lines if line.get_markerfacecolor() == "white" and len(line.get_xdata())
        ]
        assert len(hollow) == 2
    plt.close("all")


def test_the_sizes_of_a_curve_leave_room_for_each_other():
    figure = plt.figure(figsize=(WIDTH, 6), layout="constrained")
    grid = itertools.product(("qa", "ie", "gen"), ("qa", "ie", "gen"), (75, 150, 300, 600, 1200))
    table = pd.DataFrame(grid, columns=["trained_on", "tested_on", "n_rows"])
    table = table.assign(estimate=0.1, low=0.0, high=0.2, n_seeds=3)
    plot_size_gains(table, figure.add_subplot())
    figure.canvas.draw()
    for panel in figure.axes[1:]:
        boxes = [text.get_window_extent() for text in panel.get_xticklabels()]
        assert len(boxes) == 5
        assert not any(one.overlaps(other) for one, other in itertools.pairwise(boxes))
    plt.close("all")
