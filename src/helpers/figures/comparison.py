"""Figures that set the paper, the reference run by score and this run beside each other."""

from __future__ import annotations

from typing import TYPE_CHECKING

from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from helpers.figures.style import CATEGORY_COLORS, list_errors, write_row_labels

if TYPE_CHECKING:
    import pandas as pd

SOURCES = {
    "paper": ("Paper (bars: bound of reading error)", "D", "none"),
    "score_gemma": ("Reference run by score, Gemma 3 270M", "o", "full"),
    "score_smollm2": ("Reference run by score, SmolLM2 135M", "^", "full"),
    "run": ("This run", "s", "none"),
}
STEP = 0.2
ENDS = ("estimate", "low", "high")


def plot_sources(table: pd.DataFrame, ax: Axes) -> Axes:
    """Draw each gain from every source with its interval, one panel a scale of measures: gains of different
    measures share no axis. The category of tasks gives the colour, the source the mark.

    Example:
        fig, ax = plt.subplots(figsize=(4.8, 5.6))
        plot_sources(pd.read_csv("book/figures/tuning_sources.csv"), ax)

    Args:
        table: source, label, tested_on, scale (title of the panel), estimate, low, high.
        ax: where to draw.
    """
    ax.set_axis_off()
    ax.figure.set_layout_engine("constrained")
    groups = list(table.groupby("scale", sort=False))
    heights = [group["label"].nunique() + 0.7 for _, group in groups]
    grid = ax.get_subplotspec().subgridspec(len(groups), 1, height_ratios=heights)
    for number, (scale, group) in enumerate(groups):
        _draw_scale(ax.figure.add_subplot(grid[number, 0]), group, scale)
    shown = [style for source, style in SOURCES.items() if source in set(table["source"])]
    marks = [
        Line2D([], [], color="#444444", linestyle="none", marker=marker, fillstyle=fill, label=name)
        for name, marker, fill in shown
    ]
    ax.figure.legend(handles=marks, loc="outside lower center")
    return ax


def _draw_scale(panel: Axes, table: pd.DataFrame, scale: str) -> None:
    labels = list(dict.fromkeys(table["label"]))
    for number, (source, (_, marker, fill)) in enumerate(SOURCES.items()):
        for _, row in table[table["source"] == source].iterrows():
            height = labels.index(row["label"]) + (number - (len(SOURCES) - 1) / 2) * STEP
            error = list_errors(row.to_frame().T.astype(dict.fromkeys(ENDS, float)))
            style = {"color": CATEGORY_COLORS[row["tested_on"]], "marker": marker, "fillstyle": fill}
            panel.errorbar(
                row["estimate"], height, xerr=error, linestyle="none", markersize=6, capsize=2, **style
            )
    panel.axvline(0, color="black", linewidth=0.8)
    write_row_labels(panel, labels)
    panel.set_ylim(len(labels) - 0.5, -0.5)
    panel.set_xlabel(f"Gain ({scale})")
    panel.xaxis.set_major_locator(MaxNLocator(4))
