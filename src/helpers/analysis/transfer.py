"""Which category of instructions helps which category of tasks, alone and in pairs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from helpers.analysis.statistics import contrast_by_category
from helpers.grid import BASE, PAIRS, SINGLES

if TYPE_CHECKING:
    import pandas as pd


def transfer_table(items: pd.DataFrame, cells: list[str]) -> pd.DataFrame:
    """Return the transfer matrix in long form: the gain over base on each category of tasks (column `category`) of tuning on each cell (`contrast`)."""
    return contrast_by_category(items, {cell: {cell: 1.0, BASE: -1.0} for cell in cells})


def addition_table(items: pd.DataFrame) -> pd.DataFrame:
    """Return the paper's gain of a second category: on the tasks of category A, tuning on A+B minus tuning on A, at the same number of rows (Table 4, "w.").

    Columns: target (A), added (B), estimate, low, high, n.
    """
    import pandas as pd

    frames = []
    for target in SINGLES:
        for added in SINGLES:
            if added != target:
                table = contrast_by_category(items, {added: {name_pair(target, added): 1.0, target: -1.0}})
                frames.append(table[table["category"] == target].rename(columns={"category": "target", "contrast": "added"}))
    return pd.concat(frames, ignore_index=True)


def interaction_table(items: pd.DataFrame) -> pd.DataFrame:
    """Return v(AB) - (v(A) + v(B)) / 2 of each pair on each category of tasks: what a mixture gives beyond its parts' mean, at the same number of rows."""
    weights = {pair: {pair: 1.0} | dict.fromkeys(pair.split("+"), -0.5) for pair in PAIRS}
    return contrast_by_category(items, weights)


def name_pair(first: str, second: str) -> str:
    """Return the name of the cell tuned on two categories, whichever is named first."""
    return next(pair for pair in PAIRS if set(pair.split("+")) == {first, second})
