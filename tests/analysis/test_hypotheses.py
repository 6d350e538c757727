"""Tests of families, and what a design can find."""

import numpy as np
import pandas as pd
import pytest
from known_scores import make_items, make_seeds
from scipy.stats import ttest_1samp
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.power import TTestPower

from helpers.analysis.contrasts import contrast_by_category
from helpers.analysis.hypotheses import (
    POWER,
    add_holm,
    correct_holm,
    detectable_effects,
    measure_correlations,
    smallest_effects_that_hold,
    split_significant,
)


def test_holm_multiplies_the_smallest_p_by_the_size_of_the_family():
    assert correct_holm([0.01, 0.04, 0.5]) == pytest.approx([0.03, 0.08, 0.5])
    assert correct_holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])


def test_holms_correction_is_that_of_statsmodels():
    random = np.random.default_rng(0)
    for size in (1, 2, 9, 27):
        p = random.uniform(size=size).round(1)  # rounded: ties
        np.testing.assert_allclose(correct_holm(p), multipletests(p, method="holm")[1], rtol=1e-12)
    table = add_holm(
        pd.DataFrame(
            {"estimate": [1.0, 1.0], "low": [0.5, 0.5], "high": [2, 2], "p": [0.01, 0.04], "n": [3, 3]}
        )
    )
    assert list(table.columns) == ["estimate", "low", "high", "p", "p_holm", "n"]
    significant, others = split_significant(table.assign(low=[0.5, -0.1]))
    assert (len(significant), len(others)) == (1, 1)


def test_the_detectable_effect_is_found_as_often_as_it_says():
    """Draw differences with the effect and the spread that the table supposes: a t test finds it in four of
    five.
    """
    base = pd.DataFrame(
        {
            "cell": "base",
            "task": "exam_choice",
            "category": "qa",
            "item": range(40),
            "score": np.tile([0.0, 1.0], 20),
        }
    )
    effect = detectable_effects(base, {"gain": {"tuned": 1, "base": -1}})["detectable"].iloc[0]
    draws = np.random.default_rng(1).normal(effect, base["score"].std(), (2000, 40))
    assert (ttest_1samp(draws, 0, axis=1).pvalue < 0.05).mean() == pytest.approx(POWER, abs=0.03)


def test_an_interaction_needs_a_larger_effect_than_a_gain_and_a_flat_base_predicts_nothing():
    base = make_items({"base": 0.4}, noise=0.2)
    table = detectable_effects(
        base, {"gain": {"a": 1, "base": -1}, "interaction": {"ab": 1, "a": -1, "b": -1, "base": 1}}
    )
    by_name = table[table["tested_on"] == "qa"].set_index("contrast")["detectable"]
    assert by_name["interaction"] == pytest.approx(np.sqrt(2) * by_name["gain"])
    assert (
        detectable_effects(make_items({"base": 0.4}), {"gain": {"a": 1, "base": -1}})["detectable"]
        .isna()
        .all()
    )


def test_what_can_be_found_follows_from_measured_correlations_too():
    items = make_seeds(n_seeds=2, n=200)
    correlations = measure_correlations(items)
    assert correlations["qa"] == pytest.approx(0.8, abs=0.06)  # 0.2^2 of 0.2^2 + 0.1^2
    base = items[items["cell"] == "base"]
    row = detectable_effects(base, {"gain": {"qa": 1, "base": -1}}, correlations).iloc[0]
    assert row["correlation"] == correlations["qa"]
    assert row["detectable_at_measured_correlation"] / row["detectable"] == pytest.approx(
        np.sqrt((1 - correlations["qa"]) / 0.5)
    )


def test_the_measured_correlation_is_that_of_base_and_tuned_models_not_of_two_tuned_ones():
    items = make_seeds(n_seeds=2, n=200)
    twin = items[items["cell"] == "qa"].assign(cell="ie")  # correlates with `qa` by one
    assert measure_correlations(pd.concat([items, twin]))["qa"] == pytest.approx(
        measure_correlations(items)["qa"]
    )


def test_a_category_without_stored_items_or_without_spread_has_no_correlation():
    flat = make_items({"base": 0.4, "qa": 0.5})
    assert np.isnan(measure_correlations(flat)["ie"])
    base = make_items({"base": 0.4}, noise=0.2)
    table = detectable_effects(base, {"gain": {"qa": 1, "base": -1}}, {"qa": 0.8}).set_index("tested_on")
    assert np.isnan(table.loc["ie", "detectable_at_measured_correlation"])
    assert table.loc["ie", "detectable"] > 0


def test_what_holds_in_one_seed_is_what_a_paired_t_test_finds():
    random = np.random.default_rng(3)
    change = random.normal(0, 0.2, 60)
    items = pd.DataFrame({"task": "exam_choice", "category": "qa", "item": range(60), "score": 0.5})
    items = pd.concat([items.assign(cell="base"), items.assign(cell="qa", score=0.5 + change)])
    found = smallest_effects_that_hold(items, {"gain": {"qa": 1.0, "base": -1.0}})["holds_from"].item()
    known = TTestPower().solve_power(nobs=60, alpha=0.05, power=POWER) * change.std(ddof=1)
    assert found == pytest.approx(known, rel=0.02)


def test_nothing_is_said_to_hold_where_nothing_can():
    gain = {"qa": 1.0, "base": -1.0}
    items = pd.DataFrame({"task": "exam_choice", "category": "qa", "item": range(7), "score": 0.5})
    change = np.random.default_rng(3).normal(0, 0.2, 7)
    tuned = items.assign(cell="qa", score=0.5 + change)
    seven = pd.concat([items.assign(cell="base"), tuned])
    assert smallest_effects_that_hold(seven, {"gain": gain})["holds_from"].item() > 0
    nine = smallest_effects_that_hold(seven, {f"gain {n}": gain for n in range(9)})["holds_from"]
    assert nine.isna().all()  # nine tests at 2^(1 - 7): no p passes
    alike = pd.concat([items.assign(cell="base"), items.assign(cell="qa", score=0.75)])
    assert smallest_effects_that_hold(alike, {"gain": gain})["holds_from"].isna().all()


def test_a_run_finds_in_four_of_five_repetitions_what_it_says_would_hold():
    """Simulate runs of three seeds: their scatter is right on average, so the effect is taken from all."""
    gain = {"gain": {"qa": 1.0, "base": -1.0}}
    runs = [make_seeds(n_seeds=3, n=20, seed=seed) for seed in range(150)]
    effect = np.mean([smallest_effects_that_hold(run, gain)["holds_from"].item() ** 2 for run in runs]) ** 0.5
    tables = [add_holm(contrast_by_category(run, gain)) for run in runs]
    shifted = [
        contrast_by_category(run.assign(score=run["score"] + effect * (run["cell"] == "qa")), gain)
        for run in runs
    ]
    assert np.mean([len(split_significant(table)[0]) for table in tables]) < 0.1
    assert np.mean([len(split_significant(add_holm(table))[0]) for table in shifted]) == pytest.approx(
        POWER, abs=0.08
    )


def test_more_tests_ask_for_a_larger_effect_and_more_seeds_for_a_smaller_one():
    gain = {"qa": 1.0, "base": -1.0}
    few = smallest_effects_that_hold(make_seeds(n_seeds=3), {"gain": gain})["holds_from"].item()
    nine = smallest_effects_that_hold(make_seeds(n_seeds=3), {f"gain {n}": gain for n in range(9)})[
        "holds_from"
    ]
    assert (nine > 1.5 * few).all()
    assert smallest_effects_that_hold(make_seeds(n_seeds=8), {"gain": gain})["holds_from"].item() < few
