"""Figures of the endpoints: the loss in its parts, and which measure can tell cells apart."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from matplotlib.axes import Axes

from helpers.figures.mixtures import split_axes
from helpers.figures.style import color_categories, label_rows, list_errors, name_cell, name_task
from helpers.records import order_categories

if TYPE_CHECKING:
    import pandas as pd

PART_NAMES = {
    "stop": "Stop\n(nats)",
    "words": "Words\n(nats a token)",
    "choice": "Choice\n(nats)",
    "calibrated": "Choice,\ncalibrated (nats)",
}
ENDPOINT_STYLES = {"loss": ("o", "#0072b2"), "words": ("^", "#56b4e9"), "score": ("s", "#595959")}


def plot_parts(table: pd.DataFrame, ax: Axes, label: str = "tuned on {}") -> Axes:
    """Draw the gains in each part of the loss side by side, each part with its own axis: one row a category
    of tasks, one mark a category of training rows.

    Example:
        fig, ax = plt.subplots(figsize=(7, 3.6), layout="constrained")
        plot_parts(pd.read_csv("book/figures/parts.csv"), ax)

    Args:
        table: part, trained_on, tested_on, estimate, low, high.
        ax: where to draw.
        label: of the marks in the legend, with the name of the training rows for the braces.
    """
    parts = list(dict.fromkeys(table["part"]))
    categories = list(order_categories(table["tested_on"]))
    players = list(dict.fromkeys(table["trained_on"]))
    colors = color_categories(players)
    for number, (part, panel) in enumerate(zip(parts, split_axes(ax, len(parts), len(parts)), strict=True)):
        for place, player in enumerate(players):
            rows = table[(table["part"] == part) & (table["trained_on"] == player)]
            shift = (place - (len(players) - 1) / 2) * 0.22
            heights = np.array([categories.index(category) for category in rows["tested_on"]]) + shift
            panel.errorbar(
                rows["estimate"],
                heights,
                xerr=list_errors(rows),
                linestyle="none",
                marker="o",
                markersize=5,
                capsize=2,
                color=colors[player],
                label=label.format(name_cell(player)),
            )
        panel.axvline(0, color="black", linewidth=0.8)
        label_rows(panel, [f"{name_cell(category)} tasks" for category in categories])
        panel.set_ylim(len(categories) - 0.5, -0.5)
        if number:
            panel.set_yticklabels([])
        panel.set_xlabel(PART_NAMES[part], fontsize=11)
        panel.tick_params(axis="x", labelsize=10)
    handles, labels = panel.get_legend_handles_labels()
    ax.figure.legend(handles, labels, frameon=False, loc="outside upper center", ncols=len(players))
    return ax


def plot_signal(table: pd.DataFrame, ax: Axes) -> Axes:
    """Draw the ratio of signal to noise over items of each task (rows) for each endpoint (marks).

    Example:
        fig, ax = plt.subplots(figsize=(6.4, 4.4))
        plot_signal(pd.read_csv("book/figures/signal.csv"), ax)

    Args:
        table: endpoint, task, signal_to_items.
        ax: where to draw.
    """
    tasks = list(dict.fromkeys(table["task"]))
    for endpoint, rows in table.groupby("endpoint", sort=False):
        marker, color = ENDPOINT_STYLES[endpoint]
        heights = [tasks.index(task) for task in rows["task"]]
        style = {"linestyle": "none", "markersize": 7, "marker": marker, "color": color}
        ax.plot(rows["signal_to_items"], heights, label=endpoint, **style)
    ax.axvline(1, color="black", linewidth=0.8)
    label_rows(ax, [name_task(task) for task in tasks])
    ax.set(xlabel="Signal to noise: spread between cells over the items' standard error", xlim=(0, None))
    ax.legend(frameon=False, loc="upper left", bbox_to_anchor=(1, 1))
    return ax
