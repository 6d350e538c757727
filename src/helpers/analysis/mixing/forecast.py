"""A forecast and what came of it: the lattice of the reference run by loss recommended a mixture before any
mixture with given row counts was tuned; what its law predicts for mixtures and sizes that were tuned
afterwards stands beside their losses.

A training seed draws a cell's rows too and moves all cells alike, so each cell is predicted from the
lattice under the cell's own seeds.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from helpers.analysis.contrasts import contrast
from helpers.analysis.hypotheses import add_holm, split_significant
from helpers.analysis.intervals import write_number
from helpers.analysis.mixing.cross_validation import predict_cells
from helpers.analysis.mixing.fit_intervals import Fit, split_noise
from helpers.analysis.mixing.laws import LAWS
from helpers.analysis.mixing.losses import LossArrays, build_loss_arrays
from helpers.analysis.mixing.recommendation import (
    EQUAL,
    MEAN,
    NATURAL,
    Recommendation,
    combine_targets,
    find_interval,
    recommend,
)
from helpers.analysis.reference_losses import count_lattice_rows
from helpers.analysis.wording import PLAIN_NAMES
from helpers.study.endpoints import keep_held_out, loss_to_log_likelihood
from helpers.study.grid import (
    LATTICE,
    SINGLES,
    is_control,
    list_row_columns,
    normalize_mixture,
    round_shares,
    write_mixture,
)
from helpers.study.losses import LossTables
from helpers.study.mixing import read_mixtures

if TYPE_CHECKING:
    import pandas as pd

TRAINING_SEEDS = (1, 2, 3)  # of the lattice by which the mixture was recommended; later ones stay out
PUBLIC_ROWS = {"qa": 1452, "ie": 2051, "gen": 2038}  # public training rows by category, for natural shares
RECOMMENDED, BEST_SINGLE = "recommended", "best single"


def read_lattice(tables: LossTables, seeds: Iterable[int] = TRAINING_SEEDS) -> LossArrays:
    """Return the losses of the lattice of the reference run by loss, under some training seeds alone."""
    cells, size = tables.cells, count_lattice_rows(tables)
    own = cells["cell"].isin(LATTICE) & cells["n_rows"].isin([0, size])
    own &= cells["seed"].isna() | cells["seed"].isin(list(seeds))
    return build_loss_arrays(read_mixtures(dataclasses.replace(tables, cells=cells[own]), SINGLES))


def read_all(tables: LossTables) -> LossArrays:
    """Return the losses of all mixtures and numbers of rows of the reference run by loss under all of their
    training seeds, which differ from cell to cell.
    """
    return build_loss_arrays(read_mixtures(tables, SINGLES))


def recommend_mixture(
    tables: LossTables, fits: Mapping[str, Fit], goal: str = MEAN, n_rows: int | None = None
) -> Recommendation:
    """Return the mixture of `n_rows` rows, or of the lattice's number, that a law expects to be best."""
    return recommend(fits, SINGLES, n_rows or count_lattice_rows(tables), goal, PUBLIC_ROWS)


def predict_later(tables: LossTables, laws: Iterable[str] = tuple(LAWS)) -> pd.DataFrame:
    """Predict every cell that was tuned beside the lattice, mixtures by rows and other sizes, by laws fitted
    to the lattice alone, under the seeds that both have.

    Returns:
        As `cross_validation.cross_validate_laws`, with n_seeds; empty where no such cell is there.
    """
    import pandas as pd

    size, columns = count_lattice_rows(tables), [f"n_{one}" for one in SINGLES]
    frames = []
    for seeds, names in _group_later_cells(tables).items():
        lattice = read_lattice(tables, seeds)
        counts = pd.DataFrame([list_row_columns(name, n_rows, SINGLES) for name, n_rows in names])
        kinds = ["mixture" if n_rows == size else "rows" for _, n_rows in names]
        observed = [_measure_cell(tables, name, n_rows, seeds) for name, n_rows in names]
        frames += [
            counts.assign(law=law, category=target, kind=kinds, n_seeds=len(seeds)).assign(
                observed=[own[target] for own in observed],
                predicted=predict_cells(lattice, law, index, counts.to_numpy(float)),
            )
            for law in laws
            for index, target in enumerate(lattice.targets)
        ]
    ordered = ["law", "category", "kind", *columns, "observed", "predicted", "n_seeds"]
    table = pd.concat(frames, ignore_index=True) if frames else pd.DataFrame(columns=ordered)
    return table[ordered].assign(error=100 * (table["predicted"] / table["observed"] - 1).abs())


def count_training_rows(table: pd.DataFrame) -> pd.Series:
    """Return the training rows of each cell of a table: the sum of n_qa, n_ie and n_gen."""
    return table[[f"n_{one}" for one in SINGLES]].sum(axis=1)


def tabulate_later_mixtures(later: pd.DataFrame, law: str) -> pd.DataFrame:
    """Return how far a law misses each mixture of the lattice's number of rows that was tuned later: mixture,
    n_seeds, error (% of the loss, mean of the categories), the largest first.

    Args:
        later: of `predict_later`.
        law: its name.
    """
    rows = _select_mixtures(later, law)
    errors = rows.groupby(["mixture", "n_seeds"], as_index=False, sort=False)["error"].mean()
    return errors.sort_values("error", ascending=False, ignore_index=True)


def describe_worst_mixture(later: pd.DataFrame, law: str) -> str:
    """Return in a sentence which later mixture a law misses most, and its losses on the category where it
    errs most.
    """
    table = tabulate_later_mixtures(later, law)
    if table.empty:
        return "No other mixture of the lattice's number of rows is tuned yet."
    mixture, error = table.loc[0, "mixture"], table.loc[0, "error"]
    rows = _select_mixtures(later, law)
    worst = rows.loc[rows["error"].where(rows["mixture"] == mixture).idxmax()]
    predicted, observed = (write_number(worst[name], digits=3) for name in ("predicted", "observed"))
    return (
        f"{law} misses {mixture} most: {write_number(error, digits=1)} % of the loss. There it errs most on "
        f"{PLAIN_NAMES[worst['category']]}: predicted {predicted}, observed {observed} nats per token."
    )


def _select_mixtures(later: pd.DataFrame, law: str) -> pd.DataFrame:
    """Return a law's rows for mixtures of the lattice's number of rows, each with its `mixture` by name."""
    own = later[(later["law"] == law) & (later["kind"] == "mixture")]
    counts = own[[f"n_{one}" for one in SINGLES]].itertuples(index=False)
    names = [mixture_name(dict(zip(SINGLES, map(int, row), strict=True))) for row in counts]
    return own.assign(mixture=names)


def _group_later_cells(tables: LossTables) -> dict[tuple[int, ...], list[tuple[str, int]]]:
    """Return the cells beside the lattice, name and rows, by those of their seeds that the lattice has."""
    cells, size = tables.cells, count_lattice_rows(tables)
    whole = tables.list_seeds((name, size) for name in LATTICE[1:])
    later = cells[cells["seed"].isin(whole) & ~cells["cell"].map(is_control)]
    later = later[~(later["cell"].isin(LATTICE) & (later["n_rows"] == size))]
    groups: dict[tuple[int, ...], list[tuple[str, int]]] = {}
    for (name, n_rows), own in later.groupby(["cell", "n_rows"], sort=False):
        groups.setdefault(tuple(sorted(map(int, own["seed"]))), []).append((name, int(n_rows)))
    return groups


def _measure_cell(tables: LossTables, name: str, n_rows: int, seeds: Iterable[int]) -> pd.Series:
    """Return the loss of a cell on each category of held-out rows."""
    cells = tables.cells
    own = (cells["cell"] == name) & (cells["n_rows"] == n_rows) & cells["seed"].isin(list(seeds))
    rows = read_mixtures(dataclasses.replace(tables, cells=cells[own]), SINGLES)
    return rows.groupby("category")["loss"].mean()


def measure_noise_floor(losses: LossArrays, n_seeds: int) -> float:
    """Return the mean error (%) that a perfect law would show on the mean of some runs of a mixture,
    since runs differ by their training: the mean of the absolute value of a normal variable, over all
    targets. Runs of one category alone differ more, and are left out.
    """
    mixed = losses.keep((losses.counts > 0).sum(axis=1) > 1)
    _, remainders, df = split_noise(mixed)
    spread = np.sqrt((remainders**2).sum(axis=1) / max(df, 1) / n_seeds)
    return float(100 * np.mean(np.sqrt(2 / np.pi) * spread / mixed.mean_over_seeds.mean(axis=1)))


def compare_numbers_of_seeds(tables: LossTables, law: str) -> pd.DataFrame:
    """Return how far a law misses the mixtures that were tuned later where they and the lattice count under
    their first training seeds alone: n_seeds, error, and that of a perfect law (`measure_noise_floor`), both
    in % of the loss.
    """
    import pandas as pd

    lattice, rows = read_lattice(tables), []
    cells = tables.cells[tables.cells["n_rows"].isin([0, count_lattice_rows(tables)])]
    for n_seeds in range(1, len(TRAINING_SEEDS) + 1):
        own = cells[cells["seed"].isna() | cells["seed"].isin(TRAINING_SEEDS[:n_seeds])]
        error = predict_later(dataclasses.replace(tables, cells=own), [law])["error"].mean()
        rows.append((n_seeds, error, measure_noise_floor(lattice, n_seeds)))
    return pd.DataFrame(rows, columns=["n_seeds", "error", "perfect_law"])


def list_compared_mixtures(found: Recommendation) -> dict[str, dict[str, int]]:
    """Return the mixtures that are compared, recommended first, each with its rows by category."""
    n_rows = sum(found.rows.values())
    singles = found.comparisons[found.comparisons["mixture"].isin(found.rows)]
    single = singles.loc[singles["loss"].idxmin(), "mixture"]
    shares = {
        EQUAL: dict.fromkeys(found.rows, 1 / len(found.rows)),
        NATURAL: {name: count / sum(PUBLIC_ROWS.values()) for name, count in PUBLIC_ROWS.items()},
        BEST_SINGLE: {name: float(name == single) for name in found.rows},
    }
    return {RECOMMENDED: found.rows} | {name: round_shares(own, n_rows) for name, own in shares.items()}


def mixture_name(rows: Mapping[str, int]) -> str:
    """Return the name of the cell with some rows, such as 'qa+ie' or 'qa:135+gen:15'."""
    return normalize_mixture(write_mixture(rows))[0]


def compare_forecast(tables: LossTables, fits: Mapping[str, Fit], found: Recommendation) -> pd.DataFrame:
    """Return the predicted loss of each mixture beside the measured one, both as means over the categories of
    held-out rows.

    Returns:
        mixture, cell, predicted, predicted_low, predicted_high, measured, low, high, n_seeds, then seed_*
        (loss measured under each training seed that all measured mixtures have); nothing measured where a
        cell is not there yet.
    """
    import pandas as pd

    rivals = list_compared_mixtures(found)
    counts = np.array([list(rows.values()) for rows in rivals.values()], dtype=float)
    expected = combine_targets(np.stack([fit.predict(counts) for fit in fits.values()]), MEAN)
    drawn = combine_targets(np.stack([fit.predict_draws(counts) for fit in fits.values()]), MEAN)
    low, high = find_interval(drawn)
    cells = {name: mixture_name(rows) for name, rows in rivals.items()}
    items = collect_measured(tables, cells.values())
    table = pd.DataFrame(
        {"mixture": list(cells), "cell": list(cells.values()), "predicted": expected}
        | {"predicted_low": low, "predicted_high": high}
    )
    return table.join(pd.DataFrame([_measure_loss(items, cell) for cell in cells.values()]))


def collect_measured(tables: LossTables, cells: Iterable[str]) -> pd.DataFrame:
    """Return the losses of the held-out rows of those cells that are there, as endpoints are compared, under
    the training seeds that all of them have.
    """
    size = count_lattice_rows(tables)
    there = set(tables.cells.loc[tables.cells["n_rows"] == size, "cell"])
    return loss_to_log_likelihood(
        keep_held_out(tables.collect([cell for cell in cells if cell in there], size))
    )


def _measure_loss(items: pd.DataFrame, cell: str) -> dict[str, Any]:
    own = items[items["cell"] == cell]
    if own.empty:
        return {}
    found = contrast(own, {cell: -1.0})
    by_task = (-own["score"]).groupby([own["seed"], own["task"]]).mean()
    seeds = {f"seed_{seed}": loss for seed, loss in by_task.groupby(level=0).mean().items()}
    interval = {name: found[name] for name in ("low", "high", "n_seeds")}
    return {"measured": found["estimate"]} | interval | seeds


def compare_gains(tables: LossTables, found: Recommendation) -> pd.DataFrame:
    """Return by how much the recommended mixture's loss lies below that of each other, predicted and
    measured.

    Returns:
        mixture, cell, predicted (nats per token), then of the measured gain, paired on held-out rows and
        seeds: estimate, low, high, p, p_holm (of the mixtures that are there), n, n_seeds; empty where the
        recommended mixture is not there yet.
    """
    import pandas as pd

    rivals = {name: mixture_name(rows) for name, rows in list_compared_mixtures(found).items()}
    best = rivals.pop(RECOMMENDED)
    items = collect_measured(tables, [best, *rivals.values()])
    there = set(items["cell"])
    expected = found.comparisons.set_index("mixture")["gain"]
    rows = [
        {"mixture": name, "cell": cell, "predicted": expected[cell if name == BEST_SINGLE else name]}
        | contrast(items, {best: 1.0, cell: -1.0})
        for name, cell in rivals.items()
        if {best, cell} <= there and best != cell
    ]
    return add_holm(pd.DataFrame(rows)) if rows else pd.DataFrame(columns=["mixture"])


def describe_outcome(gains: pd.DataFrame) -> str:
    """Return in sentences whether the recommended mixture won, from `compare_gains`."""
    if gains.empty:
        return "The recommended mixture is not among the measured ones yet: the forecast is untested."
    significant, open_ = split_significant(gains)
    clauses = {
        "it is better than": significant[significant["estimate"] > 0],
        "it is worse than": significant[significant["estimate"] < 0],
        "it cannot be told apart from": open_,
    }
    found = "; ".join(f"{start} {_list_gains(rows)}" for start, rows in clauses.items() if len(rows))
    n = int(gains["n_seeds"].max())
    least = gains.loc[gains["estimate"].idxmin()]
    lowest = f"{least['mixture']} ({least['cell']})" if least["estimate"] < 0 else "the recommended one"
    first = f"Under {n} training seed{'s' * (n > 1)} the mixture with the lowest measured loss is {lowest}."
    return f"{first} As to the recommended one, {found}."


def summarise_outcome(found: Recommendation, gains: pd.DataFrame) -> str:
    """Return what was recommended for the mean of the categories and how it fared, in sentences for the first
    page.
    """
    rows = " and ".join(
        f"{count} {PLAIN_NAMES[name].replace(' ', '-')}" for name, count in found.rows.items() if count
    )
    indistinguishable = write_number(100 * found.mixtures["indistinguishable"].mean(), digits=1)
    recommended = (
        f"For the mean of the three categories, a formula fitted to these models recommended {rows} rows, "
        f"and predicted that {indistinguishable} % of all mixtures may be as good."
    )
    if gains.empty:
        return f"{recommended} That mixture is not tuned yet."
    significant, open_ = split_significant(gains)
    kinds = {
        "clearly better than": significant[significant["estimate"] > 0],
        "clearly worse than": significant[significant["estimate"] < 0],
        "neither clearly better nor clearly worse than": open_,
    }
    said = [f"{how} {_list_rivals(rows)}" for how, rows in kinds.items() if len(rows)]
    start = "" if len(significant) else "This run cannot say. "
    return f"{start}{recommended} Tuned afterwards, that mixture was {'; '.join(said)}."


def _list_rivals(rows: pd.DataFrame) -> str:
    """Return the names of mixtures, that of a single category in words."""
    names = [
        f"{PLAIN_NAMES.get(row.cell, row.cell)} alone" if row.mixture == BEST_SINGLE else row.mixture
        for row in rows.itertuples()
    ]
    return " or ".join(names)


def _list_gains(rows: pd.DataFrame) -> str:
    return ", ".join(
        f"{row.mixture} (gain {write_number(row.estimate, '+', 3)}, "
        f"predicted {write_number(row.predicted, '+', 3)})"
        for row in rows.itertuples()
    )
