"""Estimates with intervals: every comparison is a weighted sum of cells, paired on items.

A contrast such as tuned minus base is formed within each item first, so that items on which both agree add no noise. Its interval comes from a bootstrap that
draws items anew within each task (Efron and Tibshirani, 1993, chapters 8 and 13); several tasks of a category weigh the same whatever their number of items. It
covers the choice of items alone: one training seed says nothing of another.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from helpers.errors import StudyError
from helpers.evaluation.tasks import TASKS
from helpers.grid import BASE

if TYPE_CHECKING:
    import pandas as pd

LEVEL = 0.95
N_RESAMPLES = 2000
RESAMPLING_SEED = 7


def contrast(items: pd.DataFrame, weights: Mapping[str, float]) -> dict[str, float]:
    """Estimate a weighted sum of cells' scores over one or more tasks.

    Args:
        items: rows with cell, task, item and score; every cell must hold the same items.
        weights: weight of each cell, such as {"qa": 1, "base": -1}.

    Returns:
        estimate, low and high (95 % percentile bootstrap) in units of the score, and n, the number of items.

    Raises:
        StudyError: a cell is missing, or cells differ in their items.
    """
    from scipy.stats import bootstrap

    table = items.pivot(index=["task", "item"], columns="cell", values="score")
    missing = [cell for cell in weights if cell not in table]
    if missing or table[list(weights)].isna().any(axis=None):
        raise StudyError(f"Cells {tuple(weights)} must hold the same items, but {missing or 'some of them'} lack some. Evaluate them with the same settings.")
    differences = sum(weight * table[cell] for cell, weight in weights.items())
    samples = [group.to_numpy() for _, group in differences.groupby(level="task")]

    def mean_of_tasks(*tasks: np.ndarray, axis: int = -1) -> np.ndarray:
        return np.mean([task.mean(axis=axis) for task in tasks], axis=0)

    interval = bootstrap(
        samples, mean_of_tasks, n_resamples=N_RESAMPLES, confidence_level=LEVEL, method="percentile", rng=np.random.default_rng(RESAMPLING_SEED)
    ).confidence_interval
    return {"estimate": float(mean_of_tasks(*samples)), "low": float(interval.low), "high": float(interval.high), "n": len(differences)}


def score_tasks(items: pd.DataFrame) -> pd.DataFrame:
    """Return the mean score of every cell on every task: cell, task, category, metric, estimate, low, high, n, unparsed (share)."""
    import pandas as pd

    rows = []
    for (task, cell), group in items.groupby(["task", "cell"], sort=False):
        unparsed = 1 - group["parsed"].mean()
        rows.append(
            {"cell": cell, "task": task, "category": TASKS[task].category, "metric": TASKS[task].metric} | contrast(group, {cell: 1}) | {"unparsed": unparsed}
        )
    return pd.DataFrame(rows)


def gain_by_task(items: pd.DataFrame, cells: list[str]) -> pd.DataFrame:
    """Return the gain over the base model of each cell on each task: cell, task, category, estimate, low, high, n."""
    import pandas as pd

    return pd.DataFrame(
        {"cell": cell, "task": task, "category": TASKS[task].category} | contrast(group, {cell: 1, BASE: -1})
        for task, group in items.groupby("task", sort=False)
        for cell in cells
    )


def contrast_by_category(items: pd.DataFrame, contrasts: Mapping[str, Mapping[str, float]]) -> pd.DataFrame:
    """Return each contrast on each category of tasks, sentence pairs left out as in the paper's ablation: contrast, category, estimate, low, high, n.

    Args:
        items: rows as of `grid.collect_items`.
        contrasts: weights of cells by the name of the contrast.
    """
    import pandas as pd

    ablation = items[items["task"].map(lambda task: TASKS[task].in_ablation)]
    return pd.DataFrame(
        {"contrast": name, "category": category} | contrast(group, weights)
        for name, weights in contrasts.items()
        for category, group in ablation.groupby("category", sort=False)
    )
