"""What a law is for: what a row of one category is worth for another, and which mixture to take."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from itertools import combinations
from math import comb
from typing import TYPE_CHECKING

import numpy as np

from helpers.analysis.intervals import CONFIDENCE
from helpers.analysis.mixing.fit_intervals import Fit
from helpers.analysis.mixing.laws import Effective
from helpers.errors import StudyError
from helpers.study.grid import round_shares

if TYPE_CHECKING:
    import pandas as pd

MEAN, WORST = "mean", "worst"
EQUAL, NATURAL = "equal parts", "natural shares"
MAX_MIXTURES = 4000
MAX_COMPARED = 300  # mixtures all over the simplex with which each one is compared at once
STEPS = (20, 10, 6, 4, 2)  # parts into which the whole is divided: the finest that gives few enough mixtures


def worth_table(fits: Mapping[str, Fit], categories: Sequence[str]) -> pd.DataFrame:
    """Return what a row of each category is worth, in rows of the category of held-out rows.

    Args:
        fits: of a law of effective rows.
        categories: of the training rows.

    Returns:
        target, source, estimate, low, high, n_rows (of the source, for which the worth holds). A target that
        no training row has counts in rows of nothing, and is left out.
    """
    import pandas as pd

    rows = []
    for target, fit in fits.items():
        if not isinstance(fit.law, Effective) or fit.law.target_index < 0:
            continue
        for number, index in enumerate(fit.law.others):
            low, high = find_interval(fit.draws[:, 4 + number])
            worth = fit.parameters[4 + number]
            rows.append([target, categories[index], worth, low, high, fit.law.median_rows])
        rows.append([target, target, 1.0, 1.0, 1.0, fit.law.median_rows])
    return pd.DataFrame(rows, columns=["target", "source", "estimate", "low", "high", "n_rows"])


def find_interval(draws: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return low and high of the 95 % interval of some draws, over their first axis."""
    low, high = np.quantile(draws, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2], axis=0)
    return low, high


@dataclasses.dataclass(frozen=True)
class Recommendation:
    """The mixture that a law expects to be best.

    Attributes:
        law: its name.
        goal: what is to be low.
        rows: training rows by category.
        comparisons: one row per mixture to compare with: mixture, loss (nats per token, expected), gain (loss
            of that mixture minus that of the recommended one), low, high (interval of the gain, for all
            mixtures at once, so that the choice of the best is paid for).
        share_ranges: for each category the range (low, high) of its share in the best mixture over the draws.
        mixtures: one row per mixture all over the simplex, and the recommended one: share_* (of each
            category), loss, indistinguishable (whether it may be as good as the recommended one).
        loss, low, high: expected loss of the recommended mixture with its interval.
        extrapolates: whether there are more rows than in any cell of the fit.
    """

    law: str
    goal: str
    rows: dict[str, int]
    loss: float
    low: float
    high: float
    comparisons: pd.DataFrame
    share_ranges: dict[str, tuple[float, float]]
    mixtures: pd.DataFrame
    extrapolates: bool

    @property
    def beats(self) -> list[str]:
        """The mixtures than which the recommended one is better beyond doubt."""
        return self.comparisons.loc[self.comparisons["low"] > 0, "mixture"].tolist()


def list_mixtures(n_categories: int) -> np.ndarray:
    """Return shares of mixtures all over the simplex, shape (mixtures, categories)."""
    n_bars = n_categories - 1
    parts = next((parts for parts in STEPS if comb(parts + n_bars, n_bars) <= MAX_MIXTURES), STEPS[-1])
    ends = np.array([[-1, *bar, parts + n_bars] for bar in combinations(range(parts + n_bars), n_bars)])
    return (np.diff(ends) - 1) / parts


def combine_targets(losses: np.ndarray, goal: str) -> np.ndarray:
    """Return what is to be low, from losses of shape (targets, ...): their mean or the worst of them."""
    return losses.max(axis=0) if goal == WORST else losses.mean(axis=0)


def recommend(
    fits: Mapping[str, Fit],
    categories: Sequence[str],
    n_rows: int,
    goal: str = MEAN,
    available: Mapping[str, int] | None = None,
    available_only: bool = False,
) -> Recommendation:
    """Find the mixture of `n_rows` rows for which a law expects the least loss.

    Args:
        fits: of one law, a fit a category of held-out rows.
        categories: of the training rows.
        n_rows: in all.
        goal: what is to be low: the loss of a category of held-out rows, or the 'mean' or the 'worst' of all.
        available: rows that there are of each category, in whose shares one mixture to compare with is; None
            for no such mixture.
        available_only: whether only mixtures count for which there are enough rows.

    Raises:
        StudyError: `goal` is unknown, or there are too few rows.
    """
    import pandas as pd

    check_goal(goal, fits)
    shares, named = list_candidates(categories, n_rows, available, available_only)
    chosen = [fits[goal]] if goal in fits else list(fits.values())
    candidates = np.vstack([shares, *named.values()])
    counts = candidates * n_rows
    losses = combine_targets(np.stack([fit.predict(counts) for fit in chosen]), goal)
    draws = combine_targets(np.stack([fit.predict_draws(counts) for fit in chosen]), goal)
    best = int(losses.argmin())
    step = -(-len(shares) // MAX_COMPARED)
    family = np.unique([*range(0, len(shares), step), *range(len(shares), len(losses)), best])
    gains = [_compare(losses, draws, index, best, family) for index in range(len(losses))]
    table = [
        {"mixture": name, "loss": losses[index]} | gains[index]
        for index, name in enumerate(named, len(shares))
    ]
    drawn = [*range(len(shares)), *([best] if best >= len(shares) else [])]
    low, high = find_interval(draws[:, best])
    ranges = find_interval(candidates[draws.argmin(axis=1)])
    columns = [f"share_{name}" for name in categories]
    return Recommendation(
        chosen[0].law_name,
        goal,
        round_shares(dict(zip(categories, candidates[best], strict=True)), n_rows),
        float(losses[best]),
        low,
        high,
        pd.DataFrame(table),
        dict(zip(categories, zip(*ranges, strict=True), strict=True)),
        pd.DataFrame(candidates[drawn], columns=columns).assign(
            loss=losses[drawn], indistinguishable=[gains[index]["low"] <= 0 for index in drawn]
        ),
        bool(n_rows > chosen[0].law.counts.sum(axis=1).max()),
    )


def check_goal(goal: str, categories: Iterable[str]) -> None:
    """Raise StudyError unless a goal is one of the categories, their mean or the worst of them, and no
    category bears the name of these two.
    """
    names = tuple(categories)
    if taken := [name for name in (MEAN, WORST) if name in names]:
        raise StudyError(
            f"A category called {taken[0]!r} cannot be told from the {taken[0]} of all. Give it another name "
            "in the rows."
        )
    known = (*names, MEAN, WORST)
    if goal not in known:
        raise StudyError(f"The goal (`--target`) must be one of {', '.join(known)}, but {goal!r} was found.")


def list_candidates(
    categories: Sequence[str], n_rows: int, available: Mapping[str, int] | None, available_only: bool
) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Return the shares of the mixtures all over the simplex, and of those to compare with by name; each of
    them may be recommended.

    Raises:
        StudyError: there are too few rows.
    """
    n = len(categories)
    shares = list_mixtures(n)
    named = {EQUAL: np.full(n, 1 / n)} | dict(zip(categories, np.eye(n), strict=True))
    if not available:
        return shares, named
    most = np.array([available.get(name, 0) for name in categories])
    named[NATURAL] = most / most.sum()
    if available_only:
        is_there = [_is_there(one, n_rows, most) for one in shares]
        shares = shares[is_there]
        named = {name: one for name, one in named.items() if _is_there(one, n_rows, most)}
    if not len(shares):
        raise StudyError(
            f"The rows must leave a choice, but {n_rows} of {most.sum()} leave none. Ask for fewer rows, or "
            "leave out `--available-only`."
        )
    return shares, named


def _is_there(shares: np.ndarray, n_rows: int, most: np.ndarray) -> bool:
    """Say whether there are the rows of a mixture, rounded as a recommendation rounds them."""
    rows = round_shares(dict(enumerate(shares)), n_rows)
    return all(rows[index] <= limit for index, limit in enumerate(most))


def _compare(
    losses: np.ndarray, draws: np.ndarray, index: int, best: int, family: np.ndarray
) -> dict[str, float]:
    """Return what the best mixture gains over another one, with an interval that holds for the differences of
    a whole family of mixtures from that one at once (by the largest deviation over them in each draw, in
    standard errors), so that the choice of the best is paid for.
    """
    off = draws[:, family] - losses[family]
    off -= (draws[:, index] - losses[index])[:, None]
    variances = np.einsum("dm,dm->m", off, off) / len(off) - off.mean(axis=0) ** 2
    errors = np.sqrt(variances.clip(0))
    moves = errors > 1e-9 * max(1.0, abs(losses[index]))
    scale = np.divide(1.0, errors, out=np.zeros_like(errors), where=moves)
    furthest = np.quantile((np.abs(off, out=off) * scale).max(axis=1), CONFIDENCE)
    gain, reach = losses[index] - losses[best], furthest * errors[family.searchsorted(best)]
    return {"gain": gain, "low": gain - reach, "high": gain + reach}
