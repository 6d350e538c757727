"""How firm a winner and a sign are, on scores that are known."""

import numpy as np
import pandas as pd
import pytest
from known_scores import MEANS, make_items, make_seeds
from scipy.stats import t, ttest_1samp

from helpers.analysis.contrasts import contrast, stack_scores
from helpers.analysis.stability import (
    describe_seeds,
    draw_means,
    sign_table,
    win_probabilities,
    winner_table,
)


def make_two_seeds(first, second):
    """Return items of two cells whose mean scores differ between two training seeds."""
    return pd.concat(
        [make_items(means, n=10).assign(seed=seed) for seed, means in enumerate((first, second))]
    )


def test_a_winner_by_far_wins_in_every_draw():
    table = winner_table(make_items(MEANS), ["qa", "ie", "gen"]).set_index("category")
    assert table["winner"].to_dict() == {"qa": "qa", "ie": "ie", "gen": "gen"}
    assert (table["share_of_draws"] == 1).all()
    assert (table["n_seeds"] == 1).all()


def test_a_tie_is_shared():
    assert win_probabilities(np.array([[1.0, 1.0, 0.0], [1.0, 0.5, 0.0]])) == pytest.approx([0.75, 0.25, 0.0])


def test_seeds_that_disagree_are_counted():
    items = make_two_seeds({"qa": 0.9, "ie": 0.1}, {"qa": 0.4, "ie": 0.5})
    table = winner_table(items, ["qa", "ie"])
    assert set(table["winner"]) == {"qa"}
    assert set(table["n_seeds_agree"]) == {1}
    assert 0.6 < table["share_of_draws"].iloc[0] < 0.9
    assert (
        describe_seeds(winners=table)
        == "The 2 training seeds, each taken alone, all agree with the pooled result on 0 of 3 winners."
    )


def test_a_sign_is_as_firm_as_the_draws_that_keep_it():
    items = make_two_seeds({"base": 0.3, "qa": 0.5}, {"base": 0.3, "qa": 0.6})
    table = sign_table(items, {"qa": {"qa": 1.0, "base": -1.0}, "nothing": {"qa": 0.0, "base": 0.0}})
    of_two = 1 - ttest_1samp([0.2, 0.3], 0).pvalue / 2
    assert table[table["contrast"] == "qa"]["share_of_draws"].tolist() == pytest.approx(
        [of_two] * 3, abs=0.02
    )
    assert (table[table["contrast"] == "qa"]["n_seeds_agree"] == 2).all()
    assert table[table["contrast"] == "nothing"]["share_of_draws"].isna().all()


def test_one_seed_says_nothing_of_another():
    assert "one training seed" in describe_seeds(winners=winner_table(make_items(MEANS), ["qa", "ie"]))


def test_draws_of_three_seeds_reach_as_far_as_students_t():
    by_seed = np.array([0.1, 0.2, 0.6])
    draws = draw_means([np.tile(by_seed[None, :, None], (1, 1, 8))])[:, 0]
    low, high = t.interval(0.95, 2, by_seed.mean(), by_seed.std(ddof=1) / 3**0.5)
    assert np.quantile(draws, [0.025, 0.975]) == pytest.approx([low, high], abs=0.2 * (high - low) / 2)


def test_draws_with_one_seed_spread_as_the_interval():
    items = make_seeds(n_seeds=1)
    draws = draw_means(list(stack_scores(items, ["qa", "base"]).values()))
    low, high = np.quantile(draws[:, 0] - draws[:, 1], [0.025, 0.975])
    row = contrast(items, {"qa": 1, "base": -1})
    assert high - low == pytest.approx(row["high"] - row["low"], rel=0.1)


def test_the_base_model_has_no_seeds_to_draw():
    items = make_seeds(n_seeds=3).assign(score=lambda rows: rows["score"].where(rows["cell"] != "base", 0.5))
    draws = draw_means(list(stack_scores(items, ["qa", "base"]).values()))
    assert draws[:, 1] == pytest.approx(np.full(len(draws), 0.5))
    assert draws[:, 0].std() > 0.01
