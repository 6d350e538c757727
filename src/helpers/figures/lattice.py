"""Figures of the lattice: its cells beside each other, its subsets, what each category adds, how gains grow
with the number of rows.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.ticker import MaxNLocator

from helpers.analysis.intervals import write_number
from helpers.figures.outcomes import find_limit
from helpers.figures.style import (
    BASE_COLOR,
    BLACK,
    DIVERGING,
    SCORE_UNIT,
    SMALL,
    color_categories,
    color_cell,
    list_errors,
    name_category,
    name_cell,
    name_task,
    pick_ink,
    split_axes,
    write_row_labels,
)
from helpers.records import BASE, order_categories
from helpers.study.endpoints import ON_TASKS

if TYPE_CHECKING:
    import pandas as pd

FEW_SUBSETS = 8  # of three categories: their names fit beside each other
TALL_BOX = 0.85  # inches of the place of a box whose names take a line each


def plot_task_scores(table: pd.DataFrame, ax: Axes) -> Axes:
    """Draw score against cell, one panel per task, as the paper's Figure 2 does; each panel has its own
    scale.

    Example:
        fig, ax = plt.subplots(figsize=(4.8, 8.4), layout="constrained")
        plot_task_scores(pd.read_csv("book/figures/single_scores.csv"), ax)

    Args:
        table: cell, task, metric, estimate, low, high (0..1).
        ax: where to draw.
    """
    cells = list(dict.fromkeys(table["cell"]))
    groups = list(table.groupby("task", sort=False))
    for number, ((task, group), panel) in enumerate(zip(groups, split_axes(ax, len(groups), 2), strict=True)):
        rows = group.set_index("cell").loc[cells]
        for height, (cell, row) in enumerate(rows.iterrows()):
            panel.plot([row["low"], row["high"]], [height, height], color=color_cell(cell), linewidth=1.5)
            panel.plot(row["estimate"], height, color=color_cell(cell), marker="o", markersize=5)
        panel.axvline(rows["estimate"].iloc[0], color=BASE_COLOR, linestyle=":", linewidth=1)
        panel.set_title(f"{name_task(task)}\n({group['metric'].iloc[0]})")
        panel.set_yticks(
            range(len(cells)),
            [name_cell(cell) for cell in cells] if number % 2 == 0 else [],
        )
        panel.set_xlim(max(-0.03, rows["low"].min() - 0.05), rows["high"].max() + 0.05)
        panel.xaxis.set_major_locator(MaxNLocator(3))
        panel.grid(visible=False, axis="y")
        panel.set_ylim(len(cells) - 0.5, -0.5)
    ax.figure.supxlabel("Score (0 to 1)", fontsize=SMALL)
    return ax


def plot_lattice(table: pd.DataFrame, ax: Axes, unit: str = SCORE_UNIT, measured_on: str = ON_TASKS) -> Axes:
    """Draw the lattice of subsets, one panel per category of items: from the base model on the left, each
    line adds a category; colours are gains over base. With more than three categories the names take a line
    each and the figure becomes as high as they need.

    Example:
        fig, ax = plt.subplots(figsize=(4.8, 8.4), layout="constrained")
        table = pd.read_csv("book/figures/lattice.csv")
        plot_lattice(table, ax, unit="nats per token", measured_on="rows, held out")

    Args:
        table: trained_on (categories joined by '+'), tested_on, estimate.
        ax: where to draw.
        unit: of the gains; the default is that of scores, so a table of losses needs its own.
        measured_on: for the titles: tasks, or rows held out (`Endpoint.measured_on`).
    """
    limit = find_limit(table["estimate"].to_numpy())
    colors = ScalarMappable(Normalize(-limit, limit), DIVERGING)
    groups = [
        (category, table[table["tested_on"] == category]) for category in order_categories(table["tested_on"])
    ]
    panels = split_axes(ax, len(groups), 1)
    if table["trained_on"].nunique() >= FEW_SUBSETS:
        most = table["trained_on"].drop_duplicates().str.count(r"\+").value_counts().max()
        ax.figure.set_figheight(len(groups) * most * TALL_BOX)
    for panel, (category, group) in zip(panels, groups, strict=True):
        gains = {BASE: 0.0} | dict(zip(group["trained_on"], group["estimate"], strict=True))
        draw_lattice(panel, gains, colors)
        panel.set_title(f"{name_category(category)} {measured_on}")
    ax.figure.colorbar(colors, ax=panels, location="bottom", label=f"Gain over base ({unit})", shrink=0.8)
    return ax


def draw_lattice(panel: Axes, gains: dict[str, float], colors: ScalarMappable) -> None:
    """Draw one lattice: a box for each subset, a line wherever one more category makes one
    subset of another.
    """
    parts = {cell: frozenset() if cell == BASE else frozenset(cell.split("+")) for cell in gains}
    joint = " + " if len(parts) <= FEW_SUBSETS else "\n+ "
    positions: dict[str, tuple[float, float]] = {}
    by_size = Counter(map(len, parts.values()))
    for size in sorted(by_size):
        level = [cell for cell in gains if len(parts[cell]) == size]
        step = max(by_size.values()) / len(level)
        positions |= {
            cell: (size, ((len(level) - 1) / 2 - height) * step) for height, cell in enumerate(level)
        }
    for cell, position in positions.items():
        for other in positions:
            if parts[cell] < parts[other] and len(parts[other]) == len(parts[cell]) + 1:
                panel.plot(
                    *zip(position, positions[other], strict=True), color="#bbbbbb", linewidth=1, zorder=1
                )
        box = {
            "boxstyle": "round,pad=0.4",
            "facecolor": (face := colors.to_rgba(gains[cell])[:3]),
            "edgecolor": "#555555",
            "linewidth": 0.8,
        }
        name = name_cell(cell).replace(" + ", joint)
        text = name if cell == BASE else f"{name}\n{write_number(gains[cell], '+', 3)}"
        panel.text(*position, text, ha="center", va="center", color=pick_ink(face), fontsize=SMALL, bbox=box)
    heights = [height for _, height in positions.values()]
    panel.set(xlim=(-0.4, max(map(len, parts.values())) + 0.5), ylim=(min(heights) - 0.5, max(heights) + 0.5))
    panel.set_axis_off()


def plot_shapley(table: pd.DataFrame, ax: Axes, unit: str = SCORE_UNIT, measured_on: str = ON_TASKS) -> Axes:
    """Draw the Shapley value of each category of instructions as bars, grouped by the category of items, with
    intervals.

    Example:
        fig, ax = plt.subplots()
        table = pd.read_csv("book/figures/shapley.csv")
        plot_shapley(table, ax, unit="nats per token", measured_on="rows, held out")

    Args:
        table: trained_on (category of instructions), tested_on (category of items), estimate, low, high.
        ax: where to draw.
        unit: of the values; the default is that of scores, so a table of losses needs its own.
        measured_on: for the labels, such as "tasks".
    """
    trained_on, categories = (
        list(dict.fromkeys(table["trained_on"])),
        list(order_categories(table["tested_on"])),
    )
    height, colors = 0.8 / len(trained_on), color_categories(trained_on)
    for number, name in enumerate(trained_on):
        rows = table[table["trained_on"] == name].set_index("tested_on").loc[categories]
        positions = np.arange(len(categories)) + (number - (len(trained_on) - 1) / 2) * height
        errors = list_errors(rows)
        ax.barh(
            positions,
            rows["estimate"],
            0.9 * height,
            color=colors[name],
            label=name_cell(name),
        )
        for width, color in ((4, "white"), (1.5, BLACK)):  # seen on a black bar too
            at = {"xerr": errors, "fmt": "none", "elinewidth": width, "ecolor": color}
            ax.errorbar(rows["estimate"], positions, capsize=2 if color == BLACK else 0, **at)
    ax.axvline(0, color="black", linewidth=0.8)
    labels = [f"{name_cell(category)} {measured_on}".replace(", ", ",\n") for category in categories]
    write_row_labels(ax, labels)
    ax.set(xlabel=f"Shapley value: share of the gain\nover base ({unit})")
    above = {"loc": "lower center", "bbox_to_anchor": (0.4, 1), "ncols": min(3, len(trained_on))}
    ax.legend(title="Training rows", **above)
    return ax


def plot_sizes(
    table: pd.DataFrame,
    ax: Axes,
    unit: str = SCORE_UNIT,
    measured_on: str = ON_TASKS,
    per_category: bool = False,
) -> Axes:
    """Draw how each quantity grows with the number of rows, in small panels: one column per quantity, one row
    per category of items (the paper's Figure 3 for the first).

    Example:
        fig, ax = plt.subplots(figsize=(4.8, 6), layout="constrained")
        table = pd.read_csv("book/figures/sizes.csv")
        plot_sizes(table, ax, unit="nats per token", measured_on="rows, held out")

    Args:
        table: quantity, n_rows, tested_on, estimate, low, high.
        ax: where to draw.
        unit: of the estimates; the default is that of scores, so a table of losses needs its own.
        measured_on: for the titles, such as "tasks".
        per_category: whether `n_rows` are the rows of each category (the additive budget), and not of a model
            in all.
    """
    quantities = list(dict.fromkeys(table["quantity"]))
    categories, sizes = list(order_categories(table["tested_on"])), sorted(set(table["n_rows"]))
    panels = split_axes(ax, len(quantities) * len(categories), len(quantities))
    colors = color_categories(categories)
    for number, panel in enumerate(panels):
        category, quantity = categories[number // len(quantities)], quantities[number % len(quantities)]
        if number >= len(quantities):
            panel.sharey(panels[number % len(quantities)])
        rows = table[(table["tested_on"] == category) & (table["quantity"] == quantity)]
        style = {"color": colors[category], "marker": "o", "markersize": 5, "capsize": 2}
        panel.errorbar(rows["n_rows"], rows["estimate"], yerr=list_errors(rows), **style)
        panel.axhline(0, color="black", linewidth=0.8)
        panel.set_xscale("log", base=2)
        panel.set_xticks(sizes, [f"{size:,}" for size in sizes])
        panel.minorticks_off()
        panel.yaxis.set_major_locator(MaxNLocator(4))
        panel.set_title(f"{quantity}\non {name_cell(category)} {measured_on}", loc="left")
        panel.tick_params(labelbottom=number >= len(panels) - len(quantities))
    counted = "Training rows per category\n(log scale)" if per_category else "Training rows (log scale)"
    for panel in panels[-len(quantities) :]:
        panel.set_xlabel(counted)
    ax.figure.supylabel(unit[0].upper() + unit[1:], fontsize=SMALL)
    return ax
