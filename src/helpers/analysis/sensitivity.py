"""The same contrasts under another assumption: that training seeds move every cell as much."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from helpers.analysis.contrasts import (
    contrast_by_category,
    keep_ablation_tasks,
    list_cells,
    stack_scores,
    weigh_cells,
)
from helpers.analysis.intervals import (
    VarianceComponents,
    item_variance,
    residual_variance,
    t_interval,
    t_test_p,
    total_variance,
)
from helpers.records import BASE

if TYPE_CHECKING:
    import pandas as pd

POOLED = ("low_pooled", "high_pooled", "p_pooled")


def pool_seeds(items: pd.DataFrame, contrasts: Mapping[str, Mapping[str, float]]) -> pd.DataFrame:
    """Return each contrast on each category of tasks with its own interval and p, and beside them those from
    the variance between seeds pooled over all tuned cells that the contrasts weigh.

    k cells of three seeds give 2 k degrees of freedom in place of 2, so more is found. That holds where
    seeds move all cells alike and apart from each other. Where one cell varies more than the others, the
    error of a family is several times what it says, and where one seed moves all cells together up to twice
    (`results/bench/family_error.json`): it is a sensitivity analysis, not a result.

    Args:
        items: as `contrasts.contrast_by_category` takes them.
        contrasts: weights of cells by the name of the contrast.

    Returns:
        contrast, tested_on, estimate, low, high, p, n, n_seeds, low_pooled, high_pooled, p_pooled; the last
        three are empty with one training seed.
    """
    import pandas as pd

    table = contrast_by_category(items, contrasts)
    cells = list_cells(contrasts)
    groups = {
        category: stack_scores(group, cells)
        for category, group in keep_ablation_tasks(items).groupby("category", sort=False)
    }
    rows = []
    for row in table.itertuples():
        found = [np.nan] * 3
        if row.n_seeds > 1:
            variance, components = pooled_variance(groups[row.tested_on], cells, contrasts[row.contrast])
            low, high = t_interval(row.estimate, variance, components)
            found = [float(low), float(high), float(t_test_p(row.estimate, variance, components))]
        rows.append(dict(zip(POOLED, found, strict=True)))
    return table.join(pd.DataFrame(rows))


def pooled_variance(
    stacks: Mapping[str, np.ndarray], cells: list[str], weights: Mapping[str, float]
) -> tuple[np.ndarray, VarianceComponents]:
    """Return variance and components of a weighted sum of cells as `intervals.crossed_variance` does, that of
    the seeds from the mean variance between seeds of all tuned cells times the sum of their squared weights.

    Args:
        stacks: scores of each task, shape (cells, ..., seeds, units).
        cells: in the order of the stacks; the base model has no seeds and is left out.
        weights: weight of each cell of the sum.
    """
    samples = weigh_cells(stacks, weights, cells)
    of_items, df = item_variance(samples)
    by_seed = np.mean([stack.mean(axis=-1) for stack in stacks.values()], axis=0)
    n_seeds = by_seed.shape[-1]
    tuned = [index for index, cell in enumerate(cells) if cell != BASE]
    squares = sum(weight**2 for cell, weight in weights.items() if cell != BASE)
    of_seeds = squares * by_seed[tuned].var(axis=-1, ddof=1).mean(axis=0) / n_seeds
    variance = total_variance(of_seeds, of_items, residual_variance(samples))
    return variance, [(of_seeds, len(tuned) * (n_seeds - 1)), (variance - of_seeds, df)]
