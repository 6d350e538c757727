"""Estimates with intervals: every comparison is a weighted sum of cells, paired on items and on training
seeds.

A contrast such as tuned minus base is formed within each item and seed first, so that items on which both
agree add no noise; several tasks of a category weigh the same whatever their number of items. Items may carry
a `cluster`, such as the document that they come from: then clusters are drawn in their place.

With one training seed the interval is a percentile bootstrap over the items of each task (Efron and
Tibshirani, 1993, chapters 8 and 13). It says nothing of another seed. With several, seeds and items are both
drawn. All seeds answer the same items, so that the two draws cross, and the variance of a mean has three
parts: seeds, items, and the remainder (Owen, 2007). For a weighted mean the bootstrap's variance over
infinitely many draws has a closed form, which `pool_variance` uses with each part counted once; a few seeds
give no percentiles worth the name, so that the interval reaches as far as Student's t with Satterthwaite's
degrees of freedom says. What is no weighted mean, such as the better of two cells, takes its percentiles from
`draw_means`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from helpers.errors import StudyError
from helpers.evaluation.tasks import find_task
from helpers.records import BASE

if TYPE_CHECKING:
    import pandas as pd

LEVEL = 0.95
N_RESAMPLES = 2000
RESAMPLING_SEED = 7
ROUNDING = 1e-9  # scores nearer than this are alike


def count_seeds(items: pd.DataFrame) -> int:
    """Return the number of training seeds of a table; without a column `seed` there is one."""
    return items["seed"].nunique() if "seed" in items else 1


def describe_interval(items: pd.DataFrame) -> str:
    """Return what the intervals of a table cover, as words for a caption."""
    if count_seeds(items) > 1:
        return f"over the items and {count_seeds(items)} training seeds"
    return "over the items alone (one training seed)"


def stack_scores(items: pd.DataFrame, cells: Sequence[str]) -> dict[str, np.ndarray]:
    """Return the scores of each task as an array of shape (cells, seeds, units), where units are items or, if
    there are any, clusters.

    The value of a cluster is chosen so that the mean over clusters is the mean over items: task mean plus the
    cluster's summed deviation from it, times clusters over items.

    Args:
        items: rows with cell, task, item and score, and perhaps seed and cluster.
        cells: the cells wanted, in this order.

    Raises:
        StudyError: a cell is missing, or cells or seeds differ in their items.
    """
    import pandas as pd

    wanted = items[items["cell"].isin(cells)]
    wanted = wanted if "seed" in wanted else wanted.assign(seed=0)
    table = wanted.pivot(index=["task", "item"], columns=["cell", "seed"], values="score")
    columns = pd.MultiIndex.from_product([list(cells), sorted(wanted["seed"].unique())])
    missing = [cell for cell in cells if cell not in table.columns.get_level_values("cell")]
    if missing or not columns.isin(table.columns).all() or table[columns].isna().any(axis=None):
        raise StudyError(
            f"Cells {tuple(cells)} must hold the same items, but {missing or 'some of them'} lack some. "
            "Evaluate them with the same settings."
        )
    clusters = (
        wanted.drop_duplicates(["task", "item"]).set_index(["task", "item"])["cluster"]
        if "cluster" in wanted
        else None
    )
    stacks = {}
    for task, group in table[columns].groupby(level="task", sort=False):
        if clusters is not None:
            sums = (group - group.mean()).groupby(clusters.loc[group.index].to_numpy()).sum()
            group = group.mean() + sums * len(sums) / len(group)  # noqa: PLW2901
        stacks[task] = group.to_numpy().T.reshape(len(cells), -1, len(group))
    return stacks


def contrast(items: pd.DataFrame, weights: Mapping[str, float]) -> dict[str, float]:
    """Estimate a weighted sum of cells' scores over one or more tasks.

    Args:
        items: rows with cell, task, item and score, and perhaps seed and cluster; every cell must hold the
            same items under the same seeds.
        weights: weight of each cell, such as {"qa": 1, "base": -1}.

    Returns:
        estimate, low and high (95 % interval, see above) in units of the score; p, two-sided, of Student's t
        test that the sum is zero, paired on items; n, the number of items, and n_seeds.

    Raises:
        StudyError: a cell is missing, or cells differ in their items.
    """
    stacks = stack_scores(items, list(weights))
    samples = [np.tensordot(list(weights.values()), stack, axes=1) for stack in stacks.values()]
    estimate = float(np.mean([sample.mean() for sample in samples]))
    variance, freedom = pool_variance(samples)
    low, high = bootstrap_items(samples) if len(samples[0]) == 1 else t_interval(estimate, variance, freedom)
    n = items.loc[items["cell"] == next(iter(weights)), ["task", "item"]].drop_duplicates().shape[0]
    p = compute_p(estimate, variance, freedom, sum(sample.shape[1] for sample in samples))
    return {"estimate": estimate, "low": low, "high": high, "p": p, "n": n, "n_seeds": len(samples[0])}


def pool_variance(samples: Sequence[np.ndarray]) -> tuple[float, float]:
    """Return variance and degrees of freedom of the mean of several tasks' means, seeds and items both taken
    as drawn by chance.

    The variance is that of the crossed bootstrap (Owen, 2007) at infinitely many draws, each sum of squares
    over its degrees of freedom and the remainder, which the parts of seeds and items both hold, taken off
    once: V = V_seeds + V_items - V_remainder, the two-way analysis of variance. It is never less than either
    part. Degrees of freedom: Satterthwaite (1946). One seed has no part of seeds.

    Args:
        samples: one array of shape (seeds, units) a task.
    """
    n_seeds, n_tasks = len(samples[0]), len(samples)
    by_item = [sample.mean(axis=0).var(ddof=1) / sample.shape[1] / n_tasks**2 for sample in samples]
    of_items, parts = (
        sum(by_item),
        [(part, sample.shape[1] - 1) for part, sample in zip(by_item, samples, strict=True)],
    )
    of_seeds = remainder = 0.0
    if n_seeds > 1:
        of_seeds = np.mean([sample.mean(axis=1) for sample in samples], axis=0).var(ddof=1) / n_seeds
        parts.append((of_seeds, n_seeds - 1))
        for sample in samples:
            rest = sample - sample.mean(axis=0) - sample.mean(axis=1, keepdims=True) + sample.mean()
            remainder += (rest**2).sum() / ((n_seeds - 1) * (sample.shape[1] - 1)) / sample.size / n_tasks**2
    spread = sum(part**2 / freedom for part, freedom in parts)
    variance = max(of_seeds + of_items - remainder, of_seeds, of_items)
    return float(variance), float(variance**2 / spread) if spread else float("inf")


def bootstrap_items(samples: Sequence[np.ndarray]) -> tuple[float, float]:
    """Return the percentile interval of the mean of tasks' means under one seed, units drawn anew within each
    task.
    """
    from scipy.stats import bootstrap

    def mean_of_tasks(*tasks: np.ndarray, axis: int = -1) -> np.ndarray:
        return np.mean([task.mean(axis=axis) for task in tasks], axis=0)

    interval = bootstrap(
        [sample[0] for sample in samples],
        mean_of_tasks,
        n_resamples=N_RESAMPLES,
        confidence_level=LEVEL,
        method="percentile",
        rng=np.random.default_rng(RESAMPLING_SEED),
    ).confidence_interval
    return float(interval.low), float(interval.high)


def t_interval(estimate: float, variance: float, freedom: float) -> tuple[float, float]:
    """Return the interval of Student's t about an estimate."""
    from scipy.stats import t

    half = float(t.ppf((1 + LEVEL) / 2, freedom)) * variance**0.5
    return estimate - half, estimate + half


def compute_p(estimate: float, variance: float, freedom: float, n_units: int) -> float:
    """Return the two-sided p of Student's t that the truth is zero.

    Where all units agree there is no variance and no t. Then the test that flips the signs of the units takes
    its place: of the 2^n ways to flip n of them, two are as far from zero, so that p is 2^(1 - n), and 1 for
    an estimate of zero.
    """
    from scipy.stats import t

    if variance < ROUNDING**2:
        return 1.0 if abs(estimate) < ROUNDING else 2.0 ** (1 - n_units)
    return float(2 * t.sf(abs(estimate) / variance**0.5, freedom))


def draw_means(items: pd.DataFrame, cells: Sequence[str]) -> np.ndarray:
    """Draw seeds, and items (or clusters) within each task, anew with replacement, the same ones for every
    cell.

    Seeds and items are drawn apart and crossed, since every seed answers the same items. The percentiles of
    such draws count the remainder three times (Owen, 2007), and so are a little wide; with few seeds they
    lack the width of Student's t. With one seed they are those of `bootstrap_items`.

    Returns:
        The mean score of each cell in each draw, tasks weighed the same: shape (draws, cells).
    """
    random = np.random.default_rng(RESAMPLING_SEED)
    stacks = list(stack_scores(items, cells).values())
    n_seeds = stacks[0].shape[1]
    seed_shares = random.multinomial(n_seeds, [1 / n_seeds] * n_seeds, size=N_RESAMPLES) / n_seeds
    total = np.zeros((N_RESAMPLES, len(cells)))
    for stack in stacks:
        n_units = stack.shape[2]
        unit_shares = random.multinomial(n_units, [1 / n_units] * n_units, size=N_RESAMPLES) / n_units
        by_seed = np.tensordot(unit_shares, stack, axes=(1, 2))  # draws, cells, seeds
        total += (by_seed * seed_shares[:, None, :]).sum(axis=2)
    return total / len(stacks)


def percentiles(draws: np.ndarray) -> dict[str, float]:
    """Return the ends of the percentile interval of some draws: low, high."""
    low, high = np.quantile(draws, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return {"low": float(low), "high": float(high)}


def score_tasks(items: pd.DataFrame) -> pd.DataFrame:
    """Return the mean score of every cell on every task, public ones too: cell, task, category, metric,
    estimate, low, high, n, n_seeds, unparsed (share).

    Intervals end where scores do, at 0 and 1.
    """
    import pandas as pd

    rows = []
    for (task, cell), group in items.groupby(["task", "cell"], sort=False):
        row = contrast(group, {cell: 1})
        row |= {"low": max(row["low"], 0.0), "high": min(row["high"], 1.0)}
        del row["p"]  # whether a score is zero is no question
        about = {
            "cell": cell,
            "task": task,
            "category": find_task(task).category,
            "metric": find_task(task).metric,
        }
        rows.append(about | row | {"unparsed": 1 - group["parsed"].mean()})
    return pd.DataFrame(rows)


def gain_by_task(items: pd.DataFrame, cells: Iterable[str]) -> pd.DataFrame:
    """Return the gain over the base model of each cell on each task: cell, task, category, estimate, low,
    high, p, n, n_seeds.
    """
    import pandas as pd

    return pd.DataFrame(
        {"cell": cell, "task": task, "category": find_task(task).category}
        | contrast(group, {cell: 1, BASE: -1})
        for task, group in items.groupby("task", sort=False)
        for cell in cells
    )


def exclude_zero(table: pd.DataFrame) -> pd.Series:
    """Say of each row whether its interval, `low` to `high`, leaves zero out."""
    return (table["low"] > 0) | (table["high"] < 0)


def keep_ablation(items: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of the ablation's tasks: sentence pairs are left out as in the paper's."""
    return items[items["task"].map(lambda task: find_task(task).in_ablation)]


def contrast_by_category(items: pd.DataFrame, contrasts: Mapping[str, Mapping[str, float]]) -> pd.DataFrame:
    """Return each contrast on each category of tasks, sentence pairs left out: contrast, category, estimate,
    low, high, p, n, n_seeds.

    Args:
        items: rows as of `grid.collect_items` or `grid.collect_seeds`.
        contrasts: weights of cells by the name of the contrast.
    """
    import pandas as pd

    groups = list(keep_ablation(items).groupby("category", sort=False))
    rows = (
        (name, weights, category, group) for name, weights in contrasts.items() for category, group in groups
    )
    return pd.DataFrame(
        {"contrast": name, "category": category} | contrast(group, weights)
        for name, weights, category, group in rows
    )
