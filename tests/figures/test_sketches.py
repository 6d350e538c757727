"""The sketches show the numbers of their table."""

import pandas as pd
import pytest
from matplotlib.figure import Figure

from helpers.analysis.games import explain_pair
from helpers.figures.sketches import plot_lora, plot_pair, plot_pipeline


@pytest.fixture
def ax():
    return Figure(layout="constrained").add_subplot()


def test_a_stage_is_a_box_with_its_numbers_and_what_is_rejected_stands_beside_it(ax):
    table = pd.DataFrame(
        [
            ("Teacher", "replies", 48),
            ("Teacher", "tasks in them", 1816),
            ("Filters", "kept", 731),
            ("Filters", "rejected", 85),
        ],
        columns=["stage", "quantity", "n"],
    )
    plot_pipeline(table, ax)
    texts = [text.get_text() for text in ax.texts if text.get_text()]
    assert texts == ["Teacher", "48 replies, 1,816 tasks in them", "Filters", "731 kept", "85\nrejected"]
    assert len(ax.patches) == 2


def test_the_matrices_of_a_layer_are_drawn_to_scale(ax):
    table = pd.DataFrame(
        [("W", 60, 20, False), ("B", 60, 4, True), ("A", 4, 20, True)],
        columns=["matrix", "n_rows", "n_columns", "learnt"],
    )
    plot_lora(table, ax)
    assert [(patch.get_height(), patch.get_width()) for patch in ax.patches] == [(60, 20), (60, 4), (4, 20)]
    assert "frozen\n60 × 20\n1,200 weights" in [text.get_text() for text in ax.texts]


@pytest.mark.parametrize("gains", [(0.06, 0.02, 0.05), (0.06, 0.02, 0.01), (0.03, 0.02, 0.09)])
def test_a_pair_stands_beside_the_mean_and_the_sum_of_its_parts(ax, gains):
    plot_pair(explain_pair(dict(zip(("qa", "gen", "qa+gen"), gains, strict=True))), ax)
    tops = {}
    for bar in ax.patches:
        tops[round(bar.get_x() + bar.get_width() / 2)] = bar.get_y() + bar.get_height()
    first, second, pair = gains
    assert [tops[place] for place in range(5)] == pytest.approx(
        [first, second, (first + second) / 2, pair, first + second]
    )
    assert ax.texts[-1].get_text().startswith("interaction\n")
