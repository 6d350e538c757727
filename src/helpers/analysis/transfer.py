"""Which category of instructions helps which category of tasks, alone and together."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import combinations
from typing import TYPE_CHECKING, Any

import numpy as np

from helpers.analysis.contrasts import (
    ESTIMATE_COLUMNS,
    contrast,
    contrast_by_category,
    keep_ablation_tasks,
    stack_scores,
)
from helpers.analysis.intervals import CONFIDENCE, ROUNDING
from helpers.records import BASE
from helpers.study.grid import SINGLES, name_subset

if TYPE_CHECKING:
    import pandas as pd

STRICT = 1 - (1 - CONFIDENCE) / 2  # Bonferroni's level for two tests


def transfer_table(items: pd.DataFrame, cells: Iterable[str]) -> pd.DataFrame:
    """Return the transfer matrix in long form: the gain over base on each category of tasks
    (`tested_on`) of tuning on each cell (`trained_on`).
    """
    return contrast_by_category(items, gain_contrasts(cells)).rename(columns={"contrast": "trained_on"})


def gain_contrasts(cells: Iterable[str]) -> dict[str, dict[str, float]]:
    """Return the weights of each cell's gain over the base model."""
    return {cell: {cell: 1.0, BASE: -1.0} for cell in cells}


def other_minus_own_table(items: pd.DataFrame, categories: Sequence[str] = SINGLES) -> pd.DataFrame:
    """Return what each single category lacks against the tasks' own: score of tuning on `trained_on`
    minus score of tuning on `tested_on`, on its tasks.

    A difference and not a quotient of gains: where the own gain is near zero, a quotient says nothing.
    """
    import pandas as pd

    rows = []
    for category, group in keep_ablation_tasks(items).groupby("category", sort=False):
        rows += [
            {"trained_on": other, "tested_on": category} | contrast(group, {other: 1.0, category: -1.0})
            for other in categories
            if category in categories and other != category
        ]
    return pd.DataFrame(rows, columns=["trained_on", "tested_on", *ESTIMATE_COLUMNS])


def addition_table(items: pd.DataFrame, categories: Sequence[str] = SINGLES) -> pd.DataFrame:
    """Return the paper's gain of a second category: on the tasks of A, tuning on A and B against tuning on A
    (Tran et al., 2024, Table 4, "w.").

    The paper gives it relative to the score of A: 100 * (v(AB) - v(A)) / v(A), here `percent` (empty where
    v(A) is zero). The interval and p are those of the difference v(AB) - v(A), which exists always. Of
    a log-likelihood, which is negative, there is no such share, and `percent` is empty.

    Returns:
        target (A), added (B), estimate, low, high, p, n, n_seeds, percent.
    """
    import pandas as pd

    rows = []
    for target, group in keep_ablation_tasks(items).groupby("category", sort=False):
        if target not in categories:
            continue
        alone = float(np.mean([stack.mean() for stack in stack_scores(group, [target]).values()]))
        for added in categories:
            if added != target:
                row = contrast(group, {name_subset((target, added)): 1.0, target: -1.0})
                percent = 100 * row["estimate"] / alone if alone > ROUNDING else np.nan
                rows.append({"target": target, "added": added} | row | {"percent": percent})
    return pd.DataFrame(rows, columns=["target", "added", *ESTIMATE_COLUMNS, "percent"])


def synergy_table(items: pd.DataFrame, categories: Sequence[str] = SINGLES) -> pd.DataFrame:
    """Return v(AB) - (v(A) + v(B)) / 2 of each pair on each category of tasks: what a mixture gives beyond
    its parts' mean, at the same number of rows.

    A quarter of the blending coefficient of A and B in Scheffe's polynomial for mixtures (1958, equation for
    the {q, 2} simplex lattice).

    Returns:
        contrast (the pair), tested_on, estimate, low, high, p, n, n_seeds.
    """
    return contrast_by_category(items, synergy_contrasts(categories))


def synergy_contrasts(categories: Sequence[str] = SINGLES) -> dict[str, dict[str, float]]:
    """Return the weights of each pair's synergy."""
    return {
        name_subset(pair): {name_subset(pair): 1.0} | dict.fromkeys(pair, -0.5)
        for pair in combinations(categories, 2)
    }


def best_part_table(items: pd.DataFrame, categories: Sequence[str] = SINGLES) -> pd.DataFrame:
    """Return v(AB) - max(v(A), v(B)) of each pair on each category of tasks: whether a mixture is worth more
    than the better of its parts.

    It is the lesser of the marginal gains v(AB) - v(A) and v(AB) - v(B), and its interval is that of
    `combine_min`. The better part is chosen after the fact, so the estimate leans downwards.

    Returns:
        contrast (the pair), tested_on, estimate, low, high.
    """
    pairs = list(combinations(categories, 2))
    gains = [
        {name_subset(pair): {name_subset(pair): 1.0, pair[index]: -1.0} for pair in pairs} for index in (0, 1)
    ]
    plain, strict = (
        [contrast_by_category(items, gain, level) for gain in gains] for level in (CONFIDENCE, STRICT)
    )
    least = combine_min(plain, strict)
    return plain[0][["contrast", "tested_on"]].assign(**least)


def combine_min(plain: Sequence[Mapping[str, Any]], strict: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return estimate, low and high of the least of several marginal gains, such as those of a pair over its
    parts.

    The pair is better than both parts only where every gain says so, which needs no correction (an
    intersection-union test; Berger, 1982); it is worse than the better part where any gain says so, which
    needs Bonferroni's. So `low` comes from intervals at the usual level and `high` from stricter ones, and
    both together cover the truth at least as often as the usual level says.

    Args:
        plain: estimate, low and high of each gain at the usual level, numbers or arrays.
        strict: the same at the level corrected for the number of gains.
    """
    ends = {"estimate": plain, "low": plain, "high": strict}
    return {name: np.min([gain[name] for gain in gains], axis=0) for name, gains in ends.items()}


def size_table(items: Mapping[int, pd.DataFrame], categories: Sequence[str] = SINGLES) -> pd.DataFrame:
    """Return the gain of the mixture of all categories over base (the paper's Figure 3) and the mean synergy
    of the pairs, for each number of rows.

    Args:
        items: rows of the whole lattice by number of rows.
        categories: of the lattice.

    Returns:
        quantity, n_rows, tested_on, estimate, low, high, p, n, n_seeds; empty without sizes.
    """
    import pandas as pd

    pairs = list(combinations(categories, 2))
    synergy = {name_subset(pair): 1 / len(pairs) for pair in pairs} | dict.fromkeys(
        categories, -1 / len(categories)
    )
    quantities = {
        "Gain of the mixture over base": {name_subset(categories): 1.0, BASE: -1.0},
        "Mean synergy of the pairs": synergy,
    }
    tables = [
        contrast_by_category(rows, quantities).rename(columns={"contrast": "quantity"}).assign(n_rows=n_rows)
        for n_rows, rows in items.items()
    ]
    return pd.concat(tables, ignore_index=True) if tables else pd.DataFrame(columns=["quantity", "n_rows"])
