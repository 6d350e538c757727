"""Figures of the endpoints: gains in each measured loss, and which measure shows differences of cells."""

from __future__ import annotations

from typing import TYPE_CHECKING

from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from helpers.figures.style import (
    BLACK,
    GREY,
    PALE,
    color_categories,
    name_cell,
    name_task,
    place_marks,
    split_axes,
    write_row_labels,
)
from helpers.records import order_categories
from helpers.study.endpoints import ENDPOINTS

if TYPE_CHECKING:
    import pandas as pd

ENDPOINT_STYLES = {"loss": ("o", BLACK, "full"), "text": ("^", BLACK, "none"), "score": ("s", PALE, "full")}
MARKERS = "osD^vP"  # one for each category of a lattice


def plot_parts(table: pd.DataFrame, ax: Axes, label: str = "tuned on {}") -> Axes:
    """Draw the gains in each measured loss, each a panel with its own axis: one row per category of
    tasks, one mark per category of training rows, or a kind of them; the tasks' own category is filled.

    Example:
        fig, ax = plt.subplots(figsize=(4.8, 5.2), layout="constrained")
        plot_parts(pd.read_csv("book/figures/parts.csv"), ax)

    Args:
        table: part, trained_on, tested_on, estimate, low, high.
        ax: where to draw.
        label: of the marks in the legend, with the name of the training rows for the braces.
    """
    parts = list(dict.fromkeys(table["part"]))
    categories = list(order_categories(table["tested_on"]))
    trained_on = list(dict.fromkeys(table["trained_on"]))
    kinds = not set(trained_on) & set(categories)
    colors = color_categories(categories if kinds else [*categories, *trained_on])
    offsets = place_marks(len(trained_on))
    for number, (part, panel) in enumerate(zip(parts, split_axes(ax, len(parts), 2), strict=True)):
        for row in table[table["part"] == part].itertuples():
            rank = trained_on.index(row.trained_on)
            height = categories.index(row.tested_on) + offsets[rank]
            color = colors[row.tested_on if kinds else row.trained_on]
            style = {"marker": MARKERS[rank % len(MARKERS)], "color": color, "markersize": 6}
            fill = "full" if kinds or row.trained_on == row.tested_on else "none"
            panel.plot([row.low, row.high], [height, height], color=color, linewidth=1.5)
            panel.plot(row.estimate, height, fillstyle=fill, **style)
        known = set(table.loc[table["part"] == part, "tested_on"])
        for category in [name for name in categories if name not in known]:
            at = {"transform": panel.get_yaxis_transform(), "ha": "center", "va": "center"}
            panel.text(0.5, categories.index(category), "no options", color=GREY, **at)
        panel.axvline(0, color=BLACK, linewidth=0.8, zorder=1)  # over the grid, under the marks
        write_row_labels(
            panel, [] if number % 2 else [f"{name_cell(category)} tasks" for category in categories]
        )
        panel.set_ylim(len(categories) - 0.5, -0.5)
        panel.set_xlabel(f"{ENDPOINTS[part].label} ({ENDPOINTS[part].unit})")
        panel.xaxis.set_major_locator(MaxNLocator(4))
    handles = [
        Line2D(
            [],
            [],
            linestyle="none",
            marker=MARKERS[rank % len(MARKERS)],
            color=BLACK if kinds else colors[name],
            label=label.format(name_cell(name)),
        )
        for rank, name in enumerate(trained_on)
    ]
    ax.figure.legend(handles=handles, loc="outside upper center", ncols=3, columnspacing=1, handletextpad=0.2)
    return ax


def plot_signal(table: pd.DataFrame, ax: Axes) -> Axes:
    """Draw the ratio of signal to noise over items of each task (rows) for each endpoint (marks).

    Example:
        fig, ax = plt.subplots(figsize=(4.8, 4.4))
        plot_signal(pd.read_csv("book/figures/signal.csv"), ax)

    Args:
        table: endpoint, task, signal_to_items.
        ax: where to draw.
    """
    tasks = list(dict.fromkeys(table["task"]))
    for endpoint, rows in table.groupby("endpoint", sort=False):
        marker, color, fill = ENDPOINT_STYLES[endpoint]
        heights = [tasks.index(task) for task in rows["task"]]
        style = {"linestyle": "none", "markersize": 7, "marker": marker, "color": color, "fillstyle": fill}
        style["clip_on"] = False  # whole at zero too
        ax.plot(rows["signal_to_items"], heights, label=endpoint, **style)
    ax.axvline(1, color="black", linewidth=0.8)
    write_row_labels(ax, [name_task(task) for task in tasks])
    ax.set(
        xlabel="Signal to noise (ratio): spread between\nmodels over the items' standard error",
        xlim=(0, None),
    )
    ax.legend(loc="lower center", bbox_to_anchor=(0.4, 1), ncols=3)
    return ax
