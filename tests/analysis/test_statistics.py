"""Contrasts and transfer, on scores that are known."""

import numpy as np
import pandas as pd
import pytest

from helpers.analysis.statistics import contrast, contrast_by_category, gain_by_task, score_tasks
from helpers.analysis.transfer import addition_table, interaction_table, name_pair, transfer_table
from helpers.errors import StudyError
from helpers.grid import PAIRS, SINGLES

TASK_OF = {"qa": ("exam_choice", "evidence_yesno"), "ie": ("medication_status",), "gen": ("patient_answer",)}


def make_items(means, n=40, noise=0.0, seed=0):
    """Return items whose scores are a cell's mean, plus noise that all cells share."""
    random = np.random.default_rng(seed)
    rows = []
    for category, tasks in TASK_OF.items():
        for task in (*tasks, "sentence_inference") if category == "qa" else tasks:
            shared = random.normal(0, noise, n) if noise else np.zeros(n)
            for cell, mean in means.items():
                value = mean[category] if isinstance(mean, dict) else mean
                rows += [
                    {"cell": cell, "task": task, "category": category, "item": f"{task}-{i}", "score": value + shared[i], "parsed": True} for i in range(n)
                ]
    return pd.DataFrame(rows)


def test_noise_that_cells_share_does_not_widen_a_paired_interval():
    items = make_items({"base": 0.2, "qa": 0.5}, noise=0.3)
    row = contrast(items, {"qa": 1, "base": -1})
    assert (row["estimate"], row["low"], row["high"]) == pytest.approx((0.3, 0.3, 0.3))


def test_tasks_weigh_the_same_whatever_their_number_of_items():
    rows = [{"cell": "a", "task": "t1", "item": f"1-{i}", "score": 1.0} for i in range(9)] + [{"cell": "a", "task": "t2", "item": "2-0", "score": 0.0}] * 1
    rows += [{"cell": "a", "task": "t2", "item": "2-1", "score": 0.0}]
    assert contrast(pd.DataFrame(rows), {"a": 1})["estimate"] == 0.5


def test_the_interval_covers_the_truth_about_as_often_as_it_says():
    covered = 0
    for seed in range(100):
        scores = np.random.default_rng(seed).binomial(1, 0.4, 60)
        items = pd.DataFrame({"cell": "a", "task": "t", "item": range(60), "score": scores.astype(float)})
        row = contrast(items, {"a": 1})
        covered += row["low"] <= 0.4 <= row["high"]
    assert 88 <= covered <= 99


def test_the_same_items_give_the_same_interval():
    items = make_items({"base": 0.2, "qa": 0.5}, noise=0.3)
    assert contrast(items, {"qa": 1}) == contrast(items, {"qa": 1})


def test_cells_with_other_items_are_not_compared():
    items = make_items({"base": 0.2, "qa": 0.5})
    with pytest.raises(StudyError, match="must hold the same items"):
        contrast(items.drop(index=items.index[0]), {"qa": 1, "base": -1})
    with pytest.raises(StudyError, match=r"\['ie'\] lack"):
        contrast(items, {"ie": 1})


def test_sentence_pairs_are_left_out_of_categories_and_kept_among_tasks():
    items = make_items({"base": 0.1, "qa": 0.4})
    table = contrast_by_category(items, {"gain": {"qa": 1, "base": -1}}).set_index("category")
    assert table.loc["qa", "n"] == 80
    assert "sentence_inference" in set(gain_by_task(items, ["qa"])["task"])
    assert set(score_tasks(items)["cell"]) == {"base", "qa"}


def test_the_share_of_unparsed_answers_is_reported():
    items = make_items({"base": 0.1})
    items.loc[items["task"] == "medication_status", "parsed"] = False
    assert score_tasks(items).set_index("task")["unparsed"].to_dict()["medication_status"] == 1


MEANS = {
    "base": {"qa": 0.1, "ie": 0.1, "gen": 0.1},
    "qa": {"qa": 0.5, "ie": 0.2, "gen": 0.1},
    "ie": {"qa": 0.3, "ie": 0.6, "gen": 0.1},
    "gen": {"qa": 0.1, "ie": 0.2, "gen": 0.4},
    "qa+ie": {"qa": 0.6, "ie": 0.5, "gen": 0.1},
    "qa+gen": {"qa": 0.4, "ie": 0.2, "gen": 0.3},
    "ie+gen": {"qa": 0.2, "ie": 0.4, "gen": 0.5},
}


def test_the_transfer_matrix_holds_gains_over_base():
    table = transfer_table(make_items(MEANS), list(SINGLES)).pivot(index="contrast", columns="category", values="estimate")
    assert table.loc["qa", "qa"] == pytest.approx(0.4)
    assert table.loc["ie", "qa"] == pytest.approx(0.2)
    assert table.loc["gen", "gen"] == pytest.approx(0.3)


def test_an_addition_is_the_pair_minus_the_single_on_the_singles_tasks():
    table = addition_table(make_items(MEANS)).set_index(["target", "added"])["estimate"]
    assert len(table) == 6
    assert table["qa", "ie"] == pytest.approx(0.1)
    assert table["ie", "qa"] == pytest.approx(-0.1)
    assert table["gen", "qa"] == pytest.approx(-0.1)


def test_an_interaction_is_what_a_pair_gives_beyond_the_mean_of_its_singles():
    table = interaction_table(make_items(MEANS)).set_index(["contrast", "category"])["estimate"]
    assert len(table) == 9
    assert table["qa+ie", "qa"] == pytest.approx(0.6 - (0.5 + 0.3) / 2)
    assert table["ie+gen", "ie"] == pytest.approx(0.4 - (0.6 + 0.2) / 2)


def test_a_pair_has_one_name():
    assert name_pair("gen", "qa") == name_pair("qa", "gen") == "qa+gen"
    assert len(PAIRS) == 3
