"""Which tasks and endpoints decide anything: how far cells lie apart, against how far seeds and items move
one cell (Heineman et al., 2025, "Signal and Noise").

An endpoint is a table of items whose column `score` holds it. Everything here is a ratio or a rank, so
endpoints of different units stand beside each other.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from helpers.analysis.contrasts import find_category, keep_ablation_tasks, stack_scores
from helpers.analysis.intervals import ROUNDING
from helpers.records import BASE

if TYPE_CHECKING:
    import pandas as pd

ALL = "all"  # the mean over the tasks of a category
RATIOS = {"seeds": "signal_to_seeds", "items": "signal_to_items"}


def signal_table(endpoints: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """Return signal and noise of each endpoint on each task, over the tuned cells.

    The signal is the standard deviation between cells of their means over items and seeds. The noise is what
    moves one such mean beside the others: that of the seeds is the standard deviation between seeds, that of
    the items the standard error over items of a cell's difference from the mean of all cells, since all
    answer the same items. Noise spreads the cells too: cells without any difference show a ratio to the items
    near 1, and to the seeds, whose mean a cell is, near 1 over the root of their number.

    Args:
        endpoints: items by the name of the endpoint.

    Returns:
        endpoint, task, category, n_cells, n_seeds, n (items or clusters), signal, range (highest minus lowest
        cell), noise_seeds, noise_items (units of the endpoint), signal_to_seeds and signal_to_items. Without
        several seeds or cells, or where there is no noise, the ratio is empty.
    """
    import pandas as pd

    rows = []
    for endpoint, items in endpoints.items():
        tuned = items[items["cell"] != BASE]
        for task, group in tuned.groupby("task", sort=False):
            cells = list(dict.fromkeys(group["cell"]))
            about = {"endpoint": endpoint, "task": task, "category": find_category(task, group)}
            rows.append(about | measure_signal(stack_scores(group, cells)[task]))
    return pd.DataFrame(rows)


def measure_signal(stack: np.ndarray) -> dict[str, float]:
    """Return signal and noise of one task, from scores of shape (cells, seeds, units)."""
    n_cells, n_seeds, n_units = stack.shape
    means = stack.mean(axis=(1, 2))
    signal = float(means.std(ddof=1)) if n_cells > 1 else np.nan
    between = stack.mean(axis=2).var(axis=1, ddof=1).mean() if n_seeds > 1 else np.nan
    by_unit = stack.mean(axis=1)
    apart = by_unit - by_unit.mean(axis=0)  # variance of a difference from the mean: short by 1 / cells
    within = apart.var(axis=1, ddof=1).mean() / n_units * n_cells / (n_cells - 1) if n_cells > 1 else np.nan
    noise = {"seeds": float(between) ** 0.5, "items": float(within) ** 0.5}
    return (
        {"n_cells": n_cells, "n_seeds": n_seeds, "n": n_units}
        | {"signal": signal, "range": float(np.ptp(means))}
        | {f"noise_{name}": value for name, value in noise.items()}
        | {RATIOS[name]: signal / value if value > ROUNDING else np.nan for name, value in noise.items()}
    )


def list_ratios(table: pd.DataFrame) -> pd.DataFrame:
    """Return a table of `signal_table` in long form for a figure, one row per ratio: endpoint, task,
    category, against ('seeds' or 'items'), ratio; empty ratios are left out.
    """
    names = {column: name for name, column in RATIOS.items()}
    long = table.rename(columns=names).melt(
        ["endpoint", "task", "category"], list(RATIOS), var_name="against", value_name="ratio"
    )
    return long.dropna(subset=["ratio"]).reset_index(drop=True)


def rank_correlation_table(endpoints: Mapping[str, pd.DataFrame], scores: pd.DataFrame) -> pd.DataFrame:
    """Return how well the order of the cells by an endpoint predicts their order by score: Spearman's rank
    correlation over the cells that both have, base model and controls too.

    A lattice has eight cells: a correlation below 0.74 in size is not surprising where there is none (5 % of
    two-sided tests).

    Args:
        endpoints: items by the name of the endpoint.
        scores: items whose score is to be predicted.

    Returns:
        endpoint, category, task, n_cells, rho (empty where an endpoint or the scores are the same for all
        cells). Rows with task 'all' compare means over the tasks of a category, so held-out rows of a
        category predict its tasks; the others compare the same task.
    """
    import pandas as pd

    rows = []
    target = average_cells(keep_ablation_tasks(scores))
    for endpoint, items in endpoints.items():
        found = average_cells(keep_ablation_tasks(items))
        for category, task in found.columns.intersection(target.columns, sort=False):
            both = pd.concat([table[category, task] for table in (found, target)], axis=1).dropna()
            about = {"endpoint": endpoint, "category": category, "task": task, "n_cells": len(both)}
            rows.append(about | {"rho": correlate_ranks(both.iloc[:, 0], both.iloc[:, 1])})
    return pd.DataFrame(rows, columns=["endpoint", "category", "task", "n_cells", "rho"])


def average_cells(items: pd.DataFrame) -> pd.DataFrame:
    """Return the mean score of each cell (row), over items and seeds, on each pair of category and task
    (column), and as task 'all' over the tasks of a category, which weigh the same.
    """
    import pandas as pd

    by_task = items.groupby(["category", "task", "cell"], sort=False)["score"].mean()
    by_category = by_task.groupby(level=["category", "cell"], sort=False).mean()
    every = pd.concat({ALL: by_category}, names=["task"]).reorder_levels(["category", "task", "cell"])
    return pd.concat([every, by_task]).unstack("cell", sort=False).T


def correlate_ranks(first: pd.Series, second: pd.Series) -> float:
    """Return Spearman's rank correlation, empty for fewer than three pairs or where either does not vary."""
    from scipy.stats import spearmanr

    if len(first) < 3 or np.ptp(first) < ROUNDING or np.ptp(second) < ROUNDING:
        return np.nan
    return float(spearmanr(first, second).statistic)
