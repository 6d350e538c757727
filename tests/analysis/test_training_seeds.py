"""False alarms, gains that hold and spreads, on models whose seeds are known."""

import pandas as pd
import pytest
from known_scores import make_items

from helpers.analysis.hypotheses import split_significant
from helpers.analysis.training_seeds import (
    SPREAD,
    count_gains_and_false_alarms,
    null_table,
    pair_sets,
    rate_alarms_of_mixtures,
    spread_by_recipe,
)


def test_a_cell_whose_seeds_differ_gives_false_alarms_one_seed_at_a_time_and_none_by_like_halves():
    means = [0.1, 0.9, 0.2, 0.8]
    items = pd.concat(
        make_items({"qa": mean}, n=20, noise=0.05, seed=1).assign(seed=seed)
        for seed, mean in enumerate(means)
    )
    table = null_table(items, ["qa"])
    table["estimate"] = table["estimate"].round(6)
    pairs = table[table["n_seeds"] == 1]
    halves = table[table["n_seeds"] == 2]
    assert len(pairs) == 6 * 3
    assert len(split_significant(pairs)[0]) == len(pairs)
    assert halves["first"].unique().tolist() == ["0+1", "0+2", "0+3"]
    assert halves["second"].unique().tolist() == ["2+3", "1+3", "1+2"]
    assert halves["estimate"].tolist() == pytest.approx([0.0] * 3 + [-0.7] * 3 + [-0.1] * 3)
    assert split_significant(halves[halves["first"] == "0+1"])[0].empty


def test_sets_of_seeds_share_none_and_come_once():
    assert pair_sets([1, 2, 3], 1) == [((1,), (2,)), ((1,), (3,)), ((2,), (3,))]
    assert len(pair_sets(range(5), 2)) == 15
    assert len(pair_sets(range(6), 3)) == 10
    assert pair_sets([1], 0) == []


def test_more_seeds_keep_the_gain_and_lose_the_false_alarms():
    tuned = [0.6, 0.9, 0.7, 0.8]
    items = pd.concat(
        make_items({"base": 0.1, "qa": mean}, n=20, noise=0.05).assign(seed=seed)
        for seed, mean in enumerate(tuned)
    )
    table = count_gains_and_false_alarms(items, ["qa"])
    assert table["n_seeds"].tolist() == [1, 1, 2, 4]
    assert table["covers"].tolist() == ["items", SPREAD, *["items and seeds"] * 2]
    table = table.set_index(["n_seeds", "covers"])
    assert table["seed_choices"].tolist() == [4, 4, 6, 1]
    assert table["null_runs"].tolist() == [6, 6, 3, 0]
    assert (table["gains_tested"] == 3).all()
    assert table["gains"].iloc[[0, 3]].tolist() == [3, 3]
    assert table["false_alarms"].iloc[0] == 3
    assert table["family_error_rate"].iloc[0] == 1
    assert table["false_alarms"].loc[1, SPREAD] == 0
    assert table["false_alarms"].loc[2].item() < 3
    assert table["false_alarms"].isna().iloc[3]


def test_the_spread_of_other_seeds_keeps_large_gains():
    tuned = [0.88, 0.9, 0.86, 0.89, 0.91, 0.87]
    items = pd.concat(
        make_items({"base": 0.1, "qa": mean}, n=20, noise=0.05).assign(seed=seed)
        for seed, mean in enumerate(tuned)
    )
    table = count_gains_and_false_alarms(items, ["qa"]).set_index("covers")
    assert table.loc[SPREAD, "gains"] == 3
    assert table.loc[SPREAD, "false_alarms"] == 0
    assert table.loc["items", "false_alarms"] > 0


def test_the_spread_of_a_recipe_stands_beside_its_gain():
    models = pd.DataFrame(
        [
            ("", 0, 0.0, "base", 0, 3.0, 2.0),
            ("random", 8, 0.001, "qa", 1, 2.0, 2.0),
            ("random", 8, 0.001, "qa", 2, 2.2, 2.0),
            ("random", 8, 0.001, "qa+ie", 1, 2.0, 1.0),
            ("random", 8, 0.001, "qa+ie", 2, 2.0, 2.0),
            ("random", 4, 0.001, "qa", 1, 2.0, 2.0),
        ],
        columns=[
            *("batching", "batch_size", "learning_rate", "cell", "seed"),
            *("qa_loss_mean_of_rows", "ie_loss_mean_of_rows"),
        ],
    )
    table = spread_by_recipe(models).set_index("trained_on")
    assert (table["batch_size"] == 8).all()  # one seed has no spread
    assert table.loc["qa", ["n_seeds", "gain", "spread"]].tolist() == pytest.approx([2, 0.9, 0.02**0.5])
    assert table.loc["qa+ie", ["gain", "spread"]].tolist() == pytest.approx([0.75, 0.125**0.5])
    assert table.loc["qa", "spread_over_gain"] == pytest.approx(0.02**0.5 / 0.9)


def test_seeds_that_agree_give_no_false_alarm():
    items = make_items({"qa": 0.5}, n=20, noise=0.1)
    table = null_table(pd.concat([items.assign(seed=seed) for seed in (1, 2)]), ["qa"])
    assert len(table) == 3
    assert (table["p_holm"] == 1).all()


def test_a_mixture_against_itself_gives_false_alarms_unless_the_singles_spread_is_counted():
    def seeds_of(cell, means):
        return pd.concat(
            make_items({cell: mean}, n=20, noise=0.05).assign(seed=seed) for seed, mean in enumerate(means)
        )

    mixtures = pd.concat([seeds_of("qa+ie", [0.6, 0.65, 0.7]), seeds_of("qa+gen", [0.5, 0.5, 0.55])])
    singles = pd.concat(
        [seeds_of("base", [0.1] * 5), seeds_of("qa", [0.6, 0.7, 0.5, 0.8, 0.6]), seeds_of("ie", [0.5] * 5)]
    )
    table = rate_alarms_of_mixtures(mixtures, ["qa+ie", "qa+gen"], singles).set_index("covers")
    assert table["tests"].tolist() == [6, 6]
    assert table["null_runs"].tolist() == [3, 3]
    assert table["family_error_rate"].tolist() == [1, 0]
    assert table["false_alarms"].tolist() == pytest.approx([(3 + 6 + 6) / 3, 0])
