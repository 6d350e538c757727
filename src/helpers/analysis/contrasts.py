"""Estimates with intervals: every comparison is a weighted sum of cells, paired on items and on training
seeds.

A contrast such as tuned minus base is formed within each item and seed first, so items on which both
agree add no noise; several tasks of a category weigh the same whatever their number of items. Items may carry
a `cluster`, such as the document that they come from: then clusters are drawn in their place.

The column `score` may hold any endpoint of which more is better: a score from 0 to 1, or minus a loss in nats
a token (`study.endpoints`).

With one training seed the interval is a percentile bootstrap over the items of each task (Efron and
Tibshirani, 1993, chapters 8 and 13). It covers what other items would have shown to the models of this one
seed, and says nothing of another seed. With several, seeds and items both count (see `intervals`). Between
the two lies one seed of models whose spread over seeds was measured before: then items carry
`seed_variance` and `seed_df` (`seed_spread.add_spread`), and both components count.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from helpers.analysis.intervals import (
    CONFIDENCE,
    ROUNDING,
    VarianceComponent,
    bootstrap_items,
    compute_p,
    crossed_variance,
    t_interval,
)
from helpers.errors import StudyError
from helpers.evaluation.tasks import PUBLIC_TASKS, TASKS, find_task
from helpers.records import BASE, order_categories
from helpers.study.endpoints import check_item_count

if TYPE_CHECKING:
    import pandas as pd

ESTIMATE_COLUMNS = ("estimate", "low", "high", "p", "n", "n_seeds")  # as `estimate_mean` returns them
SCALE = (0.0, 1.0)  # where scores begin and end; losses have no such ends


def count_seeds(items: pd.DataFrame) -> int:
    """Return the number of training seeds of a table; without a column `seed` there is one."""
    return items["seed"].nunique() if "seed" in items else 1


def describe_interval(items: pd.DataFrame) -> str:
    """Return what varies in the intervals of a table, as words for a caption."""
    if count_seeds(items) > 1:
        return f"over the items and {count_seeds(items)} training seeds"
    if "seed_variance" in items:
        return "over the items and one training seed, with the spread over seeds that was measured before"
    return "over the items alone (one training seed)"


def describe_item_counts(items: pd.DataFrame) -> str:
    """Return how many items the tasks of a table have, as words for a caption: '12', or '41 to 72'."""
    counts = items.drop_duplicates(["task", "item"]).groupby("task").size()
    return describe_range(counts)


def describe_range(counts: Iterable[int]) -> str:
    """Return the least and the greatest of some counts, such as '41 to 72', or '12' where all are alike."""
    numbers = sorted(set(counts))
    return " to ".join(str(n) for n in dict.fromkeys((numbers[0], numbers[-1])))


def describe_curve_intervals(items: Mapping[int, pd.DataFrame]) -> str:
    """Return what varies in the intervals of a curve, as words for a caption; where that differs from size
    to size, each with its numbers of rows; empty without sizes.

    Args:
        items: the table of each number of rows.
    """
    sizes: dict[str, list[str]] = {}
    for n_rows, rows in items.items():
        sizes.setdefault(describe_interval(rows), []).append(f"{n_rows:,}")
    if len(sizes) < 2:
        return "".join(sizes)
    return "; ".join(f"at {' and '.join(named)} rows {text}" for text, named in sizes.items())


def stack_scores(items: pd.DataFrame, cells: Sequence[str]) -> dict[str, np.ndarray]:
    """Return the scores of each task as an array of shape (cells, seeds, units), where units are items or, if
    there are any, clusters.

    The value of a cluster is chosen so that the mean over clusters is the mean over items: task mean plus the
    cluster's summed deviation from it, times clusters over items.

    Args:
        items: rows with cell, task, item and score, and perhaps seed and cluster.
        cells: the cells wanted, in this order.

    Raises:
        StudyError: a cell is missing, cells or seeds differ in their items, a score is not finite, or a task
            has a single unit, which says nothing of how far others differ.
    """
    import pandas as pd

    wanted = items[items["cell"].isin(cells)]
    check_finite_scores(wanted)
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
        check_item_count(task, len(group), "items" if clusters is None else "clusters")
        stacks[task] = group.to_numpy().T.reshape(len(cells), -1, len(group))
    return stacks


def check_finite_scores(items: pd.DataFrame) -> None:
    """Raise StudyError where a score is not finite."""
    bad = items[~np.isfinite(items["score"].astype(float))]
    if len(bad):
        first = bad.iloc[0]
        raise StudyError(
            f"Every item must have a finite score, but {first['cell']} has {first['score']} on item "
            f"{first['item']} of {first['task']} ({len(bad)} such rows). Leave such items out for all cells."
        )


def contrast(
    items: pd.DataFrame, weights: Mapping[str, float], level: float = CONFIDENCE
) -> dict[str, float]:
    """Estimate a weighted sum of cells' scores over one or more tasks.

    Args:
        items: rows with cell, task, item and score, and perhaps seed and cluster; every cell must hold the
            same items under the same seeds.
        weights: weight of each cell, such as {"qa": 1, "base": -1}.
        level: of the interval.

    Returns:
        estimate, low and high (interval, see above) in units of the score; p, two-sided, that the sum is
        zero, paired on items (`intervals.compute_p`); n, the number of items, and n_seeds.

    Raises:
        StudyError: a cell is missing, or cells differ in their items.
    """
    samples = weigh_cells(stack_scores(items, list(weights)), weights)
    return estimate_mean(
        samples, count_items(items, next(iter(weights))), level, weigh_spread(items, weights)
    )


def weigh_cells(
    stacks: Mapping[str, np.ndarray], weights: Mapping[str, float], cells: Sequence[str] | None = None
) -> list[np.ndarray]:
    """Return the weighted sum of cells, an array of shape (seeds, units) per task.

    Args:
        stacks: as of `stack_scores`.
        weights: weight of each cell.
        cells: of the stacks, in their order; None where these are the ones weighed.
    """
    chosen = [list(cells).index(cell) for cell in weights] if cells else slice(None)
    return [np.tensordot(list(weights.values()), stack[chosen], axes=1) for stack in stacks.values()]


def count_items(items: pd.DataFrame, cell: str) -> int:
    """Return the number of items of all tasks that a cell answered."""
    return len(items.loc[items["cell"] == cell, ["task", "item"]].drop_duplicates())


def weigh_spread(items: pd.DataFrame, weights: Mapping[str, float]) -> VarianceComponent | None:
    """Return the seed component of a weighted sum of cells, its variance and degrees of freedom, from the
    spread over seeds that the items carry; None where they carry none, or have several seeds of their own.

    Seeds are taken to move cells apart from each other and the tasks of one cell together, so standard
    deviations of tasks are averaged.

    Args:
        items: as `contrast` takes them.
        weights: weight of each cell.
    """
    if "seed_variance" not in items or count_seeds(items) > 1:
        return None
    own = items[items["cell"].isin(weights)].drop_duplicates(["task", "cell"])
    weighted = own["seed_variance"] * own["cell"].map(weights) ** 2
    deviation = np.sqrt(weighted.groupby(own["task"]).sum()).mean()
    return float(deviation**2), float(own["seed_df"].min())


def estimate_mean(
    samples: Sequence[np.ndarray],
    n: int,
    level: float = CONFIDENCE,
    seed_component: VarianceComponent | None = None,
) -> dict[str, float]:
    """Return estimate, low, high, p, n and n_seeds of the mean of several tasks' means.

    Args:
        samples: one array of shape (seeds, units) per task.
        n: the number of items.
        level: of the interval.
        seed_component: of the variance, where there is one seed and it was measured elsewhere.
    """
    estimate, n_seeds = float(np.mean([sample.mean() for sample in samples])), len(samples[0])
    if n_seeds == 1 and not seed_component:
        low, high = bootstrap_items(samples, level)
    else:
        low, high = map(float, t_interval(estimate, *crossed_variance(samples, seed_component), level))
    return {
        "estimate": estimate,
        "low": low,
        "high": high,
        "p": compute_p(samples, seed_component),
        "n": n,
        "n_seeds": n_seeds,
    }


def average_scores(items: pd.DataFrame, scale: tuple[float, float] | None = SCALE) -> pd.DataFrame:
    """Return the mean score of every cell on every task, public ones too: cell, task, category, metric (where
    the task is one that the study knows), estimate, low, high, n, n_seeds, unparsed (share; where items say
    whether they were parsed).

    Args:
        items: as `contrast` takes them.
        scale: where intervals end, as scores do; None for an endpoint without ends, such as a loss.

    Raises:
        StudyError: a score lies beyond the scale.
    """
    import pandas as pd

    low, high = scale or (-np.inf, np.inf)
    if not items["score"].between(low - ROUNDING, high + ROUNDING).all():
        raise StudyError(
            f"Scores must lie from {low:g} to {high:g}, but {items['score'].min():.4g} to "
            f"{items['score'].max():.4g} were found. Pass `scale=None` for a loss."
        )
    rows = []
    for (task, cell), group in items.groupby(["task", "cell"], sort=False):
        row = contrast(group, {cell: 1})
        row |= {"low": max(row["low"], low), "high": min(row["high"], high)}
        del row["p"]  # whether a score is zero is not asked
        about = {"cell": cell, "task": task, "category": find_category(task, group)}
        about |= {"metric": find_task(task).metric} if is_known(task) else {}
        parsed = {"unparsed": 1 - group["parsed"].mean()} if "parsed" in group else {}
        rows.append(about | row | parsed)
    return pd.DataFrame(rows)


def is_known(task: str) -> bool:
    """Say whether a name is that of an embedded or public task, and not of held-out rows."""
    return task in TASKS or task in PUBLIC_TASKS


def find_category(task: str, items: pd.DataFrame) -> str:
    """Return the category of a task as its items say it, or as the task's definition does."""
    return items["category"].iloc[0] if "category" in items else find_task(task).category


def gain_by_task(items: pd.DataFrame, cells: Iterable[str]) -> pd.DataFrame:
    """Return the gain over the base model of each cell on each task: cell, task, category, estimate, low,
    high, p, n, n_seeds.
    """
    import pandas as pd

    return pd.DataFrame(
        {"cell": cell, "task": task, "category": find_category(task, group)}
        | contrast(group, {cell: 1, BASE: -1})
        for task, group in items.groupby("task", sort=False)
        for cell in cells
    )


def excludes_zero(table: pd.DataFrame) -> pd.Series:
    """Say of each row whether its interval, `low` to `high`, leaves zero out."""
    return (table["low"] > 0) | (table["high"] < 0)


def keep_ablation_tasks(items: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of the ablation's tasks, one category after the other in the study's order: sentence
    pairs are left out as in the paper's. Held-out rows stay.
    """
    left_out = [name for name, task in (TASKS | PUBLIC_TASKS).items() if not task.in_ablation]
    kept = items[~items["task"].isin(left_out)]
    ranks = {name: rank for rank, name in enumerate(order_categories(kept["category"]))}
    return kept.sort_values("category", key=lambda names: names.map(ranks), kind="stable")


def contrast_by_category(
    items: pd.DataFrame, contrasts: Mapping[str, Mapping[str, float]], level: float = CONFIDENCE
) -> pd.DataFrame:
    """Return each contrast on each category of tasks, sentence pairs left out: contrast, tested_on,
    estimate, low, high, p, n, n_seeds.

    Args:
        items: rows as of `cells.collect_items` or `cells.collect_items_by_seed`; their column `category`
            counts, so tasks may have any name.
        contrasts: weights of cells by the name of the contrast.
        level: of the intervals.
    """
    import pandas as pd

    cells = list_cells(contrasts)
    groups = {
        category: (group, stack_scores(group, cells), count_items(group, cells[0]))
        for category, group in keep_ablation_tasks(items).groupby("category", sort=False)
        if cells
    }
    rows = [
        {"contrast": name, "tested_on": category}
        | estimate_mean(weigh_cells(stacks, weights, cells), n, level, weigh_spread(group, weights))
        for name, weights in contrasts.items()
        for category, (group, stacks, n) in groups.items()
    ]
    return pd.DataFrame(rows, columns=["contrast", "tested_on", *ESTIMATE_COLUMNS])


def list_cells(contrasts: Mapping[str, Mapping[str, float]]) -> list[str]:
    """Return the cells that some contrasts weigh, each once."""
    return list(dict.fromkeys(cell for weights in contrasts.values() for cell in weights))
