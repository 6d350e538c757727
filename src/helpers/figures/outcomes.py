"""Figures of what tuning does: losses, scores, gains, transfer."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import seaborn as sns
from matplotlib.axes import Axes

from helpers.figures.style import BASE_COLOR, CATEGORY_COLORS, CATEGORY_NAMES, DIVERGING, TUNED_COLOR, name_cell, name_task

if TYPE_CHECKING:
    import pandas as pd

MARKERS = "osD^vP*X"


def plot_loss(table: pd.DataFrame, ax: Axes) -> Axes:
    """Draw the loss of every step, and the learning rate on a second axis.

    Args:
        table: step, loss (nats per response token), learning_rate.
        ax: where to draw.
    """
    ax.plot(table["step"] + 1, table["loss"], color=TUNED_COLOR, marker="o", markersize=3)
    ax.set(xlabel="Optimizer step", ylabel="Loss (nats per response token)")
    rate = ax.twinx()
    rate.plot(table["step"] + 1, table["learning_rate"], color=BASE_COLOR, linestyle=":")
    rate.set(ylabel="Learning rate (dotted)", ylim=(0, None))
    rate.grid(visible=False)
    return ax


def plot_scores(table: pd.DataFrame, ax: Axes) -> Axes:
    """Draw the score of each model on each task with its interval.

    Args:
        table: cell, task, estimate, low, high (0..1).
        ax: where to draw.
    """
    tasks, cells = list(dict.fromkeys(table["task"])), list(dict.fromkeys(table["cell"]))
    for number, cell in enumerate(cells):
        rows = table[table["cell"] == cell].set_index("task").loc[tasks]
        heights = np.arange(len(tasks)) + (number - (len(cells) - 1) / 2) * 0.25
        _draw_intervals(ax, rows, heights, color=BASE_COLOR if cell == "base" else TUNED_COLOR, marker=MARKERS[number], label=name_cell(cell))
    _label_rows(ax, [name_task(task) for task in tasks])
    ax.set(xlabel="Score (0 to 1)", xlim=(-0.02, 1))
    ax.legend(frameon=False)
    return ax


def plot_gains(table: pd.DataFrame, ax: Axes) -> Axes:
    """Draw the gain over the base model of each cell on each task, as the paper's Figure 2 does for scores.

    Args:
        table: cell, task, estimate, low, high.
        ax: where to draw.
    """
    tasks, cells = list(dict.fromkeys(table["task"])), list(dict.fromkeys(table["cell"]))
    for number, cell in enumerate(cells):
        rows = table[table["cell"] == cell].set_index("task").loc[tasks]
        heights = np.arange(len(tasks)) + (number - (len(cells) - 1) / 2) * 0.22
        _draw_intervals(ax, rows, heights, color=CATEGORY_COLORS.get(cell, "black"), marker=MARKERS[number], label=f"tuned on {name_cell(cell)}")
    ax.axvline(0, color="black", linewidth=0.8)
    _label_rows(ax, [name_task(task) for task in tasks])
    ax.set(xlabel="Gain over the base model")
    ax.legend(frameon=False, loc="upper center", bbox_to_anchor=(0.4, -0.12), ncols=len(cells))
    return ax


def plot_transfer(table: pd.DataFrame, ax: Axes) -> Axes:
    """Draw the transfer matrix: rows are what the model was tuned on, columns the category of tasks, values the gain over base with its interval.

    Args:
        table: contrast, category, estimate, low, high.
        ax: where to draw.
    """
    cells, categories = list(dict.fromkeys(table["contrast"])), [category for category in CATEGORY_NAMES if category in set(table["category"])]
    matrix = table.pivot(index="contrast", columns="category", values="estimate").loc[cells, categories]
    texts = table.assign(text=[f"{row.estimate:+.2f}\n[{row.low:+.2f}, {row.high:+.2f}]" for row in table.itertuples()])
    limit = max(0.01, float(matrix.abs().max(axis=None)))
    annotations = texts.pivot(index="contrast", columns="category", values="text").loc[cells, categories]
    sns.heatmap(matrix, annot=annotations, fmt="", cmap=DIVERGING, vmin=-limit, vmax=limit, annot_kws={"fontsize": 9}, ax=ax)
    ax.collections[0].colorbar.set_label("Gain over base")
    ax.set_xticklabels([CATEGORY_NAMES[category].replace(" ", "\n", 1) for category in categories])
    ax.set_yticklabels([name_cell(cell) for cell in cells], rotation=0)
    ax.set(xlabel="Category of the tasks", ylabel="Tuned on")
    return ax


def plot_intervals(table: pd.DataFrame, ax: Axes) -> Axes:
    """Draw estimates with intervals below each other (forest plot).

    Args:
        table: label, category, estimate, low, high; the category gives the colour.
        ax: where to draw.
    """
    for category, rows in table.reset_index(drop=True).groupby("category", sort=False):
        _draw_intervals(ax, rows, rows.index.to_numpy(), color=CATEGORY_COLORS[category], marker="o", label=CATEGORY_NAMES[category])
    ax.axvline(0, color="black", linewidth=0.8)
    _label_rows(ax, list(table["label"]))
    ax.set(xlabel="Difference of scores")
    return ax


def _draw_intervals(ax: Axes, rows: pd.DataFrame, heights: np.ndarray, **style: str) -> None:
    errors = np.abs(np.stack([rows["estimate"] - rows["low"], rows["high"] - rows["estimate"]]))
    ax.errorbar(rows["estimate"], heights, xerr=errors, linestyle="none", markersize=5, capsize=2, **style)


def _label_rows(ax: Axes, labels: list[str]) -> None:
    ax.set_yticks(range(len(labels)), labels)
    ax.invert_yaxis()
    ax.grid(visible=False, axis="y")
