"""Paired tests, computed by hand on a few items."""

import numpy as np
import pandas as pd
import pytest
from few_items import GRADED, RIGHT_OR_WRONG
from scipy.stats import ttest_rel

from helpers.analysis.hypotheses import correct_holm
from helpers.analysis.paired_tests import compare_models, compare_pairs, compute_paired_t


def test_mcnemar_is_the_sign_test_of_the_items_that_differ():
    tuned, base = (
        RIGHT_OR_WRONG.loc[RIGHT_OR_WRONG["cell"] == cell, "score"].to_numpy() for cell in ("tuned", "base")
    )
    test, p = compare_pairs(tuned, base, right_or_wrong=True)
    assert test == "McNemar"
    assert p == pytest.approx(2 * (1 + 7) / 2**7)  # six of seven for the tuned model
    assert compare_pairs(base, base, right_or_wrong=True)[1] == 1


def test_graded_scores_are_compared_by_all_turns_of_their_signs():
    test, p = compare_pairs(
        np.array([0.2, 0.3, 0.4, 0.5]), np.array([0.1, 0.2, 0.3, 0.4]), right_or_wrong=False
    )
    assert test == "permutation"
    assert p == pytest.approx(2 / 16)  # of the 16 ways to turn four signs, two are as far from zero
    assert compare_pairs(np.array([0.2, 0.3]), np.array([0.2, 0.3]), right_or_wrong=False)[1] == 1


def test_differences_have_intervals_and_corrected_p_values():
    table = compare_models(pd.concat([RIGHT_OR_WRONG, GRADED]), "base").set_index("task")
    assert table.loc["exam_choice", "estimate"] == pytest.approx(5 / 8)
    assert table.loc["medquad", ["estimate", "low", "high"]].tolist() == pytest.approx([0.1, 0.1, 0.1])
    assert table["p"].tolist() == pytest.approx([0.125, 0.125])
    assert table["p_holm"].tolist() == pytest.approx([0.25, 0.25])
    assert table["category"].tolist() == ["qa", "gen"]


def test_wins_losses_and_the_t_test_of_the_paper_stand_beside_the_exact_tests():
    table = compare_models(pd.concat([RIGHT_OR_WRONG, GRADED]), "base", ["tuned"]).set_index("task")
    assert table[["won", "lost", "test"]].to_numpy().tolist() == [[6, 1, "McNemar"], [4, 0, "permutation"]]
    assert table.loc["exam_choice", "p_t"] == pytest.approx(
        ttest_rel([1, 1, 1, 1, 1, 1, 1, 0], [0, 0, 0, 0, 0, 0, 1, 1]).pvalue
    )


def test_losses_of_a_choice_task_are_compared_as_numbers():
    losses = RIGHT_OR_WRONG.assign(score=0.5 * RIGHT_OR_WRONG["score"] - 2.0)
    row = compare_models(losses, "base").iloc[0]
    assert (row["test"], row["won"], row["lost"]) == ("permutation", 6, 1)


def test_held_out_rows_of_any_name_are_compared():
    row = compare_models(GRADED.assign(task="held_out_ie", category="ie"), "base").iloc[0]
    assert (row["category"], row["test"]) == ("ie", "permutation")


def test_without_spread_there_is_no_t():
    assert compute_paired_t(np.ones(4), np.ones(4)) == 1
    assert np.isnan(compute_paired_t(np.ones(4), np.zeros(4)))


def test_items_of_one_document_are_turned_together():
    clustered = RIGHT_OR_WRONG.assign(cluster=[0, 0, 0, 1, 1, 1, 2, 2] * 2)
    row = compare_models(clustered, "base").iloc[0]
    assert (row["test"], row["won"], row["lost"]) == ("permutation", 2, 1)


def test_each_training_seed_is_a_family_of_its_own():
    equal = RIGHT_OR_WRONG.assign(score=1.0)
    items = pd.concat(
        [pd.concat([RIGHT_OR_WRONG, GRADED]).assign(seed=1), pd.concat([equal, GRADED]).assign(seed=2)]
    )
    table = compare_models(items, "base")
    assert list(table["seed"]) == [1, 1, 2, 2]
    for _, family in table.groupby("seed"):
        assert family["p_holm"].to_numpy() == pytest.approx(correct_holm(family["p"]))
    assert table["p_holm"].to_list() == pytest.approx([0.25, 0.25, 1.0, 0.25])
