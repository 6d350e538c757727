"""Tables of an evaluation, computed by hand on a few items."""

import pandas as pd
import pytest
from few_items import GRADED, RIGHT_OR_WRONG, make_items

from helpers.analysis.contrasts import average_scores
from helpers.analysis.measures import (
    average_measures,
    rate_letters,
    strongest_position_bias,
)


def test_scores_of_public_tasks_come_with_metric_interval_and_unparsed_rate():
    items = GRADED.assign(parsed=[True, True, False, False] * 2)
    row = average_scores(items).set_index("cell").loc["base"]
    assert (row["metric"], row["estimate"], row["unparsed"], row["n"]) == (
        "ROUGE-L",
        pytest.approx(0.25),
        0.5,
        4,
    )
    assert row["low"] <= row["estimate"] <= row["high"]


def test_measures_are_averaged_over_the_items_that_have_them():
    items = GRADED.assign(concept_f1=[1.0, None, 0.0, 0.5] * 2, margin=None)
    table = average_measures(items)
    assert table["concept_f1"].tolist() == [0.5, 0.5]
    assert "margin" not in table


def test_letters_are_rated_beside_the_right_ones_and_the_strongest_liking_is_found():
    items = RIGHT_OR_WRONG.assign(letters=["A"] * 8 + ["A", "B"] * 4, right_letters=["A", "B", "B", "B"] * 4)
    rates = rate_letters(items).set_index("cell")
    assert rates.loc["base", ["A", "B"]].tolist() == [1, 0]
    assert rates.loc["tuned", ["A", "B"]].tolist() == [0.5, 0.5]
    assert rates.loc["right answers", ["A", "B"]].tolist() == [0.25, 0.75]
    assert strongest_position_bias(rate_letters(items)) == {
        "task": "exam_choice",
        "cell": "base",
        "letter": "A",
        "share_chosen": 1.0,
        "right": 0.25,
    }


def test_every_order_counts_where_options_were_permuted():
    items = make_items("exam_choice", {"base": [1.0, 0.0]}, letters=["AB", "AA"], right_letters=["AB", "BA"])
    assert rate_letters(items).set_index("cell").loc["base", ["A", "B"]].tolist() == [0.75, 0.25]


def test_tables_without_choices_have_no_letters():
    assert rate_letters(GRADED).empty
    assert strongest_position_bias(rate_letters(GRADED))["task"] == "no choice task"


def test_micro_f1_counts_mentions_over_all_items_and_is_no_mean_of_items():
    counts = {"n_right": [1, 3], "n_answers": [4, 3], "n_gold": [1, 3]}
    items = pd.DataFrame({"task": "ncbi_disease", "cell": "base", "precision": [0.25, 1.0], **counts})
    (row,) = average_measures(items).to_dict("records")
    assert row["micro_f1"] == pytest.approx(2 * 4 / (7 + 4))
    assert row["precision"] == 0.625
