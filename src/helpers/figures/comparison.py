"""Figures that set the paper, the reference study and this run beside each other."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from helpers.figures.style import CATEGORY_COLORS, label_rows, list_errors

if TYPE_CHECKING:
    import pandas as pd

SOURCES = {
    "paper": ("Paper, Figure 2 (bars: bound of reading error)", "D", "none"),
    "reference": ("Reference run", "o", "full"),
    "second": ("Reference run, second model", "^", "full"),
    "run": ("This run", "s", "none"),
}
STEP = 0.2


def plot_sources(table: pd.DataFrame, ax: Axes) -> Axes:
    """Draw each gain from every source with its interval, one below the other; the category of tasks gives
    the colour, the source the mark.

    Example:
        fig, ax = plt.subplots(figsize=(7, 3.8))
        plot_sources(pd.read_csv("book/figures/tuning_sources.csv"), ax)

    Args:
        table: source, label, category, estimate, low, high.
        ax: where to draw.
    """
    labels = list(dict.fromkeys(table["label"]))
    for number, (source, (_, marker, fill)) in enumerate(SOURCES.items()):
        for category, rows in table[table["source"] == source].groupby("category", sort=False):
            heights = (
                np.array([labels.index(label) for label in rows["label"]])
                + (number - (len(SOURCES) - 1) / 2) * STEP
            )
            style = {"color": CATEGORY_COLORS[category], "marker": marker, "fillstyle": fill}
            ax.errorbar(
                rows["estimate"],
                heights,
                xerr=list_errors(rows),
                linestyle="none",
                markersize=6,
                capsize=2,
                **style,
            )
    ax.axvline(0, color="black", linewidth=0.8)
    label_rows(ax, labels)
    ax.set(xlabel="Gain (scores from 0 to 1)")
    marks = [
        Line2D([], [], color="#444444", linestyle="none", marker=marker, fillstyle=fill, label=name)
        for name, marker, fill in SOURCES.values()
    ]
    ax.legend(
        handles=marks,
        frameon=False,
        loc="upper center",
        bbox_to_anchor=(0.4, -0.6 / ax.figure.get_figheight()),
        ncols=2,
        fontsize="small",
    )
    return ax
