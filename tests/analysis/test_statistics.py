"""Contrasts on scores that are known, against scipy and statsmodels."""

import numpy as np
import pandas as pd
import pytest
from known_scores import make_items
from scipy.stats import permutation_test, sem, t, ttest_1samp, ttest_rel
from statsmodels.formula.api import ols
from statsmodels.stats.anova import anova_lm

from helpers.analysis.statistics import (
    compute_p,
    contrast,
    contrast_by_category,
    describe_interval,
    draw_means,
    gain_by_task,
    percentiles,
    pool_variance,
    score_tasks,
    stack_scores,
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
    table = contrast_by_category(items, {"gain": {"qa": 1, "base": -1}}).set_index("category")
    assert table.loc["qa", "n"] == 80
    assert "sentence_inference" in set(gain_by_task(items, ["qa"])["task"])
    assert set(score_tasks(items)["cell"]) == {"base", "qa"}


def test_the_share_of_unparsed_answers_is_reported():
    items = make_items({"base": 0.1})
    items.loc[items["task"] == "medication_status", "parsed"] = False
    assert score_tasks(items).set_index("task")["unparsed"].to_dict()["medication_status"] == 1


def make_seeds(n_seeds=4, n=30, seed=0, cells=("base", "qa")):
    """Return items of two tasks under several training seeds, with spread between seeds, between items and in
    the remainder.
    """
    random = np.random.default_rng(seed)
    rows = []
    for task in ("exam_choice", "evidence_yesno"):
        of_item, of_seed = random.normal(0, 0.2, n), random.normal(0, 0.1, n_seeds)
        for cell in cells:
            scores = 0.5 + of_item + of_seed[:, None] * (cell != "base") + random.normal(0, 0.1, (n_seeds, n))
            rows += [
                {
                    "cell": cell,
                    "seed": s,
                    "task": task,
                    "category": "qa",
                    "item": f"{task}-{i}",
                    "score": scores[s, i],
                    "parsed": True,
                }
                for s in range(n_seeds)
                for i in range(n)
            ]
    return pd.DataFrame(rows)


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
    row = score_tasks(pd.DataFrame(rows)).iloc[0]
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


def test_the_pooled_variance_is_that_of_the_two_way_analysis_of_variance():
    """Against statsmodels: (mean square of seeds + mean square of items - mean square of the remainder) /
    number of scores.
    """
    items = make_seeds(cells=("qa",))
    items = items[items["task"] == "exam_choice"]
    squares = anova_lm(ols("score ~ C(seed) + C(item)", items).fit())["mean_sq"]
    expected = (squares["C(seed)"] + squares["C(item)"] - squares["Residual"]) / len(items)
    variance, _ = pool_variance([stack[0] for stack in stack_scores(items, ["qa"]).values()])
    assert variance == pytest.approx(expected)


def test_draws_with_one_seed_spread_as_scipys_bootstrap():
    items = make_seeds(n_seeds=1)
    draws = draw_means(items, ["qa", "base"])
    ends, row = percentiles(draws[:, 0] - draws[:, 1]), contrast(items, {"qa": 1, "base": -1})
    width = row["high"] - row["low"]
    assert abs(ends["low"] - row["low"]) < 0.05 * width
    assert abs(ends["high"] - row["high"]) < 0.05 * width


def test_draws_of_seeds_and_items_spread_as_owen_says():
    """The crossed bootstrap counts the remainder three times; each part lacks (k - 1) / k for its k units."""
    [sample] = [
        stack[0]
        for stack in stack_scores(
            make_seeds(n_seeds=6, n=40, cells=("qa",)).query("task == 'exam_choice'"), ["qa"]
        ).values()
    ]
    items = pd.DataFrame(
        {
            "cell": "qa",
            "task": "t",
            "seed": np.repeat(range(6), 40),
            "item": list(range(40)) * 6,
            "score": sample.ravel(),
        }
    )
    of_seeds, of_items = sample.mean(axis=1).var() / 6, sample.mean(axis=0).var() / 40
    rest = sample - sample.mean(axis=0) - sample.mean(axis=1, keepdims=True) + sample.mean()
    assert draw_means(items, ["qa"])[:, 0].var() == pytest.approx(
        of_seeds + of_items + (rest**2).mean() / sample.size, rel=0.1
    )


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


def test_three_items_that_agree_are_no_proof():
    assert compute_p(0.0, 0.0, 5, 3) == 1
    assert compute_p(0.3, 0.0, 5, 3) == 0.25
    items = pd.DataFrame(
        {
            "cell": ["base"] * 3 + ["qa"] * 3,
            "task": "t",
            "item": [0, 1, 2] * 2,
            "score": [0.0] * 3 + [1.0] * 3,
        }
    )
    expected = permutation_test(([1.0] * 3,), np.mean, permutation_type="samples").pvalue
    assert contrast(items, {"qa": 1, "base": -1})["p"] == expected


def test_captions_say_what_the_intervals_cover():
    assert describe_interval(make_seeds(1)) == "over the items alone (one training seed)"
    assert describe_interval(make_seeds(3)) == "over the items and 3 training seeds"
