"""Figures of the mixture law: what it predicts beside what was observed, the loss of every mixture of three
categories on a triangle, a forecast beside its measurement, and gains by the number of rows.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from helpers.figures.style import (
    BASE_COLOR,
    color_categories,
    color_cell,
    name_category,
    name_cell,
    split_axes,
    write_row_labels,
)
from helpers.records import order_categories

if TYPE_CHECKING:
    import pandas as pd

KINDS = {
    "fitted": (".", "fitted"),
    "mixture": ("o", "mixture left out"),
    "rows": ("D", "number of rows left out"),
}
CONTOURS = 10


def plot_predictions(table: pd.DataFrame, ax: Axes) -> Axes:
    """Draw predicted against observed loss, with marks for cells that the law was not fitted to; a point on
    the line is predicted exactly.

    Example:
        fig, ax = plt.subplots()
        plot_predictions(pd.read_csv("book/figures/mixture_predictions.csv"), ax)

    Args:
        table: category (of held-out rows), kind ('fitted', 'mixture' or 'rows'), observed, predicted (nats
            per token).
        ax: where to draw.
    """
    colors = color_categories(table["category"])
    for (category, kind), rows in table.groupby(["category", "kind"], sort=False):
        marker, _ = KINDS[kind]
        face = colors[category] if kind == "mixture" else "none"
        style = {"linestyle": "none", "color": colors[category], "markerfacecolor": face}
        ax.plot(rows["observed"], rows["predicted"], marker, markersize=5, **style)
    ends = [table[["observed", "predicted"]].min(axis=None), table[["observed", "predicted"]].max(axis=None)]
    ax.plot(ends, ends, color="black", linewidth=0.8, zorder=1)  # over the grid, under the marks
    for category, color in colors.items():
        ax.plot([], [], "s", color=color, label=name_category(category))
    for kind, (marker, label) in KINDS.items():
        if kind in set(table["kind"]):
            face = "black" if kind == "mixture" else "none"
            ax.plot([], [], marker, color="black", markerfacecolor=face, label=label)
    ax.set(xlabel="Observed loss (nats per token)", ylabel="Predicted loss (nats per token)")
    ax.legend(loc="upper left", handletextpad=0.2)
    return ax


def plot_triangle(table: pd.DataFrame, ax: Axes) -> Axes:
    """Draw the predicted loss of every mixture of three categories as contours on a triangle, with the
    recommended mixture and those that may be as good.

    Example:
        fig, ax = plt.subplots(figsize=(4.8, 5.4))
        plot_triangle(pd.read_csv("book/figures/mixture_triangle.csv"), ax)

    Args:
        table: share_* (0..1, three columns), loss (nats per token), indistinguishable (whether it may be as
            good as the recommended one); the mixture of least loss is the recommended one.
        ax: where to draw; a ternary plot takes its place.

    Returns:
        The axes of the ternary plot.
    """
    import mpltern  # noqa: F401 (registers the projection)

    columns = [name for name in table if name.startswith("share_")]
    names = [name.removeprefix("share_") for name in columns]
    shares = [table[name].to_numpy(float) for name in columns]
    ax.set_axis_off()
    panel = ax.figure.add_subplot(ax.get_subplotspec(), projection="ternary")
    filled = panel.tricontourf(*shares, table["loss"].to_numpy(), levels=CONTOURS, cmap="viridis")
    indistinguishable = table["indistinguishable"].to_numpy(bool)
    panel.scatter(*(share[indistinguishable] for share in shares), s=5, color="white", label="may be as good")
    best = int(np.argmin(table["loss"].to_numpy()))
    star = {"marker": "*", "color": "white", "edgecolor": "black", "s": 220, "zorder": 5, "clip_on": False}
    panel.scatter(*(share[[best]] for share in shares), label="recommended", **star)
    for side, name in zip(("t", "l", "r"), names, strict=True):
        getattr(panel, f"set_{side}label")(f"{name_category(name)} rows (share)")
        getattr(panel, f"{side}axis").set_label_position("tick1")
    bar = {"location": "bottom", "shrink": 0.8, "pad": 0.04}
    ax.figure.colorbar(filled, ax=panel, label="Predicted loss (nats per token)", **bar)
    panel.legend(loc="upper center", bbox_to_anchor=(0.5, -0.2), ncols=2, frameon=True, facecolor="#aaaaaa")
    return panel


def plot_forecast(table: pd.DataFrame, ax: Axes) -> Axes:
    """Draw the predicted loss of each mixture (grey, with its interval) above the measured one (black), whose
    small dots are the training seeds. A mixture that was not measured has its forecast alone.

    Example:
        fig, ax = plt.subplots()
        plot_forecast(pd.read_csv("book/figures/mixture_forecast.csv"), ax)

    Args:
        table: mixture, cell, predicted, predicted_low, predicted_high, measured, low, high (nats per token),
            and seed_* (of each training seed).
        ax: where to draw.
    """
    seeds = [name for name in table if name.startswith("seed_")]
    heights = np.arange(len(table))
    kinds = {
        "predicted": ("predicted", "predicted_low", "predicted_high", -0.12, BASE_COLOR, "D"),
        "measured": ("measured", "low", "high", 0.12, "black", "o"),
    }
    for label, (value, low, high, shift, color, marker) in kinds.items():
        errors = np.stack([table[value] - table[low], table[high] - table[value]])
        ax.errorbar(
            table[value],
            heights + shift,
            xerr=errors,
            color=color,
            marker=marker,
            linestyle="none",
            capsize=2,
            label=label,
        )
    for number, name in enumerate(seeds):
        label = "each training seed" if number == 0 else None
        height = heights + 0.24 + 0.16 * number / len(seeds)  # one above the other, so that equal ones show
        ax.plot(table[name], height, ".", color="black", markersize=5, label=label)
    write_row_labels(ax, [f"{row.mixture}\n{name_cell(row.cell)}" for row in table.itertuples()])
    ax.set(xlabel="Mean loss over the categories (nats per token)")
    ax.figure.legend(
        frameon=False, fontsize=10, loc="outside lower center", ncols=3, columnspacing=1, handletextpad=0.4
    )
    return ax


def plot_size_gains(table: pd.DataFrame, ax: Axes) -> Axes:
    """Draw how the gain over the base model grows with the number of rows, one panel for each category of
    held-out rows, one line for each model; that of the category's own rows is thick, and what stands on one
    training seed is hollow.

    Example:
        fig, ax = plt.subplots(figsize=(7, 4), layout="constrained")
        plot_size_gains(pd.read_csv("book/figures/reference_size_gains.csv"), ax)

    Args:
        table: trained_on, tested_on, n_rows, estimate, low, high (nats per token), n_seeds.
        ax: where to draw.
    """
    sizes, categories = sorted(set(table["n_rows"])), order_categories(table["tested_on"])
    panels = split_axes(ax, len(categories), len(categories))
    for number, (category, panel) in enumerate(zip(categories, panels, strict=True)):
        rows = table[table["tested_on"] == category]
        for rank, (cell, own) in enumerate(rows.groupby("trained_on", sort=False)):
            color = color_cell(cell)
            at = own["n_rows"] * 1.05 ** (rank - 1.5)  # side by side, so that intervals can be told apart
            errors = np.stack([own["estimate"] - own["low"], own["high"] - own["estimate"]])
            style = {"linewidth": 2.5, "linestyle": "-"} if cell == category else {"linestyle": "--"}
            panel.errorbar(at, own["estimate"], yerr=errors, color=color, capsize=2, label=cell, **style)
            for several in (True, False):
                chosen = (own["n_seeds"] > 1) == several
                fill = color if several else "white"
                panel.plot(at[chosen], own["estimate"][chosen], "o", color=color, mfc=fill, markersize=4)
        panel.axhline(0, color="black", linewidth=0.8)
        panel.set_xscale("log", base=2)
        panel.set_xticks(sizes, [f"{size:,}" for size in sizes], rotation=90)  # room for many sizes
        panel.margins(x=0.1)
        panel.minorticks_off()
        panel.set_title(f"on {name_cell(category)} rows", fontsize=10)
        panel.set(xlabel="Training rows", ylabel="" if number else "Gain (nats per token)")
    cells = list(dict.fromkeys(table["trained_on"]))
    marks = [Line2D([], [], color=color_cell(cell), marker="o", label=name_cell(cell)) for cell in cells]
    ax.figure.legend(handles=marks, loc="outside lower center", ncols=len(cells), frameon=False)
    return ax
