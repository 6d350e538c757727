"""What can be found before one looks, and tests of a whole family of comparisons."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

import numpy as np

from helpers.analysis.statistics import ROUNDING, exclude_zero, keep_ablation, stack_scores
from helpers.records import BASE

if TYPE_CHECKING:
    import pandas as pd

ALPHA = 0.05
POWER = 0.8
CORRELATION = 0.5


def detectable_effects(items: pd.DataFrame, contrasts: Mapping[str, Mapping[str, float]]) -> pd.DataFrame:
    """Return the smallest true effect that a t test would find with a power of 80 %, judged from the base
    model before any tuned one is looked at.

    The standard deviation of a contrast within items is not known yet. It is taken from the base model's
    scores, supposing that every cell's scores spread like these and that those of two cells correlate by one
    half: sd(sum of w v) = sd(base) * sqrt((1 - correlation) * sum of w^2) for weights that sum to zero. One
    training seed is supposed; a spread between seeds makes the effect larger. Source: power of the paired t
    test (statsmodels, `TTestPower`), tasks of a category weighed the same.

    Args:
        items: rows of the base model, at least.
        contrasts: weights of cells by the name of the contrast; each sums to zero.

    Returns:
        contrast, category, n (items), detectable (units of the score; empty where the base model scores alike
        on every item).
    """
    import pandas as pd
    from statsmodels.stats.power import TTestPower

    rows = []
    for name, weights in contrasts.items():
        factor = np.sqrt((1 - CORRELATION) * sum(weight**2 for weight in weights.values()))
        for category, group in keep_ablation(items).groupby("category", sort=False):
            scores = [stack[0, 0] for stack in stack_scores(group, [BASE]).values()]
            n = sum(map(len, scores))
            error = factor * np.sqrt(sum(task.var(ddof=1) / len(task) for task in scores)) / len(scores)
            effect = (
                TTestPower().solve_power(nobs=n, alpha=ALPHA, power=POWER) if error > ROUNDING else np.nan
            )
            rows.append(
                {
                    "contrast": name,
                    "category": category,
                    "n": n,
                    "detectable": float(effect * error * np.sqrt(n)),
                }
            )
    return pd.DataFrame(rows)


def mcnemar_p(won: int, lost: int) -> float:
    """Return the two-sided p-value of McNemar's exact test (1947) from the items that one model alone gets
    right, and those that the other alone does.
    """
    from statsmodels.stats.contingency_tables import mcnemar

    return float(mcnemar([[0, won], [lost, 0]], exact=True).pvalue)


def correct_holm(p: Iterable[float]) -> np.ndarray:
    """Return p-values corrected for their number by Holm's step-down method (1979)."""
    from statsmodels.stats.multitest import multipletests

    return multipletests(list(p), alpha=ALPHA, method="holm")[1]


def add_holm(table: pd.DataFrame) -> pd.DataFrame:
    """Return a table of contrasts with `p_holm`: `p` corrected for the number of its rows, the family."""
    table = table.copy()
    table.insert(table.columns.get_loc("p") + 1, "p_holm", correct_holm(table["p"]))
    return table


def split_clear(table: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the rows of a corrected table that hold (`p_holm` below 0.05 and an interval without zero), and
    the others.
    """
    holds = (table["p_holm"] < ALPHA) & exclude_zero(table)
    return table[holds], table[~holds]
