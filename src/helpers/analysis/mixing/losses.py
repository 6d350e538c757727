"""Losses of cells on held-out rows, by the training rows that each cell had of every category."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import numpy as np

from helpers.errors import StudyError
from helpers.records import order_categories

if TYPE_CHECKING:
    import pandas as pd


@dataclasses.dataclass(frozen=True)
class LossArrays:
    """Losses of cells on held-out rows.

    Attributes:
        categories: of the training rows.
        targets: categories of the held-out rows.
        counts: training rows, shape (cells, categories).
        losses_by_seed: mean over the held-out rows (nats per token), shape (targets, cells, seeds); nan where
            a cell lacks a seed.
        item_losses: for each target the loss on each held-out row, shape (cells, seeds, items); empty where
            the rows are not known.
    """

    categories: tuple[str, ...]
    targets: tuple[str, ...]
    counts: np.ndarray
    losses_by_seed: np.ndarray
    item_losses: tuple[np.ndarray, ...] = ()

    @property
    def tuned(self) -> np.ndarray:
        """Whether each cell was tuned; the untuned model has no seed."""
        return self.counts.sum(axis=1) > 0

    @property
    def mean_over_seeds(self) -> np.ndarray:
        """`losses_by_seed` averaged over the seeds, shape (targets, cells)."""
        return np.nanmean(self.losses_by_seed, axis=2)

    @property
    def seed_weights(self) -> np.ndarray:
        """The weight of each cell in a fit: its number of seeds; the untuned model has the largest number."""
        n = np.isfinite(self.losses_by_seed[0]).sum(axis=1)
        return np.where(self.tuned, n, n.max())

    def keep(self, cells: np.ndarray) -> LossArrays:
        """Return the losses of some cells."""
        items = tuple(own[cells] for own in self.item_losses)
        return dataclasses.replace(
            self, counts=self.counts[cells], losses_by_seed=self.losses_by_seed[:, cells], item_losses=items
        )


def build_loss_arrays(table: pd.DataFrame) -> LossArrays:
    """Return the losses of cells from a table; cells with the same training rows are one cell.

    Args:
        table: seed (anything for the untuned model), n_* (training rows, a column per category), category (of
            held-out rows), loss (nats per token); one row per cell, seed and category, or, with a column id,
            one row per held-out row. The loss of a cell is the mean over its held-out rows. Without id,
            intervals say nothing of other held-out rows.

    Raises:
        StudyError: a cell lacks a category of held-out rows, or some of them, or there are too few cells.
    """
    columns = [f"n_{name}" for name in order_categories(c[2:] for c in table if c.startswith("n_"))]
    targets = order_categories(table["category"])
    wide = place_base(table, columns).pivot_table("loss", [*columns, "seed"], "category")[list(targets)]
    if wide.isna().any(axis=None):
        raise StudyError(
            "Each cell must have a loss for each category of held-out rows, but some lack one. Measure them "
            "on the same held-out rows."
        )
    stacked = wide.stack().unstack("seed")
    counts = np.array(list(stacked.index.droplevel(-1).unique()), dtype=float)
    if len(counts) < 2 * len(columns) + 1:
        raise StudyError(
            f"A mixture law of {len(columns)} categories needs {2 * len(columns) + 1} cells or more, but "
            f"{len(counts)} were found. Run more of them."
        )
    values = stacked.to_numpy().reshape(len(counts), len(targets), -1).swapaxes(0, 1)
    known = tuple(stack_items(table, columns, target) for target in targets) if "id" in table else ()
    return LossArrays(tuple(name[2:] for name in columns), targets, counts, values, known)


def place_base(table: pd.DataFrame, columns: list[str]) -> pd.DataFrame:
    """Return a table in which the untuned model, which has no seed, stands under the first seed alone."""
    tuned = table[columns].sum(axis=1) > 0
    first = table.loc[tuned, "seed"].min() if tuned.any() else 0
    return table.assign(seed=table["seed"].where(tuned, first).astype(int))


def stack_items(table: pd.DataFrame, columns: list[str], target: str) -> np.ndarray:
    """Return the loss on each held-out row of a category, shape (cells, seeds, items).

    Raises:
        StudyError: cells differ in their held-out rows.
    """
    rows = place_base(table[table["category"] == target], columns)
    wide = rows.pivot_table("loss", [*columns, "seed"], "id")
    if wide.isna().any(axis=None):
        raise StudyError(
            f"Cells must hold the same held-out rows of {target!r}, but some lack some. Measure them anew."
        )
    stacked = wide.stack().unstack("seed")
    return stacked.to_numpy().reshape(-1, wide.shape[1], stacked.shape[1]).swapaxes(1, 2)
