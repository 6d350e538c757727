"""What a training seed does to a model and to a claim: false alarms, gains that hold, recipes compared."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from typing import TYPE_CHECKING

import numpy as np

from helpers.analysis.contrasts import contrast_by_category
from helpers.analysis.hypotheses import add_holm, split_significant
from helpers.analysis.transfer import transfer_table
from helpers.records import BASE
from helpers.study.seed_spread import add_spread

if TYPE_CHECKING:
    import pandas as pd

OTHER_SEED = "'"  # marks a cell under the other seed
LEAST_SEEDS = 2  # that have a spread
SPREAD = "items and measured spread"  # what varies in an interval


def null_table(
    items: pd.DataFrame, cells: Sequence[str], spread_from: pd.DataFrame | None = None
) -> pd.DataFrame:
    """Compare each cell with itself under other training seeds, where there is no difference to find: what
    holds here is a false alarm.

    Each seed stands against each other one, judged as a run of one seed would be. With four seeds or more
    half of them stand against as many others as well, in every way to choose them, judged as a run of
    several seeds would be.

    Args:
        items: as `contrasts.contrast_by_category` takes them, of two training seeds or more.
        cells: tuned ones.
        spread_from: items of tuned cells under these and other seeds; then single seeds are judged with the
            spread of those seeds that are in neither of the two, and nothing else. A cell that it lacks takes
            the largest spread (`seed_spread.add_spread`).

    Returns:
        first, second (the seeds, joined by '+'), trained_on, tested_on, estimate, low, high, p, p_holm (of
        one pair of seeds, or of sets of seeds), n, n_seeds.
    """
    import pandas as pd

    seeds = sorted(items["seed"].unique())
    tables = []
    sizes = {1} if spread_from is not None else {1, len(seeds) // 2}
    for first, second in [pair for size in sorted(sizes) for pair in pair_sets(seeds, size)]:
        measured = _leave_out(spread_from, (*first, *second))
        kept, other = (add_spread(items[items["seed"].isin(own)], measured) for own in (first, second))
        other = other.assign(
            cell=other["cell"] + OTHER_SEED, seed=other["seed"].map(dict(zip(second, first, strict=True)))
        )
        weights = {cell: {cell: 1.0, cell + OTHER_SEED: -1.0} for cell in cells}
        table = contrast_by_category(pd.concat([kept, other]), weights)
        table = add_holm(table.rename(columns={"contrast": "trained_on"}))
        named = {name: "+".join(map(str, own)) for name, own in (("first", first), ("second", second))}
        tables.append(pd.DataFrame(named, index=table.index).join(table))
    return pd.concat(tables, ignore_index=True)


def count_gains_and_false_alarms(items: pd.DataFrame, cells: Sequence[str]) -> pd.DataFrame:
    """Count what holds after Holm's correction by the number of training seeds that a run has: gains over the
    base model, and false alarms, where a cell is compared with itself under other seeds. A run of one seed is
    judged twice: by its items alone, and with the spread of the seeds that it does not have.

    Every choice of so many seeds among those there are is one run; runs share seeds, so their means are
    surer than one run and less sure than as many independent ones.

    Args:
        items: as `null_table` takes them, with the base model.
        cells: tuned ones.

    Returns:
        n_seeds, covers (what the intervals cover), seed_choices (each judged as a run would be), gains (that
        hold, mean over these choices), gains_tested (per choice); null_runs, false_alarms (mean of
        those), family_error_rate (share of those with a false alarm or more); the last two are empty where
        there are too few seeds to set a run against another.
    """
    import pandas as pd

    seeds = sorted(items["seed"].unique())
    null = null_table(items, cells)
    ways = [(size, "items and seeds" if size > 1 else "items") for size in {1, len(seeds) // 2, len(seeds)}]
    ways += [(1, SPREAD)] if len(seeds) >= 2 + LEAST_SEEDS else []
    rows = []
    for size, covers in sorted(ways):
        runs = []
        for chosen in combinations(seeds, size):
            within = items["seed"].isin(chosen)
            own = add_spread(items[within], items[~within] if covers == SPREAD else None)
            runs.append(add_holm(transfer_table(own, cells)))
        own = null_table(items, cells, items) if covers == SPREAD else null[null["n_seeds"] == size]
        rows.append(
            {
                "n_seeds": size,
                "covers": covers,
                "seed_choices": len(runs),
                "gains": float(np.mean([len(split_significant(run)[0]) for run in runs])),
                "gains_tested": len(runs[0]),
            }
            | rate_alarms(own)
        )
    return pd.DataFrame(rows)


def rate_alarms(null: pd.DataFrame) -> dict[str, float]:
    """Return what a `null_table` shows: null_runs (comparisons of cells with themselves), false_alarms (mean
    of those) and family_error_rate (share of those with a false alarm or more).
    """
    alarms = [len(split_significant(family)[0]) for _, family in null.groupby(["first", "second"])]
    return {
        "null_runs": len(alarms),
        "false_alarms": float(np.mean(alarms)) if alarms else np.nan,
        "family_error_rate": float(np.mean([n > 0 for n in alarms])) if alarms else np.nan,
    }


def rate_alarms_of_mixtures(
    items: pd.DataFrame, mixtures: Sequence[str], singles: pd.DataFrame
) -> pd.DataFrame:
    """Compare each mixture with itself, one training seed against another, as a run of one seed judges it: by
    its items alone, and with the largest spread of the single categories under seeds that are in neither.

    Args:
        items: of the mixtures, under two training seeds or more.
        mixtures: their cells.
        singles: items of the single categories under those seeds and two others or more.

    Returns:
        covers (what the intervals cover), tests (per comparison), then as `rate_alarms`.
    """
    import pandas as pd

    rows = []
    for covers, spread_from in (("items", None), (SPREAD, singles)):
        null = null_table(items, mixtures, spread_from)
        one = null[null["n_seeds"] == 1]
        tests = one.groupby(["first", "second"]).size().max()
        rows.append({"covers": covers, "tests": int(tests)} | rate_alarms(one))
    return pd.DataFrame(rows)


def spread_by_recipe(models: pd.DataFrame) -> pd.DataFrame:
    """Return by recipe of training how far models of the same rows lie apart under several training seeds,
    beside what tuning gains: on held-out rows of the category tuned on, or of all for a mixture.

    Args:
        models: one row each: batching, batch_size, learning_rate (the recipe), cell, seed, and the loss of
            each category (`<category>_loss_mean_of_rows`: mean over held-out rows, nats per token); one row
            for the base model.

    Returns:
        The recipe, trained_on, n_seeds, gain (the base model's loss minus the mean of the seeds), spread
        (standard deviation over seeds) and their quotient; recipes under one seed are left out.
    """
    import pandas as pd

    recipe = ["batching", "batch_size", "learning_rate"]
    tables = []
    for cell in models.loc[models["cell"] != BASE, "cell"].unique():
        losses = models[[f"{category}_loss_mean_of_rows" for category in cell.split("+")]].mean(axis=1)
        untuned = losses[models["cell"] == BASE].iloc[0]
        own = models.assign(loss=losses)[models["cell"] == cell]
        found = own.groupby(recipe, sort=False)["loss"].agg(n_seeds="size", mean="mean", spread="std")
        found = found.assign(trained_on=cell, gain=untuned - found["mean"])
        tables.append(found[found["n_seeds"] > 1].reset_index())
    table = pd.concat(tables, ignore_index=True)
    table["spread_over_gain"] = table["spread"] / table["gain"].abs()
    return table[[*recipe, "trained_on", "n_seeds", "gain", "spread", "spread_over_gain"]]


def _leave_out(items: pd.DataFrame | None, seeds: Sequence[int]) -> pd.DataFrame | None:
    return None if items is None else items[~items["seed"].isin(seeds)]


def pair_sets(seeds: Sequence[int], size: int) -> list[tuple[tuple[int, ...], tuple[int, ...]]]:
    """Return every two sets of so many seeds that share none, each pair once."""
    return [
        (first, second)
        for first, second in combinations(combinations(seeds, size), 2)
        if not set(first) & set(second)
    ]
