"""Seed variance pooled over cells."""

import numpy as np
import pandas as pd
import pytest
from known_scores import make_seeds
from scipy.stats import t

from helpers.analysis.sensitivity import pool_seeds

GAINS = {cell: {cell: 1.0, "base": -1.0} for cell in ("qa", "ie")}


def make_constant(gains):
    """Return items that all score alike under a seed, with the given gain over a base of 0.5."""
    rows = [
        {
            "cell": cell,
            "seed": seed,
            "task": "exam_choice",
            "category": "qa",
            "item": item,
            "score": 0.5 + gain,
        }
        for cell, by_seed in gains.items()
        for seed, gain in enumerate(by_seed)
        for item in range(12)
    ]
    return pd.DataFrame(rows)


def test_without_an_effect_of_items_the_interval_is_that_of_the_mean_variance_of_all_tuned_cells():
    gains = {"base": [0.0, 0.0, 0.0], "qa": [0.1, 0.2, 0.3], "ie": [0.1, 0.1, 0.7]}
    table = pool_seeds(make_constant(gains), GAINS).set_index("contrast")
    pooled = np.mean([np.var(gains[cell], ddof=1) for cell in GAINS])
    expected = t.interval(0.95, 4, 0.2, (pooled / 3) ** 0.5)
    assert table.loc["qa", ["low_pooled", "high_pooled"]].tolist() == pytest.approx(expected)
    assert table.loc["qa", "p_pooled"] == pytest.approx(2 * t.sf(0.2 / (pooled / 3) ** 0.5, 4))


def test_equal_spread_gives_narrower_intervals_than_each_contrasts_own_seeds():
    table = pool_seeds(make_seeds(n_seeds=3, cells=("base", "qa", "ie")), GAINS)
    assert ((table["high_pooled"] - table["low_pooled"]) < (table["high"] - table["low"])).any()


def test_one_seed_has_nothing_to_pool():
    table = pool_seeds(make_seeds(n_seeds=1, cells=("base", "qa", "ie")), GAINS)
    assert table[["low_pooled", "high_pooled", "p_pooled"]].isna().all(axis=None)
    assert table["p"].notna().all()
