"""Figures of mixtures show the numbers of their table."""

import pandas as pd
import pytest
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

from helpers.figures.mixtures import plot_lattice, plot_panels, plot_shapley, plot_sizes
from helpers.figures.outcomes import find_limit, plot_gain_map
from helpers.study.cells import LATTICE


@pytest.fixture
def figure():
    return Figure(layout="constrained")


def table_of(**columns):
    return pd.DataFrame(columns).assign(
        low=lambda rows: rows["estimate"] - 0.1, high=lambda rows: rows["estimate"] + 0.1
    )


def test_the_lattice_shows_every_gain_in_its_box_and_a_line_for_every_added_category(figure):
    gains = [0.01 * number for number in range(1, 8)]
    plot_lattice(table_of(trained_on=LATTICE[1:], tested_on="qa", estimate=gains), figure.add_subplot())
    panel = figure.axes[1]
    texts = [text.get_text() for text in panel.texts]
    assert texts[0] == "Base"
    assert texts[-1] == "QA + IE + GEN\n+0.070"
    assert len(texts) == 8
    assert len(panel.lines) == 12


def test_colours_are_white_at_zero_on_both_sides_alike():
    limit = find_limit(pd.Series([-0.2, 0.1]).to_numpy())
    assert Normalize(-limit, limit)(0.0) == 0.5
    assert find_limit(pd.Series([0.0]).to_numpy()) > 0


def test_there_is_a_panel_for_each_task_with_every_cell_at_its_score(figure):
    table = table_of(
        cell=["base", "qa"] * 4,
        task=["t1"] * 2 + ["t2"] * 2 + ["t3"] * 2 + ["t4"] * 2,
        metric="accuracy",
        estimate=[0.1 * n for n in range(1, 9)],
    )
    plot_panels(table, figure.add_subplot())
    panels = figure.axes[1:]
    assert [panel.get_title().splitlines()[0] for panel in panels] == ["T1", "T2", "T3", "T4"]
    points = [line.get_xdata()[0] for panel in panels for line in panel.lines if line.get_marker() == "o"]
    assert points == pytest.approx(table["estimate"].tolist())
    assert [label.get_text() for label in panels[0].get_yticklabels()] == ["Base", "QA"]


def test_shapley_bars_are_as_long_as_the_values(figure):
    table = table_of(
        trained_on=["qa", "ie", "qa", "ie"],
        tested_on=["qa", "qa", "gen", "gen"],
        estimate=[0.3, -0.1, 0.2, 0.0],
    )
    ax = plot_shapley(table, figure.add_subplot())
    assert [patch.get_width() for patch in ax.patches] == pytest.approx([0.3, 0.2, -0.1, 0.0])


def test_the_size_curve_has_a_panel_for_each_quantity_and_a_tick_for_each_size(figure):
    table = table_of(
        quantity=["gain"] * 2 + ["synergy"] * 2,
        size=[12, 24] * 2,
        tested_on="qa",
        estimate=[0.1, 0.2, 0.0, 0.1],
    )
    plot_sizes(table, figure.add_subplot())
    assert [panel.get_ylabel() for panel in figure.axes[1:]] == [
        "gain\n(score, 0 to 1)",
        "synergy\n(score, 0 to 1)",
    ]
    assert [label.get_text() for label in figure.axes[1].get_xticklabels()] == ["12", "24"]


def test_the_gain_map_has_a_row_for_each_task_in_the_order_of_the_table(figure):
    table = table_of(
        cell=["qa", "ie"] * 2, task=["exam_choice"] * 2 + ["broad_choice"] * 2, estimate=[0.1, 0.2, 0.3, 0.4]
    )
    ax = plot_gain_map(table, figure.add_subplot())
    assert [label.get_text() for label in ax.get_yticklabels()] == ["Exam choice", "Broad choice"]
    assert ax.texts[0].get_text() == "+0.10\n+0.00 to\n+0.20"
