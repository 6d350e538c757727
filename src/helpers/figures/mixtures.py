"""Figures of the grid: cells beside each other, the lattice of subsets, what each category adds, how it grows
with size.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.ticker import MaxNLocator

from helpers.figures.outcomes import find_limit
from helpers.figures.style import (
    BASE_COLOR,
    CATEGORY_COLORS,
    DIVERGING,
    SCORE_UNIT,
    color_categories,
    label_rows,
    list_errors,
    name_category,
    name_cell,
    name_task,
)
from helpers.records import BASE, order_categories

if TYPE_CHECKING:
    import pandas as pd

MIXTURE_COLOR = "black"
DARK = 0.6  # share of the colour scale from which on text is white


def split_axes(ax: Axes, n: int, n_columns: int) -> list[Axes]:
    """Give the place of one axes to `n` panels, row by row; the axes itself shows nothing any more."""
    ax.set_axis_off()
    places = ax.get_subplotspec().subgridspec(-(-n // n_columns), n_columns)
    return [ax.figure.add_subplot(places[number // n_columns, number % n_columns]) for number in range(n)]


def color_cell(cell: str) -> str:
    """Return the colour of a cell: grey for the base model, a category's own, black for mixtures."""
    return BASE_COLOR if cell == BASE else CATEGORY_COLORS.get(cell, MIXTURE_COLOR)


def plot_panels(table: pd.DataFrame, ax: Axes) -> Axes:
    """Draw score against cell, one panel a task, as the paper's Figure 2 does; each panel has its own scale.

    Example:
        fig, ax = plt.subplots(figsize=(6.4, 7), layout="constrained")
        plot_panels(pd.read_csv("book/figures/panels.csv"), ax)

    Args:
        table: cell, task, metric, estimate, low, high (0..1).
        ax: where to draw.
    """
    cells = list(dict.fromkeys(table["cell"]))
    groups = list(table.groupby("task", sort=False))
    for number, ((task, group), panel) in enumerate(zip(groups, split_axes(ax, len(groups), 3), strict=True)):
        rows = group.set_index("cell").loc[cells]
        for height, (cell, row) in enumerate(rows.iterrows()):
            panel.plot([row["low"], row["high"]], [height, height], color=color_cell(cell), linewidth=1.5)
            panel.plot(row["estimate"], height, color=color_cell(cell), marker="o", markersize=5)
        panel.axvline(rows["estimate"].iloc[0], color=BASE_COLOR, linestyle=":", linewidth=1)
        panel.set_title(f"{name_task(task)}\n({group['metric'].iloc[0]})", fontsize=10)
        panel.set_yticks(
            range(len(cells)), [name_cell(cell) for cell in cells] if number % 3 == 0 else [], fontsize=11
        )
        panel.set_xlim(max(-0.03, rows["low"].min() - 0.05), rows["high"].max() + 0.05)
        panel.xaxis.set_major_locator(MaxNLocator(3))
        panel.tick_params(axis="x", labelsize=10)
        panel.grid(visible=False, axis="y")
        panel.set_ylim(len(cells) - 0.5, -0.5)
    return ax


def plot_lattice(table: pd.DataFrame, ax: Axes, unit: str = SCORE_UNIT) -> Axes:
    """Draw the lattice of subsets, one panel a category of tasks: from the base model on the left, each line
    adds a category; colours are gains over base.

    Example:
        fig, ax = plt.subplots(figsize=(6.4, 8), layout="constrained")
        plot_lattice(pd.read_csv("book/figures/lattice.csv"), ax)

    Args:
        table: trained_on (categories joined by '+'), tested_on, estimate.
        ax: where to draw.
        unit: of the gains.
    """
    limit = find_limit(table["estimate"].to_numpy())
    colors = ScalarMappable(Normalize(-limit, limit), DIVERGING)
    groups = [
        (category, table[table["tested_on"] == category]) for category in order_categories(table["tested_on"])
    ]
    panels = split_axes(ax, len(groups), 1)
    for panel, (category, group) in zip(panels, groups, strict=True):
        gains = {BASE: 0.0} | dict(zip(group["trained_on"], group["estimate"], strict=True))
        draw_lattice(panel, gains, colors)
        panel.set_title(f"{name_category(category)} tasks", fontsize=11)
    ax.figure.colorbar(colors, ax=panels, label=f"Gain over base ({unit})", shrink=0.6)
    return ax


def draw_lattice(panel: Axes, gains: dict[str, float], colors: ScalarMappable) -> None:
    """Draw one lattice: a box for each subset, a line wherever one more category makes one
    subset of another.
    """
    parts = {cell: frozenset() if cell == BASE else frozenset(cell.split("+")) for cell in gains}
    places: dict[str, tuple[float, float]] = {}
    for size in range(max(map(len, parts.values())) + 1):
        level = [cell for cell in gains if len(parts[cell]) == size]
        places |= {cell: (size, (len(level) - 1) / 2 - height) for height, cell in enumerate(level)}
    for cell, place in places.items():
        for other in places:
            if parts[cell] < parts[other] and len(parts[other]) == len(parts[cell]) + 1:
                panel.plot(*zip(place, places[other], strict=True), color="#bbbbbb", linewidth=1, zorder=1)
        size = 10 if len(parts) <= 8 else 6
        color = "white" if abs(gains[cell]) > DARK * colors.norm.vmax else "black"
        box = {
            "boxstyle": "round,pad=0.4",
            "facecolor": colors.to_rgba(gains[cell]),
            "edgecolor": "#555555",
            "linewidth": 0.8,
        }
        text = name_cell(cell) if cell == BASE else f"{name_cell(cell)}\n{gains[cell]:+.3f}"
        panel.text(*place, text, ha="center", va="center", color=color, fontsize=size, bbox=box)
    heights = [height for _, height in places.values()]
    panel.set(xlim=(-0.4, max(map(len, parts.values())) + 0.5), ylim=(min(heights) - 0.5, max(heights) + 0.5))
    panel.set_axis_off()


def plot_shapley(table: pd.DataFrame, ax: Axes, unit: str = SCORE_UNIT) -> Axes:
    """Draw the Shapley value of each category of instructions as bars, grouped by the category of tasks, with
    intervals.

    Example:
        fig, ax = plt.subplots()
        plot_shapley(pd.read_csv("book/figures/shapley.csv"), ax)

    Args:
        table: trained_on (category of instructions), tested_on (category of tasks), estimate, low, high.
        ax: where to draw.
        unit: of the values.
    """
    players, categories = (
        list(dict.fromkeys(table["trained_on"])),
        list(order_categories(table["tested_on"])),
    )
    height, colors = 0.8 / len(players), color_categories(players)
    for number, player in enumerate(players):
        rows = table[table["trained_on"] == player].set_index("tested_on").loc[categories]
        places = np.arange(len(categories)) + (number - (len(players) - 1) / 2) * height
        errors = list_errors(rows)
        ax.barh(
            places,
            rows["estimate"],
            0.9 * height,
            xerr=errors,
            capsize=2,
            color=colors[player],
            label=f"{name_cell(player)} rows",
        )
    ax.axvline(0, color="black", linewidth=0.8)
    label_rows(ax, [f"{name_cell(category)} tasks" for category in categories])
    ax.set(xlabel=f"Shapley value: share of the gain over base ({unit})")
    ax.legend(frameon=False, loc="upper center", bbox_to_anchor=(0.45, -0.2), ncols=len(players))
    return ax


def plot_sizes(table: pd.DataFrame, ax: Axes, unit: str = SCORE_UNIT) -> Axes:
    """Draw how each quantity grows with the number of rows, one panel a quantity, one line a category of
    tasks (the paper's Figure 3 for the first).

    Example:
        fig, ax = plt.subplots(figsize=(6.4, 6), layout="constrained")
        plot_sizes(pd.read_csv("book/figures/sizes.csv"), ax)

    Args:
        table: quantity, size (rows), tested_on, estimate, low, high.
        ax: where to draw.
        unit: of the estimates.
    """
    groups = list(table.groupby("quantity", sort=False))
    colors = color_categories(table["tested_on"])
    for (quantity, group), panel in zip(groups, split_axes(ax, len(groups), 1), strict=True):
        for number, (category, rows) in enumerate(group.groupby("tested_on", sort=False)):
            places = rows["size"] * 1.03 ** (
                number - 1
            )  # side by side, so that intervals do not cover each other
            errors = list_errors(rows)
            panel.errorbar(
                places,
                rows["estimate"],
                yerr=errors,
                color=colors[category],
                marker="o",
                capsize=2,
                label=f"{name_cell(category)} tasks",
            )
        panel.axhline(0, color="black", linewidth=0.8)
        panel.set_xscale("log", base=2)
        panel.set_xticks(sorted(set(group["size"])), [f"{size:,}" for size in sorted(set(group["size"]))])
        panel.minorticks_off()
        panel.set(xlabel="Training rows", ylabel=f"{quantity}\n({unit})")
    panel.legend(frameon=False)
    return ax
