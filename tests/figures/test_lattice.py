"""Figures of the lattice and its cells show the numbers of their table."""

from itertools import combinations

import pandas as pd
import pytest
from made import make_tables
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.text import Text

from helpers.book.gallery import GALLERY, draw
from helpers.figures.lattice import plot_lattice, plot_shapley, plot_sizes, plot_task_scores
from helpers.figures.outcomes import PALE_SHARE, find_limit, plot_task_gains, plot_transfer
from helpers.figures.style import SMALL, WIDTH, use_theme
from helpers.records import CATEGORIES
from helpers.study.grid import LATTICE


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


def test_the_boxes_of_sixteen_subsets_have_legible_type_and_do_not_overlap():
    use_theme()
    figure = Figure(figsize=(WIDTH, 8.4), layout="constrained")
    names = ["+".join(some) for size in (1, 2, 3, 4) for some in combinations(CATEGORIES, size)]
    table = table_of(trained_on=names, tested_on="qa", estimate=0.1)
    plot_lattice(pd.concat([table, table.assign(tested_on="ie")]), figure.add_subplot())
    figure.draw_without_rendering()
    for panel in figure.axes[1:3]:
        assert {text.get_fontsize() for text in panel.texts} == {SMALL}
        boxes = [text.get_bbox_patch().get_window_extent() for text in panel.texts]
        assert len(boxes) == 16
        assert not any(one.overlaps(other) for one, other in combinations(boxes, 2))


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
    plot_task_scores(table, figure.add_subplot())
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
        n_rows=[12, 24] * 2,
        tested_on="qa",
        estimate=[0.1, 0.2, 0.0, 0.1],
    )
    plot_sizes(table, figure.add_subplot())
    assert list(read_panels(figure)) == ["gain\non QA tasks", "synergy\non QA tasks"]
    assert figure.get_supylabel() == "Score, 0 to 1"
    assert [label.get_text() for label in figure.axes[1].get_xticklabels()] == ["12", "24"]
    assert figure.axes[1].get_xlabel() == "Training rows (log scale)"
    figure.clear()
    plot_sizes(table, figure.add_subplot(), per_category=True)  # the additive budget
    assert figure.axes[1].get_xlabel() == "Training rows per category\n(log scale)"


def read_panels(figure):
    return {panel.get_title(loc="left"): panel for panel in figure.axes if panel.axison}


def test_gains_by_task_stand_in_the_panel_of_their_category_with_its_own_rows_stressed(figure):
    table = table_of(
        cell=["qa", "ie"] * 2,
        task=["exam_choice"] * 2 + ["medication_status"] * 2,
        category=["qa"] * 2 + ["ie"] * 2,
        estimate=[0.2, 0.05, 0.3, 0.4],
    )
    plot_task_gains(table, figure.add_subplot())
    panels = read_panels(figure)
    assert list(panels) == ["Question answering tasks", "Information extraction tasks"]
    marks = {
        line.get_xdata()[0]: (line.get_marker(), line.get_alpha())
        for panel in panels.values()
        for line in panel.lines
        if line.get_marker() in ("o", "D")
    }
    assert marks == {0.2: ("D", 1), 0.05: ("o", PALE_SHARE), 0.3: ("o", 1), 0.4: ("D", 1)}


def test_gains_of_six_categories_stay_within_their_panel_and_have_a_colour_each(figure):
    cells = ["qa", "ie", "gen", "wards", "notes", "doses"]
    table = table_of(cell=cells, task="exam_choice", category="qa", estimate=[0.1] * 6)
    plot_task_gains(table, figure.add_subplot())
    (panel,) = read_panels(figure).values()
    marks = [line for line in panel.lines if line.get_marker() in ("o", "D")]
    bottom, top = panel.get_ylim()
    assert all(top < line.get_ydata()[0] < bottom for line in marks)
    assert len({line.get_color() for line in marks}) == 6


def test_a_gain_and_its_interval_stand_on_the_line_of_their_mark(figure):
    table = table_of(
        trained_on=["qa", "gen", "qa+gen"],
        tested_on="qa",
        estimate=[0.2, -0.05, 0.15],
        p_holm=[0.01, 0.9, 0.2],
    )
    plot_transfer(table, figure.add_subplot())
    [panel] = read_panels(figure).values()
    texts = {text.get_text(): (text.get_position()[1], text.get_weight()) for text in panel.texts}
    assert texts == {
        "+0.200 [0.100, 0.300]": (0, "bold"),
        "−0.050 [−0.150, 0.050]": (1, "normal"),
        "+0.150 [0.050, 0.250]": (2, "normal"),
    }
    rings = [line.get_ydata()[0] for line in panel.lines if line.get_fillstyle() == "none"]
    assert rings == [0]
    assert [text.get_text() for text in figure.legends[0].get_texts()] == [
        "own category alone",
        "pale: interval includes zero",
        "p < 0.05 after Holm",
    ]


def test_the_line_at_zero_lies_over_the_grid_and_under_the_marks(figure):
    use_theme()
    plot_transfer(table_of(trained_on=["qa"], tested_on="qa", estimate=[0.2]), figure.add_subplot())
    [panel] = read_panels(figure).values()
    zero = next(line for line in panel.lines if list(line.get_xdata()) == [0, 0])
    assert panel.xaxis.get_zorder() < zero.get_zorder() < panel.lines[0].get_zorder()  # an axis has the grid


@pytest.mark.parametrize("name", [name for name, drawing in GALLERY.items() if drawing.of_endpoint])
def test_a_figure_of_the_endpoint_says_what_it_was_measured_on(name):
    table = make_tables()[name]
    for endpoint, said, unsaid in (("loss", "held out", "tasks"), ("score", "tasks", "held out")):
        texts = [text.get_text() for text in draw(name, table, endpoint).findobj(Text)]
        assert any(said in text for text in texts)
        assert not any(unsaid in text for text in texts)


@pytest.mark.parametrize("name", ["single_transfer", "reference_transfer", "reference_synergies"])
def test_a_figure_of_held_out_rows_does_not_speak_of_tasks(name):
    texts = [text.get_text() for text in draw(name, make_tables()[name]).findobj(Text)]
    assert "Generation rows, held out" in texts
    assert not any("tasks" in text for text in texts)
