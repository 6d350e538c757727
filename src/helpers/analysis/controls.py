"""What the controls of a category show: how its rows compare with shuffled ones and with those of matched
lengths, in words.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from helpers.analysis.contrasts import contrast, keep_ablation_tasks
from helpers.analysis.hypotheses import add_holm, split_significant
from helpers.records import BASE, CONTROL_SEPARATOR, SHUFFLED
from helpers.study.grid import SINGLES
from helpers.tuning.controls import MATCHED_LENGTHS

if TYPE_CHECKING:
    import pandas as pd

SUFFIXES = {  # of the cells of a category's controls, by their names for readers
    "shuffled responses": f"{CONTROL_SEPARATOR}{SHUFFLED}",
    "matched lengths": f"{CONTROL_SEPARATOR}{MATCHED_LENGTHS}",
}
AGAINST = {"the base model": ""} | SUFFIXES


def compare_controls(items: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """Return what each category of rows gains on items of its own, over the base model and over each of its
    controls; all of them are one family of tests.

    Args:
        items: by the measured loss, as `endpoints.loss_to_log_likelihood` returns them, with the cells of
            `results/controls`; a category without items for it is left out there.

    Returns:
        part, tested_on, against, estimate, low, high, p, p_holm, n, n_seeds.
    """
    import pandas as pd

    rows = []
    for part, table in items.items():
        for category in SINGLES:
            own = keep_ablation_tasks(table[table["category"] == category])
            rows += [
                {"part": part, "tested_on": category, "against": name}
                | contrast(own, {category: 1.0, f"{category}{mark}" if mark else BASE: -1.0})
                for name, mark in AGAINST.items()
                if len(own)
            ]
    return add_holm(pd.DataFrame(rows))


def say_controls(table: pd.DataFrame) -> pd.DataFrame:
    """Return `compare_controls` in words, one row a category and part: the original rows gained more, or
    less, where the difference holds; else the two are not told apart.
    """
    significant, _ = split_significant(table)
    words = [
        "not told apart" if place not in significant.index else "more" if estimate > 0 else "less"
        for place, estimate in table["estimate"].items()
    ]
    wide = table.assign(said=words).pivot(index=["tested_on", "part"], columns="against", values="said")
    order = (
        table[["tested_on", "part"]]
        .drop_duplicates()
        .sort_values("tested_on", key=lambda names: names.map(SINGLES.index), kind="stable")
    )
    return wide.loc[list(order.itertuples(index=False, name=None)), list(AGAINST)].reset_index()
