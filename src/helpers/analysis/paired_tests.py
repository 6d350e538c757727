"""Paired tests of models on the same items, task by task: McNemar's, permutation and t tests."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from helpers.analysis.contrasts import contrast, find_category, is_known, stack_scores
from helpers.analysis.hypotheses import correct_holm, mcnemar_p
from helpers.analysis.intervals import ROUNDING, crossed_variance, t_test_p
from helpers.evaluation.tasks import find_task

if TYPE_CHECKING:
    import pandas as pd

N_PERMUTATIONS = 9999
PERMUTATION_SEED = 11


def compare_models(items: pd.DataFrame, baseline: str, cells: Iterable[str] | None = None) -> pd.DataFrame:
    """Compare models with a baseline, item by item, one training seed at a time.

    Args:
        items: rows with cell, task, item and score, and perhaps seed and cluster.
        baseline: the cell that the others are compared with.
        cells: which others; None for all.

    Returns:
        seed (where items have one), cell, task, category, estimate (difference of means), low, high, n, won
        and lost (items, or clusters, on which the cell scores higher and lower than the baseline), test, p
        (two-sided), p_holm (Holm's correction, 1979, over all rows of a seed) and p_t (of the paired t test,
        uncorrected as in the paper; empty where all items differ by the same).
    """
    import pandas as pd

    others = list(cells or (cell for cell in dict.fromkeys(items["cell"]) if cell != baseline))
    if "seed" not in items:
        return _compare_tasks(items, baseline, others)
    tables = (
        _compare_tasks(group, baseline, others).assign(seed=seed) for seed, group in items.groupby("seed")
    )
    table = pd.concat(tables, ignore_index=True)
    return table[["seed", *table.columns.drop("seed")]]


def _compare_tasks(items: pd.DataFrame, baseline: str, others: Sequence[str]) -> pd.DataFrame:
    import pandas as pd

    rows = []
    for task, group in items.groupby("task", sort=False):
        for cell in others:
            base, own = stack_scores(group, [baseline, cell])[task][:, 0]
            found = contrast(group, {cell: 1, baseline: -1})
            right_or_wrong = bool(np.isin([base, own], (0, 1)).all())
            test, p = compare_pairs(
                own, base, is_known(task) and find_task(task).is_choice and right_or_wrong
            )
            row = {"cell": cell, "task": task, "category": find_category(task, group)} | {
                name: found[name] for name in ("estimate", "low", "high", "n")
            }
            rows.append(
                row
                | {
                    "won": int((own > base).sum()),
                    "lost": int((own < base).sum()),
                    "test": test,
                    "p": p,
                    "p_t": compute_paired_t(own, base),
                }
            )
    table = pd.DataFrame(rows)
    table.insert(table.columns.get_loc("p") + 1, "p_holm", correct_holm(table["p"]))
    return table


def compute_paired_t(scores: np.ndarray, others: np.ndarray) -> float:
    """Return the two-sided p of the paired t test: 1 where the models score alike on every item, empty where
    they differ by the same on all, since there is no t then.
    """
    differences = (scores - others)[None]
    if np.ptp(differences) < ROUNDING:
        return 1.0 if abs(differences.mean()) < ROUNDING else np.nan
    return float(t_test_p(differences.mean(), *crossed_variance([differences])))


def compare_pairs(scores: np.ndarray, others: np.ndarray, right_or_wrong: bool) -> tuple[str, float]:
    """Test whether two models differ on the same items: McNemar's exact test of right and wrong, or a
    sign-flip permutation test of the mean difference.

    Args:
        scores: of one model, shape (n,).
        others: of the other model on the same items, shape (n,).
        right_or_wrong: whether every score is 1 or 0.

    Returns:
        Name of the test and two-sided p value.
    """
    from scipy.stats import permutation_test

    if right_or_wrong:
        return "McNemar", mcnemar_p(int((scores > others).sum()), int((scores < others).sum()))
    flips = permutation_test(
        (scores - others,),
        lambda sample, axis: sample.mean(axis=axis),
        permutation_type="samples",
        n_resamples=N_PERMUTATIONS,
        rng=np.random.default_rng(PERMUTATION_SEED),
    )
    return "permutation", float(flips.pvalue)
