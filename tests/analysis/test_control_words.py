"""What controls show, on models whose gains are known."""

import pandas as pd
import pytest
from known_scores import make_items

from helpers.analysis.controls import compare_controls, say_controls

MEANS = {
    "base": 0.1,
    "qa": 0.5,
    "qa~shuffled": 0.2,
    "qa~lengths": 0.5,
    "ie": 0.3,
    "ie~shuffled": 0.3,
    "ie~lengths": 0.6,
    "gen": 0.1,
    "gen~shuffled": 0.1,
    "gen~lengths": 0.1,
}


@pytest.fixture
def items():
    scattered = [make_items({cell: mean}, noise=0.01, seed=n) for n, (cell, mean) in enumerate(MEANS.items())]
    return pd.concat(scattered)


def test_each_part_says_for_each_category_what_its_rows_gain_over_each_control(items):
    table = say_controls(compare_controls({"end": items, "choice": items[items["category"] == "qa"]}))
    assert table.to_numpy().tolist() == [
        ["qa", "end", "more", "more", "not told apart"],
        ["qa", "choice", "more", "more", "not told apart"],
        ["ie", "end", "more", "not told apart", "less"],
        ["gen", "end", "not told apart", "not told apart", "not told apart"],
    ]


def test_all_differences_are_one_family(items):
    table = compare_controls({"end": items})
    assert len(table) == 9
    assert table["p_holm"].max() <= 1
    smallest = table.loc[table["p"].idxmin()]
    assert smallest["p_holm"] == pytest.approx(min(1, 9 * smallest["p"]))
