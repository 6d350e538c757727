"""Effects that a design or a run can find, and the correction of p-values for many comparisons (Holm)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from helpers.analysis.contrasts import (
    excludes_zero,
    keep_ablation_tasks,
    list_cells,
    stack_scores,
    weigh_cells,
    weigh_spread,
)
from helpers.analysis.intervals import (
    RESAMPLING_SEED,
    ROUNDING,
    VarianceComponent,
    critical_value,
    crossed_variance,
)
from helpers.records import BASE

if TYPE_CHECKING:
    import pandas as pd

ALPHA = 0.05
POWER = 0.8
CORRELATION = 0.5  # of two cells on the same items, before any is seen
N_STUDIES = 20_000  # drawn to find what would hold


def detectable_effects(
    items: pd.DataFrame,
    contrasts: Mapping[str, Mapping[str, float]],
    correlations: Mapping[str, float] | None = None,
) -> pd.DataFrame:
    """Return the true effect that a t test would find with a power of 80 %, judged from the base model before
    any tuned one is looked at. A smaller effect may still be found, with less power.

    The standard deviation of a contrast within items is not known yet. It is taken from the base model's
    scores, supposing that every cell's scores spread like these and that those of two cells correlate by one
    half: sd(sum of w v) = sd(base) * sqrt((1 - correlation) * sum of w^2) for weights that sum to zero. One
    training seed is supposed; a spread between seeds makes the effect larger. Source: power of the paired t
    test (statsmodels, `TTestPower`), tasks of a category weighed the same.

    Args:
        items: rows of the base model, at least.
        contrasts: weights of cells by the name of the contrast; each sums to zero.
        correlations: by category, as `measure_correlations` finds them in a study that is stored.

    Returns:
        contrast, tested_on, n (items), detectable (units of the score; empty where the base model scores
        alike on every item); with `correlations` also correlation and
        detectable_at_measured_correlation, the same with the measured correlation in place of one half.
    """
    import pandas as pd
    from statsmodels.stats.power import TTestPower

    rows = []
    for category, group in keep_ablation_tasks(items).groupby("category", sort=False):
        scores = [stack[0, 0] for stack in stack_scores(group, [BASE]).values()]
        n = sum(map(len, scores))
        error = np.sqrt(sum(task.var(ddof=1) / len(task) for task in scores)) / len(scores)
        found = TTestPower().solve_power(nobs=n, alpha=ALPHA, power=POWER) if error > ROUNDING else np.nan
        for name, weights in contrasts.items():
            squares = sum(weight**2 for weight in weights.values())
            effect = float(found * error * np.sqrt(n * squares))
            row = {"contrast": name, "tested_on": category, "n": n}
            row["detectable"] = effect * (1 - CORRELATION) ** 0.5
            if correlations is not None:
                measured = correlations.get(category, np.nan)
                at_measured = effect * (1 - measured) ** 0.5
                row |= {"correlation": measured, "detectable_at_measured_correlation": at_measured}
            rows.append(row)
    order = list(contrasts)
    return pd.DataFrame(rows).sort_values(
        "contrast", key=lambda names: names.map(order.index), kind="stable", ignore_index=True
    )


def measure_correlations(items: pd.DataFrame) -> dict[str, float]:
    """Return by category of tasks how much the scores of the base model and of a tuned one on the same items
    correlate: the mean of Pearson's correlation over tuned cells, training seeds and tasks.

    A cell that scores alike on every item has none and is left out.
    """
    found = {}
    for category, group in keep_ablation_tasks(items).groupby("category", sort=False):
        pairs = []
        tuned = [cell for cell in dict.fromkeys(group["cell"]) if cell != BASE]
        for stack in stack_scores(group, [BASE, *tuned]).values():
            for base, *others in stack.transpose(1, 0, 2):
                vary = [one for one in (base, *others) if np.ptp(one) > ROUNDING]
                pairs += [np.corrcoef(base, one)[0, 1] for one in vary[1:] if vary[0] is base]
        found[category] = float(np.mean(pairs)) if pairs else np.nan
    return found


def smallest_effects_that_hold(
    items: pd.DataFrame, contrasts: Mapping[str, Mapping[str, float]]
) -> pd.DataFrame:
    """Return how large each contrast must truly be for a run to find with a power of 80 % that it holds, if
    nothing else of the family does: from how far the run's items and training seeds scatter, and not from its
    estimates. A smaller effect may still hold, with less power.

    Estimate and scatter are both drawn by chance, variance components (`intervals.crossed_variance`) as
    chi-squared over their degrees of freedom; four of five such studies find the effect at Holm's first step,
    the level over the number of tests.

    Args:
        items: as `contrasts.contrast_by_category` takes them.
        contrasts: weights of cells by the name of the contrast; each on each category is a test of the
            family.

    Returns:
        contrast, tested_on, holds_from (units of the score; empty where no effect could hold, since units are
        too few for p to be so small (`intervals.compute_p`), and where all units differ by the same).
    """
    import pandas as pd

    cells = list_cells(contrasts)
    groups = {
        category: (group, stack_scores(group, cells))
        for category, group in keep_ablation_tasks(items).groupby("category", sort=False)
    }
    tail = ALPHA / 2 / (len(contrasts) * len(groups))
    rows = []
    for name, weights in contrasts.items():
        for category, (group, stacks) in groups.items():
            samples, seed_component = weigh_cells(stacks, weights, cells), weigh_spread(group, weights)
            least = _find_least_effect(samples, seed_component, tail)
            rows.append({"contrast": name, "tested_on": category, "holds_from": least})
    return pd.DataFrame(rows)


def _find_least_effect(
    samples: Sequence[np.ndarray], seed_component: VarianceComponent | None, tail: float
) -> float:
    variance, components = crossed_variance(samples, seed_component)
    n_units = sum(sample.shape[-1] for sample in samples)
    if variance**0.5 < ROUNDING or 2.0 ** (1 - n_units) >= 2 * tail:
        return np.nan
    random = np.random.default_rng(RESAMPLING_SEED)
    drawn = [(variance * random.chisquare(df, N_STUDIES) / df, df) for variance, df in components]
    reach = critical_value(tail, drawn) * sum(variance for variance, _ in drawn) ** 0.5
    return float(np.quantile(reach + random.normal(0, variance**0.5, N_STUDIES), POWER))


def mcnemar_p(won: int, lost: int) -> float:
    """Return the two-sided p-value of McNemar's exact test (1947) from the items that one model alone gets
    right, and those that the other alone does.
    """
    from statsmodels.stats.contingency_tables import mcnemar

    return float(mcnemar([[0, won], [lost, 0]], exact=True).pvalue)


def correct_holm(p: Iterable[float]) -> np.ndarray:
    """Return p-values corrected for their number by Holm's step-down method (1979)."""
    # statsmodels gives the same, but collects Python's garbage on each call: a second in a notebook
    values = np.asarray(list(p), dtype=float)
    order = values.argsort()
    stepped = np.maximum.accumulate(values[order] * np.arange(len(values), 0, -1))
    corrected = np.empty_like(values)
    corrected[order] = np.minimum(stepped, 1)
    return corrected


def add_holm(table: pd.DataFrame) -> pd.DataFrame:
    """Return a table of contrasts with `p_holm`: `p` corrected for the number of its rows, the family."""
    table = table.copy()
    table.insert(table.columns.get_loc("p") + 1, "p_holm", correct_holm(table["p"]))
    return table


def split_significant(table: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the rows of a corrected table that are significant (`p_holm` below 0.05 and an interval without
    zero), and the others.
    """
    significant = (table["p_holm"] < ALPHA) & excludes_zero(table)
    return table[significant], table[~significant]
