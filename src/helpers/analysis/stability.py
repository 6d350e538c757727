"""The classroom question: would you have concluded the same from one seed, or from other items?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from helpers.analysis.statistics import ROUNDING, draw_means, keep_ablation, stack_scores

if TYPE_CHECKING:
    import pandas as pd


def winner_table(items: pd.DataFrame, cells: Sequence[str]) -> pd.DataFrame:
    """Ask how firmly the best cell on each category of tasks is the best.

    Returns:
        category, winner (of all seeds together), share (of bootstrap draws of items, and of seeds where there
        are several, with the same winner; a tie counts in parts), agree (training seeds that each alone have
        the same winner), n_seeds.
    """
    import pandas as pd

    rows = []
    for category, group in keep_ablation(items).groupby("category", sort=False):
        by_seed = np.mean(
            [stack.mean(axis=2) for stack in stack_scores(group, cells).values()], axis=0
        )  # cells, seeds
        winner = int(by_seed.mean(axis=1).argmax())
        agree = int((by_seed.argmax(axis=0) == winner).sum())
        share = share_best(draw_means(group, cells))[winner]
        rows.append(
            {
                "category": category,
                "winner": cells[winner],
                "share": share,
                "agree": agree,
                "n_seeds": by_seed.shape[1],
            }
        )
    return pd.DataFrame(rows)


def share_best(draws: np.ndarray) -> np.ndarray:
    """Return the share of draws in which each column is the highest; a tie of k columns counts
    1/k for each.
    """
    best = np.isclose(draws, draws.max(axis=1, keepdims=True))
    return (best / best.sum(axis=1, keepdims=True)).mean(axis=0)


def sign_table(items: pd.DataFrame, contrasts: Mapping[str, Mapping[str, float]]) -> pd.DataFrame:
    """Ask of each contrast on each category of tasks how firmly it has its sign.

    Returns:
        contrast, category, estimate, share (of bootstrap draws with the same sign, where a draw of zero
        counts one half; empty where the estimate is zero), agree (training seeds that each alone give the
        same sign), n_seeds.
    """
    import pandas as pd

    rows = []
    for category, group in keep_ablation(items).groupby("category", sort=False):
        cells = list(dict.fromkeys(cell for weights in contrasts.values() for cell in weights))
        draws = draw_means(group, cells)
        by_seed = np.mean([stack.mean(axis=2) for stack in stack_scores(group, cells).values()], axis=0)
        for name, weights in contrasts.items():
            vector = np.array([weights.get(cell, 0.0) for cell in cells])
            estimate = float((vector @ by_seed).mean())
            sign, signs = find_sign(estimate), find_sign(draws @ vector)
            share = float(np.where(signs == 0, 0.5, signs == sign).mean()) if sign else np.nan
            agree = int((find_sign(vector @ by_seed) == sign).sum())
            rows.append(
                {
                    "contrast": name,
                    "category": category,
                    "estimate": estimate,
                    "share": share,
                    "agree": agree,
                    "n_seeds": by_seed.shape[1],
                }
            )
    return pd.DataFrame(rows)


def find_sign(values: np.ndarray | float) -> np.ndarray:
    """Return -1, 0 or 1 for each value; what lies within rounding of zero has no sign."""
    return np.sign(np.where(np.abs(values) < ROUNDING, 0.0, values))


def describe_seeds(**tables: pd.DataFrame) -> str:
    """Return what tables of winners or signs, given by the name of what they hold, say of the training seeds:
    a sentence for the prose.
    """
    n_seeds = int(next(iter(tables.values()))["n_seeds"].iloc[0])
    if n_seeds == 1:
        return "This run has one training seed, so that it cannot say what another would have shown."
    agreed = [
        f"{int((table['agree'] == n_seeds).sum())} of {len(table)} {name}" for name, table in tables.items()
    ]
    return (
        f"The {n_seeds} training seeds, each taken alone, all agree with the pooled result on "
        f"{' and '.join(agreed)}."
    )
