"""Contrasts on scores that are known, against scipy and statsmodels."""

import numpy as np
import pandas as pd
import pytest
from known_scores import make_items, make_seeds
from scipy.stats import sem, t, ttest_1samp, ttest_rel

from helpers.analysis.contrasts import (
    average_scores,
    contrast,
    contrast_by_category,
    describe_curve_intervals,
    describe_interval,
    describe_item_counts,
    gain_by_task,
)
from helpers.errors import StudyError


def test_noise_that_cells_share_does_not_widen_a_paired_interval():
    items = make_items({"base": 0.2, "qa": 0.5}, noise=0.3)
    row = contrast(items, {"qa": 1, "base": -1})
    assert (row["estimate"], row["low"], row["high"]) == pytest.approx((0.3, 0.3, 0.3))


def test_tasks_weigh_the_same_whatever_their_number_of_items():
    rows = [{"cell": "a", "task": "t1", "item": f"1-{i}", "score": 1.0} for i in range(9)] + [
        {"cell": "a", "task": "t2", "item": "2-0", "score": 0.0}
    ] * 1
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
    table = contrast_by_category(items, {"gain": {"qa": 1, "base": -1}}).set_index("tested_on")
    assert table.loc["qa", "n"] == 80
    assert "sentence_inference" in set(gain_by_task(items, ["qa"])["task"])
    assert set(average_scores(items)["cell"]) == {"base", "qa"}


def test_the_share_of_unparsed_answers_is_reported():
    items = make_items({"base": 0.1})
    items.loc[items["task"] == "medication_status", "parsed"] = False
    assert average_scores(items).set_index("task")["unparsed"].to_dict()["medication_status"] == 1


def test_one_seed_and_one_task_give_scipys_paired_t_test():
    items = make_seeds(n_seeds=1)
    items = items[items["task"] == "exam_choice"]
    table = items.pivot(index="item", columns="cell", values="score")
    assert contrast(items, {"qa": 1, "base": -1})["p"] == pytest.approx(
        ttest_rel(table["qa"], table["base"]).pvalue
    )


def test_the_interval_of_a_score_stays_on_its_scale():
    rows = [
        {"cell": "a", "seed": s, "task": "exam_choice", "item": i, "score": float(s), "parsed": True}
        for s in range(2)
        for i in range(10)
    ]
    row = average_scores(pd.DataFrame(rows)).iloc[0]
    assert (row["estimate"], row["low"], row["high"]) == (0.5, 0, 1)
    assert contrast(pd.DataFrame(rows), {"a": 1})["high"] > 1


def test_without_an_effect_of_items_several_seeds_give_the_t_interval_over_seeds():
    """Every item of a seed scores alike: what is left is the mean of four numbers."""
    gains = [0.1, 0.3, 0.2, 0.6]
    rows = [
        {"cell": "a", "seed": s, "task": "t", "item": i, "score": gain}
        for s, gain in enumerate(gains)
        for i in range(10)
    ]
    row = contrast(pd.DataFrame(rows), {"a": 1})
    expected = t.interval(0.95, 3, loc=np.mean(gains), scale=sem(gains))
    assert (row["low"], row["high"]) == pytest.approx(expected)
    assert row["p"] == pytest.approx(ttest_1samp(gains, 0).pvalue)
    assert (row["n"], row["n_seeds"]) == (10, 4)


def test_more_seeds_narrow_the_interval():
    def mean_width(n_seeds):
        rows = [contrast(make_seeds(n_seeds, n=10, seed=seed), {"qa": 1, "base": -1}) for seed in range(12)]
        return np.mean([row["high"] - row["low"] for row in rows])

    assert mean_width(2) > mean_width(4) > mean_width(12)


def test_clusters_take_the_place_of_items():
    """Three items of a document that always agree are one observation, not three."""
    random = np.random.default_rng(3)
    scores = random.binomial(1, 0.5, 20).astype(float)
    one = pd.DataFrame({"cell": "a", "task": "t", "item": range(20), "score": scores})
    three = pd.DataFrame(
        {
            "cell": "a",
            "task": "t",
            "item": range(60),
            "score": np.repeat(scores, 3),
            "cluster": np.repeat(range(20), 3),
        }
    )
    few, many, naive = (contrast(table, {"a": 1}) for table in (one, three, three.drop(columns="cluster")))
    assert (many["estimate"], many["low"], many["high"], many["p"]) == pytest.approx(
        (few["estimate"], few["low"], few["high"], few["p"])
    )
    assert naive["high"] - naive["low"] < many["high"] - many["low"]
    assert (few["n"], many["n"]) == (20, 60)


def test_a_cluster_mean_over_unequal_clusters_is_the_mean_over_items():
    items = pd.DataFrame(
        {
            "cell": "a",
            "task": "t",
            "item": range(6),
            "score": [1, 1, 1, 1, 0, 0.5],
            "cluster": [0, 0, 0, 0, 1, 2],
        }
    )
    assert contrast(items, {"a": 1})["estimate"] == pytest.approx(4.5 / 6)


def test_seeds_that_differ_in_their_cells_are_not_pooled():
    items = make_seeds()
    with pytest.raises(StudyError, match="must hold the same items"):
        contrast(items[(items["cell"] == "base") | (items["seed"] > 0)], {"qa": 1, "base": -1})


def test_captions_say_what_the_intervals_cover():
    assert describe_interval(make_seeds(1)) == "over the items alone (one training seed)"
    assert describe_interval(make_seeds(3)) == "over the items and 3 training seeds"


def name_held_out(items):
    """Return items as held-out rows: a task named by the category, a loss in place of the score."""
    return items.assign(task="held_out_" + items["category"], score=1.5 - items["score"])


def test_captions_count_the_items_that_there_are_and_not_those_asked_for():
    items = pd.DataFrame({"task": ["exam_choice"] * 4 + ["medquad"] * 3, "item": [0, 1, 0, 1, 0, 1, 2]})
    assert describe_item_counts(items) == "2 to 3"
    assert describe_item_counts(items[items["task"] == "medquad"]) == "3"


def test_a_curve_says_of_each_of_its_sizes_what_the_intervals_cover():
    plain = make_items({"qa": 0.5})
    spread = plain.assign(seed_variance=0.1, seed_df=5)
    assert describe_curve_intervals({}) == ""
    assert describe_curve_intervals({12: plain, 24: plain}) == describe_interval(plain)
    said = describe_curve_intervals({12: plain, 24: plain, 48: spread})
    assert said == f"at 12 and 24 rows {describe_interval(plain)}; at 48 rows {describe_interval(spread)}"


def test_losses_on_held_out_rows_take_their_category_from_the_table():
    items = name_held_out(make_seeds(n_seeds=3))
    items = items.assign(item=items["item"] + "-held")
    table = contrast_by_category(items, {"gain": {"qa": 1, "base": -1}})
    expected = contrast(items, {"qa": 1, "base": -1})
    assert table["tested_on"].tolist() == ["qa"]
    assert table.loc[0, ["estimate", "low", "high", "p"]].tolist() == [
        expected[name] for name in ("estimate", "low", "high", "p")
    ]
    assert gain_by_task(items, ["qa"]).loc[0, ["task", "category"]].tolist() == ["held_out_qa", "qa"]


def test_intervals_of_losses_do_not_end_where_scores_do():
    items = name_held_out(make_items({"base": -0.2}, noise=0.3))
    items = items.drop_duplicates(["task", "item"]).drop(columns="parsed")
    with pytest.raises(StudyError, match=r"0 to 1, but .* were found\. Pass `scale=None`"):
        average_scores(items)
    table = average_scores(items, scale=None)
    assert (table["high"] > 1).all()
    assert {"metric", "unparsed"}.isdisjoint(table)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_loss_that_is_no_number_is_named_with_task_and_item(value):
    items = make_items({"base": 0.2, "qa": 0.5})
    items.loc[items["item"].eq("patient_answer-3") & items["cell"].eq("qa"), "score"] = value
    with pytest.raises(
        StudyError, match=r"qa has (nan|inf) on item patient_answer-3 of patient_answer \(1 such"
    ):
        contrast(items, {"qa": 1, "base": -1})


def test_a_stricter_level_widens_the_interval_and_leaves_p():
    for items in (make_seeds(n_seeds=1), make_seeds(n_seeds=3)):
        usual, strict = (contrast(items, {"qa": 1, "base": -1}, level) for level in (0.95, 0.99))
        assert strict["low"] < usual["low"] < usual["high"] < strict["high"]
        assert strict["p"] == usual["p"]


@pytest.mark.parametrize("seeds", [1, 3])
@pytest.mark.parametrize("carried", [{}, {"seed_variance": 0.1, "seed_df": 5}], ids=["bare", "spread"])
def test_a_single_item_has_no_interval(seeds, carried):
    rows = [
        {"cell": cell, "seed": seed, "task": task, "item": f"i{item}", "score": 0.1 * item + seed}
        for cell in ("base", "qa")
        for seed in range(seeds)
        for task, n in (("exam_choice", 3), ("held_out_qa", 1))
        for item in range(n)
    ]
    with pytest.raises(StudyError, match="'held_out_qa' has 1"):
        contrast(pd.DataFrame(rows).assign(**carried), {"qa": 1, "base": -1})
