"""Figures of an evaluation: paired differences by task."""

from __future__ import annotations

from typing import TYPE_CHECKING

from matplotlib.axes import Axes

from helpers.analysis.hypotheses import ALPHA
from helpers.figures.style import CATEGORY_COLORS, CATEGORY_NAMES, list_errors, name_task, write_row_labels

if TYPE_CHECKING:
    import pandas as pd


def plot_differences(table: pd.DataFrame, ax: Axes) -> Axes:
    """Draw the difference of two models on each task with its interval; a filled mark shows a p value below
    0.05 after Holm's correction.

    Args:
        table: task, category, estimate, low, high, p_holm, one row per task.
        ax: where to draw.
    """
    for category, rows in table.reset_index(drop=True).groupby("category", sort=False):
        errors = list_errors(rows)
        ax.errorbar(
            rows["estimate"],
            rows.index,
            xerr=errors,
            linestyle="none",
            capsize=2,
            color=CATEGORY_COLORS[category],
            label=CATEGORY_NAMES[category],
        )
        faces = [CATEGORY_COLORS[category] if p < ALPHA else "white" for p in rows["p_holm"]]
        ax.scatter(
            rows["estimate"], rows.index, s=36, c=faces, edgecolors=CATEGORY_COLORS[category], zorder=3
        )
    ax.axvline(0, color="black", linewidth=0.8)
    write_row_labels(ax, [name_task(task) for task in table["task"]])
    ax.set(xlabel="Difference of scores (on 0 to 1)")
    ax.legend(loc="lower center", bbox_to_anchor=(0.3, 1))
    return ax
