"""How far an estimate can be off: variance, interval and p of a mean of several tasks' means, over items and
training seeds.

All seeds answer the same items, so the two draws cross, and the variance of a mean has three components:
seeds, items, and the residual (Owen, 2007). A few seeds may agree by luck. Degrees of freedom that follow
the share of each one (Satterthwaite, 1946) then rise into the hundreds, and the family-wise error rate of
nine contrasts is 12 to 20 % with three seeds, where 5 % is meant. Here each keeps its own degrees of
freedom: the critical value is the mean of the quantiles of Student's t for seeds and for items, weighted by
the share of the variance (Cochran and Cox, 1950). It is that of the items alone only where seeds make no
difference, and that of the seeds alone where they make all of it. `study bench` measures how well that keeps
its level (`results/bench/family_error.json`): with three and five seeds the family-wise error rate is at
most 6 %. It is up to 9 % with two seeds, or where three seeds' effects are uniform and not normal.

Samples are arrays of shape (..., seeds, units), one per task, where units are items or clusters of items;
leading axes are separate estimates.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import pandas as pd

CONFIDENCE = 0.95
N_RESAMPLES = 2000
RESAMPLING_SEED = 7
ROUNDING = 1e-9  # scores nearer than this are alike
FEW_UNITS = 10  # with fewer, every way to flip the signs of the units is tried
TINY = 1e-300

VarianceComponent = tuple[np.ndarray | float, np.ndarray | float]  # variance and its degrees of freedom
VarianceComponents = Sequence[VarianceComponent]


def crossed_variance(
    samples: Sequence[np.ndarray], seed_component: VarianceComponent | None = None
) -> tuple[np.ndarray, VarianceComponents]:
    """Return the variance of the mean of several tasks' means, seeds and items both taken as drawn by chance,
    and its components as pairs of variance and degrees of freedom: that of the seeds (if there are several),
    then what the items add.

    The variance is that of the crossed bootstrap (Owen, 2007) at infinitely many draws, each sum of squares
    over its degrees of freedom and the residual variance, which the components of seeds and items both hold,
    taken off once: V = V_seeds + V_items - V_residual, the two-way analysis of variance. It is never less
    than either component. The degrees of freedom of several tasks' items are Satterthwaite's (1946).

    Args:
        samples: one array of shape (..., seeds, units) per task.
        seed_component: that of the seeds, measured elsewhere, for samples of one seed; the component of the
            items of one seed holds the residual variance as well.
    """
    n_seeds = samples[0].shape[-2]
    of_items, df = item_variance(samples)
    if n_seeds == 1:
        components = [*([seed_component] if seed_component else []), (of_items, df)]
        return sum(variance for variance, _ in components), components
    between = np.mean([sample.mean(axis=-1) for sample in samples], axis=0).var(axis=-1, ddof=1) / n_seeds
    variance = total_variance(between, of_items, residual_variance(samples))
    return variance, [(between, n_seeds - 1), (variance - between, df)]


def item_variance(samples: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Return the component of the items of all tasks: its variance, and Satterthwaite's (1946) degrees of
    freedom; where all items agree, the sum of the tasks' own.
    """
    by_task = [
        sample.mean(axis=-2).var(axis=-1, ddof=1) / sample.shape[-1] / len(samples) ** 2 for sample in samples
    ]
    own = [sample.shape[-1] - 1 for sample in samples]
    total = sum(by_task)
    spread = sum(variance**2 / df for variance, df in zip(by_task, own, strict=True))
    return total, np.where(spread == 0, sum(own), total**2 / np.where(spread == 0, 1.0, spread))


def total_variance(seeds: np.ndarray, items: np.ndarray, residual: np.ndarray) -> np.ndarray:
    """Return V_seeds + V_items - V_residual, never less than the variances of seeds or of items."""
    return np.maximum(np.maximum(seeds + items - residual, seeds), items)


def residual_variance(samples: Sequence[np.ndarray]) -> np.ndarray:
    """Return the variance of the mean that belongs to neither seeds nor items."""
    total = np.zeros(samples[0].shape[:-2])
    for sample in samples:
        n_seeds, n_units = sample.shape[-2:]
        rest = (
            sample
            - sample.mean(axis=-2, keepdims=True)
            - sample.mean(axis=-1, keepdims=True)
            + sample.mean(axis=(-2, -1), keepdims=True)
        )
        squares = (rest**2).sum(axis=(-2, -1)) / ((n_seeds - 1) * (n_units - 1))
        total += squares / (n_seeds * n_units) / len(samples) ** 2
    return total


def critical_value(tail: np.ndarray | float, components: VarianceComponents) -> np.ndarray:
    """Return how many standard errors an estimate may lie off with probability `tail` to one side: the mean
    of the components' quantiles of Student's t, weighted by their variances (Cochran and Cox, 1950).
    """
    from scipy.special import stdtrit

    total = sum(variance for variance, _ in components)
    weighted = sum(variance * -stdtrit(df, tail) for variance, df in components)
    return np.where(total > 0, weighted / np.where(total > 0, total, 1.0), 0.0)


def t_interval(
    estimate: np.ndarray | float,
    variance: np.ndarray,
    components: VarianceComponents,
    level: float = CONFIDENCE,
) -> tuple[np.ndarray, np.ndarray]:
    """Return the ends of the interval that reaches as far as `critical_value` on both sides."""
    half = critical_value((1 - level) / 2, components) * variance**0.5
    return estimate - half, estimate + half


def t_test_p(
    estimate: np.ndarray | float, variance: np.ndarray, components: VarianceComponents
) -> np.ndarray:
    """Return the two-sided p that the truth is zero: twice the tail at which `critical_value` is the estimate
    over its standard error. It is 0 for an estimate without variance, and 1 for an estimate of zero.
    """
    from scipy.optimize.elementwise import find_root
    from scipy.special import stdtr

    estimate, variance = np.asarray(estimate, float), np.asarray(variance, float)
    flat = variance < ROUNDING**2
    size = np.abs(estimate) / np.where(flat, 1.0, variance) ** 0.5
    tails = [np.maximum(stdtr(df, -size), TINY) for _, df in components]
    if len(components) > 1:
        (first, n_first), (second, n_second) = components
        low, high = np.log(np.minimum(*tails)) - ROUNDING, np.log(np.maximum(*tails)) + ROUNDING

        def overshoot(log_tail: np.ndarray, size: np.ndarray, *pairs: np.ndarray) -> np.ndarray:
            return critical_value(np.exp(log_tail), [pairs[:2], pairs[2:]]) - size

        found = find_root(overshoot, (low, high), args=(size, first, n_first, second, n_second))
        tails = [np.exp(np.where(found.success, found.x, low))]
    return np.where(flat, np.where(np.abs(estimate) < ROUNDING, 1.0, 0.0), np.minimum(2 * tails[0], 1.0))


def compute_p(samples: Sequence[np.ndarray], seed_component: VarianceComponent | None = None) -> float:
    """Return the two-sided p that the mean of the tasks' means is zero, by one rule for every number of
    units.

    With fewer than ten units the signs of the units are flipped in every way (`sign_flip_p`), which supposes
    nothing of their spread; where the seed component is known, `t_test_p` is added, and the larger of the two
    counts. From ten units on it is `t_test_p`. It is never less than flips of the signs could show,
    2^(1 - n), so units that all agree are no more proof than units that nearly do.

    Args:
        samples: one array of shape (seeds, units) per task.
        seed_component: as of `crossed_variance`.
    """
    estimate = float(np.mean([sample.mean() for sample in samples]))
    n_units = sum(sample.shape[-1] for sample in samples)
    if n_units >= FEW_UNITS:
        least = 1.0 if abs(estimate) < ROUNDING else 2.0 ** (1 - n_units)
    else:
        least = sign_flip_p([sample.mean(axis=-2) for sample in samples])
        if len(samples[0]) == 1 and not seed_component:
            return least
    return max(float(t_test_p(estimate, *crossed_variance(samples, seed_component))), least)


def sign_flip_p(samples: Sequence[np.ndarray]) -> float:
    """Return the share of all ways to flip the signs of the units that bring the mean of the tasks' means at
    least as far from zero as it is (Fisher's randomization test, 1935).

    Args:
        samples: one array of shape (units,) per task; 2^units ways, so they must be few.
    """
    shares = np.concatenate([sample / len(sample) for sample in samples])
    ways = np.arange(2 ** len(shares))[:, None] >> np.arange(len(shares)) & 1
    sums = (2 * ways - 1) @ shares
    return float((np.abs(sums) >= abs(shares.sum()) - ROUNDING).mean())


def bootstrap_items(samples: Sequence[np.ndarray], level: float = CONFIDENCE) -> tuple[float, float]:
    """Return the expanded percentile interval of the mean of tasks' means under one seed, units drawn anew
    within each task.

    Percentiles of so few units are too narrow by the root of (n - 1) / n and by the step from the normal to
    Student's t; the level of the percentiles is raised by as much (Hesterberg, 2015).
    """
    from scipy.stats import bootstrap, norm

    def mean_of_tasks(*tasks: np.ndarray, axis: int = -1) -> np.ndarray:
        return np.mean([task.mean(axis=axis) for task in tasks], axis=0)

    variance, components = crossed_variance(samples)
    drawn = sum(sample.var() / sample.size for sample in samples) / len(samples) ** 2
    if variance > 0:
        tail = norm.sf(critical_value((1 - level) / 2, components) * (variance / drawn) ** 0.5)
        level = float(1 - 2 * tail)
    interval = bootstrap(
        [sample[0] for sample in samples],
        mean_of_tasks,
        n_resamples=N_RESAMPLES,
        confidence_level=level,
        method="percentile",
        rng=np.random.default_rng(RESAMPLING_SEED),
    ).confidence_interval
    return float(interval.low), float(interval.high)


def write_intervals(table: pd.DataFrame, sign: str = "", digits: int = 2) -> list[str]:
    """Return estimates with their intervals as texts to be read, such as '+0.82 [0.50, 1.17]'.

    Args:
        table: estimate, low, high.
        sign: '+' to give estimates above zero a sign too.
        digits: after the point.
    """
    return [write_interval(row.estimate, row.low, row.high, sign, digits) for row in table.itertuples()]


def write_interval(estimate: float, low: float, high: float, sign: str = "", digits: int = 2) -> str:
    """Return one estimate with its interval, as `write_intervals` does."""
    ends = ", ".join(write_number(end, digits=digits) for end in (low, high))
    return f"{write_number(estimate, sign, digits)} [{ends}]"


def write_number(value: float, sign: str = "", digits: int = 2) -> str:
    """Return a number as tables, texts and figures write it: a true minus sign, and no sign before what
    rounds to zero; `sign` is '+' to give numbers above zero a sign too.
    """
    rounded = round(float(value), digits) + 0  # no -0.00
    return f"{rounded:{sign if rounded else ''}.{digits}f}".replace("-", "−")
