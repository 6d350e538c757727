"""The classroom question: would you have concluded the same from one seed, or from other items?

A share of draws is how sure one may be of a winner or a sign, given the items and seeds seen. With one seed
it covers other items alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from helpers.analysis.contrasts import keep_ablation_tasks, list_cells, stack_scores
from helpers.analysis.intervals import N_RESAMPLES, RESAMPLING_SEED, ROUNDING

if TYPE_CHECKING:
    import pandas as pd


def winner_table(items: pd.DataFrame, cells: Sequence[str]) -> pd.DataFrame:
    """Ask how firmly the best cell on each category of tasks is the best.

    Args:
        items: as `contrasts.contrast` takes them.
        cells: that are compared.

    Returns:
        category, winner (of all seeds together), share_of_draws (of `draw_means`, with the same winner; a
        tie counts in parts), n_seeds_agree (training seeds that each alone have the same winner), n_seeds.
    """
    import pandas as pd

    rows = []
    for category, group in keep_ablation_tasks(items).groupby("category", sort=False):
        stacks = list(stack_scores(group, cells).values())
        by_seed = average_units(stacks)
        winner = int(by_seed.mean(axis=1).argmax())
        rows.append(
            {
                "category": category,
                "winner": cells[winner],
                "share_of_draws": win_probabilities(draw_means(stacks))[winner],
                "n_seeds_agree": int((by_seed.argmax(axis=0) == winner).sum()),
                "n_seeds": by_seed.shape[1],
            }
        )
    return pd.DataFrame(rows)


def average_units(stacks: Sequence[np.ndarray]) -> np.ndarray:
    """Return the mean of each cell under each seed, tasks weighed the same: shape (cells, seeds)."""
    return np.mean([stack.mean(axis=2) for stack in stacks], axis=0)


def draw_means(stacks: Sequence[np.ndarray]) -> np.ndarray:
    """Draw what the mean of each cell might be, given its items and training seeds.

    Items (or clusters) are drawn anew with replacement within each task, the same ones for every cell. Three
    or five seeds drawn with replacement would vary too little: the seed component comes from Student's t with
    seeds - 1 degrees of freedom in its place, the same draw for every cell. Draws of a sum of cells then
    spread as Behrens and Fisher's distribution (Fisher, 1935), which is a little wide: it counts what neither
    seeds nor items explain twice.

    Args:
        stacks: one array of shape (cells, seeds, units) per task.

    Returns:
        Means, tasks weighed the same: shape (draws, cells).
    """
    random = np.random.default_rng(RESAMPLING_SEED)
    by_seed = average_units(stacks)
    n_cells, n_seeds = by_seed.shape
    total = np.zeros((N_RESAMPLES, n_cells))
    for stack in stacks:
        n_units = stack.shape[2]
        shares = random.multinomial(n_units, [1 / n_units] * n_units, size=N_RESAMPLES) / n_units
        by_unit = stack.mean(axis=1)
        centre = by_unit.mean(axis=1)
        spread = (n_units / max(n_units - 1, 1)) ** 0.5  # drawn units vary less than new ones
        total += centre + spread * (shares @ by_unit.T - centre)
    means = total / len(stacks)
    if n_seeds == 1:
        return means
    strength = random.normal(size=(N_RESAMPLES, n_seeds))
    strength /= (random.chisquare(n_seeds - 1, size=(N_RESAMPLES, 1)) / (n_seeds - 1)) ** 0.5
    return (
        means
        + strength @ (by_seed - by_seed.mean(axis=1, keepdims=True)).T / (n_seeds * (n_seeds - 1)) ** 0.5
    )


def win_probabilities(draws: np.ndarray) -> np.ndarray:
    """Return the share of draws in which each column is the highest; a tie of k columns counts
    1/k for each.
    """
    best = np.isclose(draws, draws.max(axis=1, keepdims=True))
    return (best / best.sum(axis=1, keepdims=True)).mean(axis=0)


def sign_table(items: pd.DataFrame, contrasts: Mapping[str, Mapping[str, float]]) -> pd.DataFrame:
    """Ask of each contrast on each category of tasks how firmly it has its sign.

    Returns:
        contrast, tested_on, estimate, share_of_draws (of `draw_means`, with the same sign, where a draw of
        zero counts one half; empty where the estimate is zero), n_seeds_agree (training seeds that each alone
        give the same sign), n_seeds.
    """
    import pandas as pd

    cells = list_cells(contrasts)
    rows = []
    for category, group in keep_ablation_tasks(items).groupby("category", sort=False):
        stacks = list(stack_scores(group, cells).values())
        draws, by_seed = draw_means(stacks), average_units(stacks)
        for name, weights in contrasts.items():
            vector = np.array([weights.get(cell, 0.0) for cell in cells])
            estimate = float((vector @ by_seed).mean())
            sign, signs = find_sign(estimate), find_sign(draws @ vector)
            share = float(np.where(signs == 0, 0.5, signs == sign).mean()) if sign else np.nan
            agree = int((find_sign(vector @ by_seed) == sign).sum())
            rows.append(
                {
                    "contrast": name,
                    "tested_on": category,
                    "estimate": estimate,
                    "share_of_draws": share,
                    "n_seeds_agree": agree,
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
        return "This run has one training seed, so it cannot say what another would have shown."
    agreed = [
        f"{int((table['n_seeds_agree'] == n_seeds).sum())} of {len(table)} {name}"
        for name, table in tables.items()
    ]
    return (
        f"The {n_seeds} training seeds, each taken alone, all agree with the pooled result on "
        f"{' and '.join(agreed)}."
    )
