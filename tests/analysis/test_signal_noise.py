"""Signal, noise and forecasts, on scores whose spreads are known."""

import numpy as np
import pandas as pd
import pytest
from known_scores import make_items

from helpers.analysis.signal_noise import list_ratios, measure_signal, rank_correlation_table, signal_table


def test_signal_and_noise_are_the_spreads_that_the_scores_were_made_with():
    random = np.random.default_rng(1)
    cells, seeds, items = 60, 4, 400
    stack = (
        random.normal(0, 1.0, (cells, 1, 1))
        + random.normal(0, 0.5, (cells, seeds, 1))
        + random.normal(0, 2.0, (1, 1, items))  # what all cells share is no noise
        + random.normal(0, 3.0, (cells, 1, items))
    )
    found = measure_signal(stack)
    assert found["noise_seeds"] == pytest.approx(0.5, rel=0.1)
    assert found["noise_items"] == pytest.approx(3 / items**0.5, rel=0.05)
    assert found["signal"] == pytest.approx((1 + 0.5**2 / seeds + 9 / items) ** 0.5, rel=0.2)
    assert found["signal_to_seeds"] == pytest.approx(found["signal"] / found["noise_seeds"])


def test_cells_without_differences_show_a_ratio_to_items_near_one():
    ratios = [
        measure_signal(np.random.default_rng(seed).normal(size=(8, 1, 30)))["signal_to_items"]
        for seed in range(60)
    ]
    assert np.mean(ratios) == pytest.approx(1, abs=0.1)


def test_one_seed_leaves_the_ratio_to_seeds_empty_and_the_figure_leaves_it_out():
    items = make_items({"base": 0.9, "qa": 0.2, "ie": 0.4}, noise=0.1)
    items["score"] += np.random.default_rng(0).normal(0, 0.1, len(items))
    table = signal_table({"score": items, "loss": items.assign(score=-3 * items["score"])})
    assert (table["n_cells"] == 2).all()  # the base model is no cell of the study's
    assert table["signal_to_seeds"].isna().all()
    long = list_ratios(table)
    assert set(long["against"]) == {"items"}
    by_task = long.pivot(index="task", columns="endpoint", values="ratio")
    assert by_task["loss"].to_numpy() == pytest.approx(by_task["score"].to_numpy())


def test_a_loss_that_orders_cells_as_the_scores_do_predicts_them():
    scores = make_items({"base": 0.1, "qa": 0.4, "ie": 0.3, "gen": 0.2})
    held_out = scores.assign(task="held_out_" + scores["category"], score=2 - scores["score"])
    table = rank_correlation_table(
        {"loss": scores.assign(score=-scores["score"]), "held out": held_out}, scores
    )
    assert table["rho"].to_numpy() == pytest.approx(-1)
    every = table[table["task"] == "all"]
    assert every.groupby("endpoint")["category"].apply(list).to_dict() == {
        "held out": ["qa", "ie", "gen"],
        "loss": ["qa", "ie", "gen"],
    }
    assert "exam_choice" in set(table.loc[table["endpoint"] == "loss", "task"])


def test_nothing_is_predicted_where_scores_do_not_differ():
    flat = make_items({"base": 0.1, "qa": 0.1, "ie": 0.1})
    ordered = make_items({"base": 0.1, "qa": 0.2, "ie": 0.3})
    assert pd.isna(rank_correlation_table({"loss": ordered}, flat)["rho"]).all()
