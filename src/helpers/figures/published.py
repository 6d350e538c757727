"""Figures of the paper's numbers: its tables and figures redrawn, its claims recomputed, its ablation against
size.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle
from matplotlib.ticker import MaxNLocator

from helpers.analysis.published.claims import REPRODUCES
from helpers.figures.outcomes import MARKERS, find_limit
from helpers.figures.style import (
    BASE_COLOR,
    BLACK,
    CATEGORY_COLORS,
    CATEGORY_NAMES,
    DIVERGING,
    SMALL,
    list_errors,
    name_cell,
    pick_ink,
    split_axes,
    write_row_labels,
)
from helpers.records import ALL, BASE

if TYPE_CHECKING:
    import pandas as pd

MODEL_COLORS = {  # none of a category's
    "LLaMA 1 7B": "#9c8f28",
    "LLaMA 1 13B": "#4f4300",
    "LLaMA 2 7B": "#d9679f",
    "LLaMA 2 13B": "#8a1c5c",
}
MEASURES = {"qa": "accuracy, 0 to 100", "ie": "F1, 0 to 100", "gen": "GPT-4's score, 1 to 5"}  # Figure 2
ZOOM = 2  # percentage points about a claim that are shown larger
ABOVE = {"loc": "lower center", "columnspacing": 1, "handletextpad": 0.4}


def plot_scores_of_models(table: pd.DataFrame, ax: Axes, unit: str = "percent") -> Axes:
    """Draw base and tuned scores of each LLaMA joined by a line, the other groups' models as grey marks, with
    the printed ± as intervals.

    Args:
        table: label, model, cell ('base', 'all' or 'other_group'), score, plus_minus (NaN: none printed).
        ax: where to draw.
        unit: of the scores.
    """
    labels = list(dict.fromkeys(table["label"]))
    models = [model for model in MODEL_COLORS if model in set(table["model"])]
    rows = table.assign(height=table["label"].map(labels.index), plus_minus=table["plus_minus"].fillna(0))
    others = rows[rows["cell"] == "other_group"]
    ax.plot(
        others["score"],
        others["height"] - 0.38,
        linestyle="none",
        marker="|",
        markersize=9,
        color=BASE_COLOR,
        label="other groups' models",
    )
    for number, model in enumerate(models):
        own = rows[rows["model"] == model].pivot(
            index="height", columns="cell", values=["score", "plus_minus"]
        )
        heights, color = own.index + (number - (len(models) - 1) / 2) * 0.17 + 0.08, MODEL_COLORS[model]
        ax.hlines(heights, own["score", BASE], own["score", ALL], color=color, linewidth=1.2)
        for cell in (BASE, ALL):
            bars = {"fmt": "none", "ecolor": color, "elinewidth": 2.5}
            ax.errorbar(own["score", cell], heights, xerr=own["plus_minus", cell], **bars)
        marks = {"linestyle": "none", "marker": "o", "color": color, "zorder": 3}  # over all bars
        ax.plot(own["score", BASE], heights, markersize=6.5, markerfacecolor="white", **marks)
        ax.plot(own["score", ALL], heights, markersize=4, label=f"{model}, tuned", **marks)
    write_row_labels(ax, [label.replace(", ", ",\n", 1) for label in labels])
    ax.set(xlabel=f"Score as printed ({unit}); hollow: base model")
    ax.legend(**ABOVE, ncols=2, bbox_to_anchor=(0.35, 1))
    return ax


def plot_claims(ways: pd.DataFrame, ax: Axes) -> Axes:
    """Draw each way to compute a headline gain as a dot; the gain of means over all models and tasks, and the
    ways that give the claim, stand out; on the right, what lies within two points of the claim.

    Args:
        ways: claim, value, claimed and difference (percent), verdict; the first row of a claim is drawn as a
            diamond.
        ax: where to draw.
    """
    claims = list(dict.fromkeys(ways["claim"]))
    ax.set_axis_off()
    grid = ax.get_subplotspec().subgridspec(1, 2, width_ratios=(3, 2))
    whole, near = (ax.figure.add_subplot(grid[0, column]) for column in (0, 1))
    for height, claim in enumerate(claims):
        group = ways[ways["claim"] == claim]
        _draw_ways(whole, group, group["value"], group["claimed"].iloc[0], height)
        _draw_ways(near, group, group["difference"], 0, height)
    write_row_labels(whole, [CATEGORY_NAMES[claim].replace(" ", "\n", 1) for claim in claims])
    write_row_labels(near, [""] * len(claims))
    whole.set_xlabel("Gain (percent, or points\nof the scale)")
    near.set(xlabel=f"Distance from the claim,\nup to {ZOOM} points", xlim=(-ZOOM, ZOOM))
    return ax


def _draw_ways(ax: Axes, group: pd.DataFrame, values: pd.Series, claimed: float, height: int) -> None:
    color, values = CATEGORY_COLORS[group["claim"].iloc[0]], values.to_numpy()
    spread = height + ((np.arange(len(group)) * 0.618) % 1 - 0.5) * 0.5
    hits = (group["verdict"] == REPRODUCES).to_numpy()
    dots = {"linestyle": "none", "marker": "o"}
    ax.plot(values, spread, markersize=3, color=color, alpha=0.35, **dots)
    ax.plot(values[hits], spread[hits], markersize=7, markerfacecolor="none", color="black", **dots)
    ax.vlines(claimed, height - 0.4, height + 0.4, color="black", linewidth=1.5)
    ax.plot(values[0], height, marker="D", markersize=7, color=color, markeredgecolor="black")


def plot_published_transfer(table: pd.DataFrame, ax: Axes) -> Axes:
    """Draw the paper's transfer matrix as a heat map with one colour scale a column, since the columns'
    measures differ; what the paper does not report is hatched.

    Args:
        table: trained_on, tested_on, estimate, low, high (units of the tasks' measure).
        ax: where to draw.
    """
    cells, categories = list(dict.fromkeys(table["trained_on"])), list(MEASURES)
    colors, known = DIVERGING, table.set_index(["trained_on", "tested_on"])
    for column, category in enumerate(categories):
        limit = find_limit(known.xs(category, level="tested_on")["estimate"].to_numpy())
        for height, cell in enumerate(cells):
            if (cell, category) in known.index:
                row = known.loc[(cell, category)]
                text = f"{row['estimate']:+.2f}\n± {row['high'] - row['estimate']:.2f}".replace("-", "−")
                style = {"facecolor": (face := colors((1 + row["estimate"] / limit) / 2)[:3])}
            else:
                text, face = "not reported", "white"
                style = {"facecolor": face, "hatch": "///", "edgecolor": "#dddddd"}
            ax.add_patch(Rectangle((column - 0.5, height - 0.5), 1, 1, **style))
            back = {} if face != "white" else {"bbox": {"facecolor": face, "edgecolor": "none", "pad": 1}}
            ax.text(column, height, text, ha="center", va="center", color=pick_ink(face), **back)
    write_row_labels(ax, ["All rows" if cell == ALL else name_cell(cell) for cell in cells])
    ax.grid(visible=False)
    names = [
        f"{CATEGORY_NAMES[name].replace(' ', chr(10), 1)}\n{MEASURES[name].replace(', ', chr(10))}"
        for name in categories
    ]
    ax.set_xticks(range(len(categories)), names)
    ax.set(xlim=(-0.5, len(categories) - 0.5), ylim=(len(cells) - 0.5, -0.5), ylabel="Tuned on")
    ax.set(xlabel="Category of the tasks; gain over base in\npoints of the measure, ± error of reading")
    return ax


def plot_table4_beside_figure2(table: pd.DataFrame, ax: Axes) -> Axes:
    """Draw what Table 4 prints beside what Figure 2 gives, each as a difference from tuning on the category
    alone.

    Args:
        table: category, cell, printed, figure, low, high (percent).
        ax: where to draw.
    """
    heights = np.arange(len(table))
    for category, rows in table.groupby("category", sort=False):
        color, at = CATEGORY_COLORS[category], heights[rows.index]
        errors = np.stack([rows["figure"] - rows["low"], rows["high"] - rows["figure"]])
        ax.errorbar(
            rows["figure"],
            at + 0.13,
            xerr=errors,
            linestyle="none",
            marker="o",
            markerfacecolor="white",
            color=color,
            capsize=2,
        )
        ax.plot(rows["printed"], at - 0.13, linestyle="none", marker="D", color=color)
    ax.axvline(0, color="black", linewidth=0.8)
    write_row_labels(
        ax, [f"{name_cell(row.category)} tasks: tuned on {name_cell(row.cell)}" for row in table.itertuples()]
    )
    ax.plot([], [], linestyle="none", marker="D", color="black", label="printed in Table 4")
    ax.plot(
        [], [], linestyle="none", marker="o", markerfacecolor="white", color="black", label="from Figure 2"
    )
    ax.set(xlabel="Difference from tuning on the tasks'\nown category alone (percent)")
    ax.legend(**ABOVE, ncols=2, bbox_to_anchor=(0.2, 1))
    return ax


def plot_share_of_full_gain(table: pd.DataFrame, ax: Axes) -> Axes:
    """Draw what part of the full mixture's gain each subset reaches on each task.

    Args:
        table: cell, task, category, estimate, low, high (1: the gain of the full mixture).
        ax: where to draw.
    """
    cells = list(dict.fromkeys(table["cell"]))
    ordered = table.sort_values(
        "category", key=lambda names: names.map(list(CATEGORY_NAMES).index), kind="stable"
    )
    tasks = list(dict.fromkeys(ordered["task"]))
    for number, cell in enumerate(cells):
        rows = table[table["cell"] == cell]
        heights = rows["task"].map(tasks.index) + (number - (len(cells) - 1) / 2) * 0.12
        color = CATEGORY_COLORS.get(cell, "#444444")
        style = {
            "marker": MARKERS[number],
            "color": color,
            "markerfacecolor": color if cell in CATEGORY_COLORS else "white",
        }
        ax.errorbar(
            rows["estimate"],
            heights,
            xerr=list_errors(rows),
            linestyle="none",
            markersize=5,
            elinewidth=0.8,
            label=name_cell(cell),
            **style,
        )
    for value in (0, 1):
        ax.axvline(value, color="black", linewidth=0.8, linestyle="-" if value == 0 else "--")
    write_row_labels(ax, tasks)
    ax.set(xlabel="Part of the full mixture's gain\nover the base model (1: all of it)", xlim=(-0.03, None))
    ax.legend(**ABOVE, ncols=3, bbox_to_anchor=(0.35, 1))
    return ax


def plot_size_curves(table: pd.DataFrame, ax: Axes) -> Axes:
    """Draw the gain over the base model against the number of training rows, one small panel per task, each
    with its own scale.

    Args:
        table: task, category, n_rows, gain (percent).
        ax: where to draw.
    """
    groups = list(table.groupby("task", sort=False))
    for (task, rows), panel in zip(groups, split_axes(ax, len(groups), 2), strict=True):
        color = CATEGORY_COLORS[rows["category"].iloc[0]]
        panel.plot(rows["n_rows"], rows["gain"], marker="o", markersize=5, color=color)
        panel.axhline(0, color=BLACK, linewidth=0.8)
        panel.set_title(task, loc="left")
        panel.yaxis.set_major_locator(MaxNLocator(3))
        _scale_rows(panel, sorted(set(table["n_rows"])))
        panel.set_xlabel("")
    ax.figure.supxlabel("Training rows (thousands, log scale)", fontsize=SMALL)
    ax.figure.supylabel("Gain over the base model (percent)", fontsize=SMALL)
    colors = {category: CATEGORY_COLORS[category] for category in dict.fromkeys(table["category"])}
    handles = [
        Line2D([], [], marker="o", color=color, label=f"{name_cell(category)} tasks")
        for category, color in colors.items()
    ]
    ax.figure.legend(handles=handles, loc="outside upper center", ncols=3)
    return ax


def plot_share_by_size(table: pd.DataFrame, ax: Axes) -> Axes:
    """Draw the ablation's cells against their number of rows, on top of the size curves of the full mixture.

    Args:
        table: kind ('cell' or 'curve'), category, cell, n_rows, share_of_gain (1: the gain with all rows).
        ax: where to draw.
    """
    for category, rows in table.groupby("category", sort=False):
        color = CATEGORY_COLORS[category]
        curve, cells = rows[rows["kind"] == "curve"], rows[rows["kind"] == "cell"]
        ax.plot(
            curve["n_rows"], curve["share_of_gain"], color=color, label=f"{CATEGORY_NAMES[category]} tasks"
        )
        own = (cells["cell"] == category).to_numpy()
        ax.plot(
            cells["n_rows"],
            cells["share_of_gain"],
            linestyle="none",
            marker="o",
            markersize=6,
            color=color,
            markerfacecolor="white",
        )
        ax.plot(
            cells["n_rows"][own],
            cells["share_of_gain"][own],
            linestyle="none",
            marker="o",
            markersize=6,
            color=color,
        )
    ax.axhline(1, color="black", linewidth=0.8, linestyle="--")
    _scale_rows(ax, sorted(set(table.loc[table["kind"] == "curve", "n_rows"])))
    ax.set(ylabel="Part of the gain with all rows", ylim=(0, None))
    ax.plot([], [], linestyle="none", marker="o", color="black", label="tuned on the own category alone")
    ax.plot(
        [],
        [],
        linestyle="none",
        marker="o",
        markerfacecolor="white",
        color="black",
        label="on another, or on two",
    )
    ax.legend(loc="lower right")
    return ax


def _scale_rows(ax: Axes, sizes: list[int]) -> None:
    ax.set_xscale("log")
    ax.set_xticks(sizes, [f"{size / 1000:.0f}" for size in sizes])
    ax.set_xticks([], minor=True)
    ax.set(xlabel="Training rows (thousands, log scale)")
