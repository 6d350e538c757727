"""What a law is for: it is judged on mixtures and sizes left out, says what a row of one category is worth
for another, and which mixture to take.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from itertools import combinations
from math import comb
from typing import TYPE_CHECKING

import numpy as np

from helpers.analysis.mixing.fitting import refit_law
from helpers.analysis.mixing.intervals import Fit
from helpers.analysis.mixing.laws import LAWS, Effective, build_law
from helpers.analysis.mixing.losses import Losses
from helpers.errors import StudyError

if TYPE_CHECKING:
    import pandas as pd

LEVEL = 0.95
MEAN, WORST = "mean", "worst"
EQUAL = "equal parts"
MAX_MIXTURES = 4000
STEPS = (20, 10, 6, 4, 2)  # parts into which the whole is divided: the finest that gives few enough mixtures


def leave_out(losses: Losses, laws: Iterable[str] = tuple(LAWS)) -> pd.DataFrame:
    """Predict cells by laws fitted without them: every mixture of several categories, at all sizes at once,
    and every number of rows.

    Returns:
        One row a law, category of held-out rows, and cell left out: law, category, kind ('mixture' or 'size'),
        n_* (training rows), observed, predicted (nats a token), error (% of the observed loss).
    """
    import pandas as pd

    folds = [("mixture", cells) for cells in _group_mixtures(losses)]
    if not folds:
        raise StudyError("No mixture can be left out: all cells have one category. Run cells of several.")
    folds += [("size", cells) for cells in _group_sizes(losses)]
    rows = []
    for name in laws:
        for place, target in enumerate(losses.targets):
            for kind, cells in folds:
                predicted = _predict_left_out(losses, name, place, cells)
                rows += [
                    {"law": name, "category": target, "kind": kind}
                    | dict(zip((f"n_{one}" for one in losses.categories), counts.astype(int), strict=True))
                    | {"observed": observed, "predicted": value}
                    for counts, observed, value in zip(
                        losses.counts[cells], losses.means[place, cells], predicted, strict=True
                    )
                ]
    table = pd.DataFrame(rows)
    return table.assign(error=100 * (table["predicted"] / table["observed"] - 1).abs())


def _group_mixtures(losses: Losses) -> list[np.ndarray]:
    shares = losses.counts / np.maximum(losses.counts.sum(axis=1, keepdims=True), 1)
    mixed = (losses.counts > 0).sum(axis=1) > 1
    return [
        mixed & (np.abs(shares - one).max(axis=1) < 0.02)
        for one in np.unique(shares[mixed].round(2), axis=0)
        if (np.abs(shares - one).max(axis=1) < 0.02).any()
    ]


def _group_sizes(losses: Losses) -> list[np.ndarray]:
    totals = losses.counts.sum(axis=1)
    sizes = [size for size in np.unique(totals) if size > 0]
    return [totals == size for size in sizes] if len(sizes) > 2 else []


def _predict_left_out(losses: Losses, name: str, place: int, cells: np.ndarray) -> np.ndarray:
    kept = losses.keep(~cells)
    law = build_law(name, losses.categories, losses.targets[place], kept.counts)
    weights, means = kept.n_seeds.astype(float), kept.means[place]
    starts = law.list_starts(means)
    fits = refit_law(law, np.broadcast_to(means, (len(starts), len(means))), weights, starts)
    errors = (weights * (law.predict(fits, kept.counts) - means) ** 2).sum(axis=1)
    return law.predict(fits[errors.argmin()], losses.counts[cells])


def judge_laws(left_out: pd.DataFrame) -> pd.DataFrame:
    """Return the mean error (%) of each law on what was left out: law, kind, category ('all' for their mean),
    error, n (cells).
    """
    import pandas as pd

    own = left_out.groupby(["law", "kind", "category"], sort=False)["error"].agg(error="mean", n="size")
    whole = own.groupby(["law", "kind"], sort=False).agg(error=("error", "mean"), n=("n", "sum"))
    return pd.concat([own.reset_index(), whole.reset_index().assign(category="all")], ignore_index=True)


def choose_law(judged: pd.DataFrame, kind: str = "mixture") -> str:
    """Return the law with the least error on what was left out, mixtures unless `kind` says sizes."""
    rows = judged[(judged["kind"] == kind) & (judged["category"] == "all")]
    return str(rows.loc[rows["error"].idxmin(), "law"])


def transfer_table(fits: Mapping[str, Fit], categories: Sequence[str]) -> pd.DataFrame:
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
        if not isinstance(fit.law, Effective) or fit.law.target < 0:
            continue
        for number, place in enumerate(fit.law.others):
            low, high = _limit(fit.draws[:, 4 + number])
            worth = fit.parameters[4 + number]
            rows.append([target, categories[place], worth, low, high, fit.law.reference])
        rows.append([target, target, 1.0, 1.0, 1.0, fit.law.reference])
    return pd.DataFrame(rows, columns=["target", "source", "estimate", "low", "high", "n_rows"])


def _limit(draws: np.ndarray) -> tuple[float, float]:
    low, high = np.quantile(draws, [(1 - LEVEL) / 2, (1 + LEVEL) / 2], axis=0)
    return low, high


@dataclasses.dataclass(frozen=True)
class Recommendation:
    """The mixture that a law expects to be best.

    Attributes:
        rows: training rows by category.
        table: one row a mixture to compare with: mixture, loss (nats a token, expected), gain (loss of that
            mixture minus that of the recommended one), low, high (interval of the gain, for all mixtures at
            once, so that the choice of the best is paid for).
        shares: for each category the range (low, high) of its share in the best mixture over the draws.
        loss, low, high: expected loss of the recommended mixture with its interval.
        extrapolates: whether there are more rows than in any cell of the fit.
    """

    law: str
    target: str
    rows: dict[str, int]
    loss: float
    low: float
    high: float
    table: pd.DataFrame
    shares: dict[str, tuple[float, float]]
    extrapolates: bool

    @property
    def beats(self) -> list[str]:
        """The mixtures than which the recommended one is better beyond doubt."""
        return self.table.loc[self.table["low"] > 0, "mixture"].tolist()


def list_mixtures(n_categories: int) -> np.ndarray:
    """Return shares of mixtures all over the simplex, shape (mixtures, categories)."""
    n_bars = n_categories - 1
    parts = next((parts for parts in STEPS if comb(parts + n_bars, n_bars) <= MAX_MIXTURES), STEPS[-1])
    ends = np.array([[-1, *bar, parts + n_bars] for bar in combinations(range(parts + n_bars), n_bars)])
    return (np.diff(ends) - 1) / parts


def combine_targets(losses: np.ndarray, target: str) -> np.ndarray:
    """Return what is to be low, from losses of shape (targets, ...): their mean or the worst of them."""
    return losses.max(axis=0) if target == WORST else losses.mean(axis=0)


def recommend(
    fits: Mapping[str, Fit],
    categories: Sequence[str],
    n_rows: int,
    target: str = MEAN,
    available: Mapping[str, int] | None = None,
) -> Recommendation:
    """Find the mixture of `n_rows` rows for which a law expects the least loss.

    Args:
        fits: of one law, a fit a category of held-out rows.
        categories: of the training rows.
        n_rows: in all.
        target: a category of held-out rows, 'mean' or 'worst' of them.
        available: rows that there are of each category; None for as many as wanted.

    Raises:
        StudyError: `target` is unknown, or there are too few rows.
    """
    import pandas as pd

    if target not in (*fits, MEAN, WORST):
        raise StudyError(
            f"`target` must be one of {', '.join((*fits, MEAN, WORST))}, but {target!r} was found."
        )
    shares = list_mixtures(len(categories))
    n = len(categories)
    named = {EQUAL: np.full(n, 1 / n)} | dict(zip(categories, np.eye(n), strict=True))
    if available:
        most = np.array([available.get(name, 0) for name in categories])
        shares = shares[(shares * n_rows <= most + 0.5).all(axis=1)]
        named = {name: one for name, one in named.items() if (one * n_rows <= most + 0.5).all()}
        if not len(shares):
            raise StudyError(
                f"`n_rows` must leave a choice of rows, but {n_rows} of {most.sum()} leave none."
            )
    chosen = [fits[target]] if target in fits else list(fits.values())
    counts = np.vstack([shares, *named.values()]) * n_rows
    losses = combine_targets(np.stack([fit.predict(counts) for fit in chosen]), target)
    draws = combine_targets(np.stack([fit.predict_draws(counts) for fit in chosen]), target)
    best = int(losses[: len(shares)].argmin())
    table = [_compare(name, losses, draws, len(shares) + place, best) for place, name in enumerate(named)]
    low, high = _limit(draws[:, best])
    ranges = _limit(shares[draws[:, : len(shares)].argmin(axis=1)])
    return Recommendation(
        chosen[0].name,
        target,
        round_shares(dict(zip(categories, shares[best], strict=True)), n_rows),
        float(losses[best]),
        low,
        high,
        pd.DataFrame(table),
        dict(zip(categories, zip(*ranges, strict=True), strict=True)),
        bool(n_rows > chosen[0].law.counts.sum(axis=1).max()),
    )


def _compare(
    name: str, losses: np.ndarray, draws: np.ndarray, place: int, best: int
) -> dict[str, float | str]:
    """Compare the best mixture with one, with an interval that holds for all mixtures at once (the largest
    deviation over them in each draw, in standard errors).
    """
    gains, drawn = losses[place] - losses, draws[:, [place]] - draws
    errors = drawn.std(axis=0)
    moves = errors > 1e-9 * max(1.0, abs(losses[best]))
    found = {"mixture": name, "loss": losses[place], "gain": gains[best]}
    if not moves[best]:
        return found | {"low": gains[best] if gains[best] < 0 else 0.0, "high": gains[best]}
    deviations = np.abs((drawn - gains)[:, moves]) / errors[moves]
    reach = np.quantile(deviations.max(axis=1), LEVEL) * errors[best]
    return found | {"low": gains[best] - reach, "high": gains[best] + reach}


def round_shares(shares: Mapping[str, float], n_rows: int) -> dict[str, int]:
    """Return whole rows that add up to `n_rows`; what rounding leaves goes to the largest remainders."""
    rows = {name: int(share * n_rows) for name, share in shares.items()}
    for name in sorted(shares, key=lambda name: rows[name] - shares[name] * n_rows)[
        : n_rows - sum(rows.values())
    ]:
        rows[name] += 1
    return rows
