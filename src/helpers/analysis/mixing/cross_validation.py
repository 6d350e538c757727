"""Cross-validation: laws judged by mixtures and sizes that they were not fitted to, and the choice of one."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

import numpy as np

from helpers.analysis.mixing.fit_intervals import Fit
from helpers.analysis.mixing.fitting import refit_law
from helpers.analysis.mixing.laws import LAWS, build_law
from helpers.analysis.mixing.losses import LossArrays
from helpers.errors import StudyError

if TYPE_CHECKING:
    import pandas as pd


def cross_validate_laws(losses: LossArrays, laws: Iterable[str] = tuple(LAWS)) -> pd.DataFrame:
    """Predict cells by laws fitted without them: every mixture of several categories, at all sizes at once,
    and every number of rows.

    Returns:
        One row per law, category of held-out rows, and cell left out: law, category, kind ('mixture', or
        'rows': of a number of rows), n_* (training rows of each category), observed, predicted (nats per
        token), error (% of the observed loss).
    """
    import pandas as pd

    folds = [("mixture", cells) for cells in _group_mixtures(losses)]
    if not folds:
        raise StudyError("No mixture can be left out: all cells have one category. Run cells of several.")
    folds += [("rows", cells) for cells in _group_sizes(losses)]
    rows = []
    for name in laws:
        for index, target in enumerate(losses.targets):
            for kind, cells in folds:
                predicted = _predict_left_out(losses, name, index, cells)
                rows += [
                    {"law": name, "category": target, "kind": kind}
                    | dict(zip((f"n_{one}" for one in losses.categories), counts.astype(int), strict=True))
                    | {"observed": observed, "predicted": value}
                    for counts, observed, value in zip(
                        losses.counts[cells], losses.mean_over_seeds[index, cells], predicted, strict=True
                    )
                ]
    table = pd.DataFrame(rows)
    return table.assign(error=100 * (table["predicted"] / table["observed"] - 1).abs())


def _group_mixtures(losses: LossArrays) -> list[np.ndarray]:
    """Group the mixtures of several categories by their shares, whatever their numbers of rows: each is in
    one group, with all whose rows are the same shares but for rounding.
    """
    counts, totals = losses.counts, losses.counts.sum(axis=1)
    groups, left = [], (counts > 0).sum(axis=1) > 1
    while left.any():
        largest = np.where(left, totals, 0).argmax()  # its shares are rounded least
        exact = totals[:, None] * counts[largest] / totals[largest]
        groups.append(left & (np.abs(counts - exact) < 1).all(axis=1))
        left = left & ~groups[-1]
    return groups


def _group_sizes(losses: LossArrays) -> list[np.ndarray]:
    totals = losses.counts.sum(axis=1)
    sizes = [size for size in np.unique(totals) if size > 0]
    return [totals == size for size in sizes] if len(sizes) > 2 else []


def _predict_left_out(losses: LossArrays, name: str, index: int, cells: np.ndarray) -> np.ndarray:
    return predict_cells(losses.keep(~cells), name, index, losses.counts[cells])


def predict_cells(losses: LossArrays, name: str, index: int, counts: np.ndarray) -> np.ndarray:
    """Return the loss that a law, fitted to the cells for one of their targets, predicts of other cells."""
    law = build_law(name, losses.categories, losses.targets[index], losses.counts)
    weights, means = losses.seed_weights.astype(float), losses.mean_over_seeds[index]
    starts = law.list_starts(means)
    fits = refit_law(law, np.broadcast_to(means, (len(starts), len(means))), weights, starts)
    errors = (weights * (law.predict(fits, losses.counts) - means) ** 2).sum(axis=1)
    return law.predict(fits[errors.argmin()], counts)


def average_errors(left_out: pd.DataFrame) -> pd.DataFrame:
    """Return the mean error (%) of each law on what was left out: law, kind, category ('all' for their mean),
    error, n (cells).
    """
    import pandas as pd

    own = left_out.groupby(["law", "kind", "category"], sort=False)["error"].agg(error="mean", n="size")
    whole = own.groupby(["law", "kind"], sort=False).agg(error=("error", "mean"), n=("n", "sum"))
    return pd.concat([own.reset_index(), whole.reset_index().assign(category="all")], ignore_index=True)


def choose_law(law_errors: pd.DataFrame) -> str:
    """Return the law with the least error on the mixtures that were left out."""
    rows = law_errors[(law_errors["kind"] == "mixture") & (law_errors["category"] == "all")]
    return str(rows.loc[rows["error"].idxmin(), "law"])


def tabulate_predictions(losses: LossArrays, fits: Mapping[str, Fit], left_out: pd.DataFrame) -> pd.DataFrame:
    """Return what a law predicts beside what was observed: category, kind ('fitted', or 'mixture' and 'rows'
    where the law was fitted without them), observed, predicted (nats per token).
    """
    import pandas as pd

    name = next(iter(fits.values())).law_name
    fitted = [
        pd.DataFrame(
            {
                "category": target,
                "kind": "fitted",
                "observed": means,
                "predicted": fits[target].predict(losses.counts),
            }
        )
        for target, means in zip(losses.targets, losses.mean_over_seeds, strict=True)
    ]
    others = left_out.loc[left_out["law"] == name, ["category", "kind", "observed", "predicted"]]
    return pd.concat([*fitted, others], ignore_index=True)
