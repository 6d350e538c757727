"""Shapley values and interaction indices, against shapiq and against what they must sum to."""

import numpy as np
import pytest
from known_scores import MEANS, make_items

from helpers.analysis.games import (
    explain_pair,
    interaction_index_table,
    interaction_table,
    interaction_weights,
    list_subsets,
    pair_weights,
    shapley_table,
    shapley_weights,
)
from helpers.study.grid import name_subset

PLAYERS = ("qa", "ie", "gen", "other")


def make_game(n):
    """Return random values of every subset of the first n players."""
    random = np.random.default_rng(n)
    return {name_subset(subset): float(random.normal()) for subset in list_subsets(PLAYERS[:n])}


def combine(weights, values):
    return sum(weight * values[cell] for cell, weight in weights.items())


@pytest.mark.parametrize("n", [2, 3, 4])
@pytest.mark.parametrize(("index", "order"), [("SV", 1), ("SII", 4)])
def test_every_index_is_that_of_shapiq(n, index, order):
    from shapiq.game_theory.exact import ExactComputer

    values, players = make_game(n), PLAYERS[:n]

    def game(coalitions):
        return np.array(
            [
                values[name_subset(player for player, joins in zip(players, row, strict=True) if joins)]
                for row in coalitions
            ]
        )

    computed = ExactComputer(game, n_players=n)(index, order=min(order, n))
    for group in list_subsets(range(n)):
        if 1 <= len(group) <= order:
            ours = combine(interaction_weights(players, [players[i] for i in group]), values)
            assert ours == pytest.approx(computed[group], abs=1e-12)


def test_shapley_values_share_out_the_gain_of_the_full_mixture():
    values = make_game(4)
    total = sum(combine(shapley_weights(PLAYERS, player), values) for player in PLAYERS)
    assert total == pytest.approx(values[name_subset(PLAYERS)] - values["base"], abs=1e-12)


def test_the_interaction_of_a_pair_is_zero_where_gains_add_up():
    values = {"base": 0.2, "qa": 0.5, "ie": 0.3, "qa+ie": 0.6}
    assert combine(pair_weights("qa", "ie"), values) == pytest.approx(0.0, abs=1e-12)
    assert pair_weights("ie", "qa") == {"base": 1.0, "ie": -1.0, "qa": -1.0, "qa+ie": 1.0}


def test_a_category_that_changes_nothing_gets_no_credit():
    values = make_game(2)
    flat = values | {
        name_subset((*name.split("+"), "gen") if name != "base" else ("gen",)): value
        for name, value in values.items()
    }
    assert combine(shapley_weights(PLAYERS[:3], "gen"), flat) == pytest.approx(0.0, abs=1e-12)


def test_the_tables_hold_one_row_a_group_and_category_of_tasks():
    items = make_items(MEANS)
    shares = shapley_table(items)
    assert len(shares) == 9
    assert shares[shares["tested_on"] == "qa"]["estimate"].sum() == pytest.approx(0.5 - 0.1)
    pairs = interaction_table(items).set_index(["contrast", "tested_on"])["estimate"]
    assert pairs["qa+ie", "qa"] == pytest.approx(0.6 - 0.5 - 0.3 + 0.1)
    assert list(interaction_index_table(items)["contrast"].unique()) == [
        "qa+ie",
        "qa+gen",
        "ie+gen",
        "qa+ie+gen",
    ]


def test_a_pair_can_beat_the_mean_of_its_parts_and_stay_below_their_sum():
    values = explain_pair({"qa": 0.5, "gen": 0.25, "qa+gen": 0.5}).set_index("quantity")["estimate"]
    assert list(values["part"]) == [0.5, 0.25]
    assert values[["mean", "pair", "sum"]].tolist() == [0.375, 0.5, 0.75]
    assert values[["synergy", "interaction"]].tolist() == [0.125, -0.25]
