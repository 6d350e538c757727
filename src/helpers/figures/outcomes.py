"""Figures of what tuning does: losses, scores, differences with their intervals."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np
import seaborn as sns
from matplotlib.axes import Axes

from helpers.figures.style import (
    BASE_COLOR,
    DIVERGING,
    SCORE_UNIT,
    TUNED_COLOR,
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

MARKERS = "osD^vP*X"


def plot_loss(table: pd.DataFrame, ax: Axes) -> Axes:
    """Draw the loss of every step, and the learning rate on a second axis.

    Example:
        fig, ax = plt.subplots()
        plot_loss(pd.read_csv("book/figures/loss.csv"), ax)

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

    Example:
        fig, ax = plt.subplots(figsize=(7, 4.8))
        plot_scores(pd.read_csv("book/figures/scores.csv"), ax)

    Args:
        table: cell, task, estimate, low, high (0..1).
        ax: where to draw.
    """
    tasks, cells = list(dict.fromkeys(table["task"])), list(dict.fromkeys(table["cell"]))
    for number, cell in enumerate(cells):
        rows = table[table["cell"] == cell].set_index("task").loc[tasks]
        heights = np.arange(len(tasks)) + (number - (len(cells) - 1) / 2) * 0.25
        _draw_intervals(
            ax,
            rows,
            heights,
            color=BASE_COLOR if cell == BASE else TUNED_COLOR,
            marker=MARKERS[number],
            label=name_cell(cell),
        )
    label_rows(ax, [name_task(task) for task in tasks])
    ax.set(xlabel="Score (0 to 1)", xlim=(-0.02, 1))
    ax.legend(frameon=False)
    return ax


def plot_intervals(table: pd.DataFrame, ax: Axes, unit: str = SCORE_UNIT) -> Axes:
    """Draw estimates with intervals below each other (forest plot).

    Example:
        fig, ax = plt.subplots()
        plot_intervals(pd.read_csv("book/figures/additions.csv"), ax)

    Args:
        table: label, tested_on (category of tasks, gives the colour), estimate, low, high.
        ax: where to draw.
        unit: of the estimates.
    """
    colors = color_categories(table["tested_on"])
    for category, rows in table.reset_index(drop=True).groupby("tested_on", sort=False):
        _draw_intervals(
            ax,
            rows,
            rows.index.to_numpy(),
            color=colors[category],
            marker="o",
            label=name_category(category),
        )
    ax.axvline(0, color="black", linewidth=0.8)
    label_rows(ax, list(table["label"]))
    ax.set(xlabel=f"Difference ({unit})")
    return ax


def plot_gain_map(table: pd.DataFrame, ax: Axes) -> Axes:
    """Draw the gain over the base model on each task (rows) of each cell (columns) as a heat map, with
    intervals.

    Example:
        fig, ax = plt.subplots(figsize=(6.4, 5.6))
        plot_gain_map(pd.read_csv("book/figures/gains.csv"), ax)

    Args:
        table: cell, task, estimate, low, high.
        ax: where to draw.
    """
    cells, tasks = list(dict.fromkeys(table["cell"])), list(dict.fromkeys(table["task"]))
    return draw_heat(
        table.assign(row=table["task"].map(name_task), column=table["cell"].map(name_cell)),
        ax,
        map(name_task, tasks),
        map(name_cell, cells),
        "",
    )


def plot_transfer(table: pd.DataFrame, ax: Axes, unit: str = SCORE_UNIT) -> Axes:
    """Draw the transfer matrix: rows are what the model was tuned on, columns the category of tasks, values
    the gain over base with its interval.

    Example:
        fig, ax = plt.subplots()
        plot_transfer(pd.read_csv("book/figures/transfer.csv"), ax)

    Args:
        table: trained_on, tested_on, estimate, low, high.
        ax: where to draw.
        unit: of the gains.
    """
    columns = {
        category: name_category(category).replace(" ", "\n", 1)
        for category in order_categories(table["tested_on"])
    }
    named = table.assign(row=table["trained_on"].map(name_cell), column=table["tested_on"].map(columns))
    draw_heat(named, ax, dict.fromkeys(named["row"]), columns.values(), "Category of the tasks", unit)
    ax.set(ylabel="Tuned on")
    return ax


def draw_heat(
    table: pd.DataFrame,
    ax: Axes,
    rows: Iterable[str],
    columns: Iterable[str],
    title: str,
    unit: str = SCORE_UNIT,
) -> Axes:
    """Draw gains as a heat map, white at zero, from the columns row, column, estimate, low and high."""
    order = {"index": list(rows), "columns": list(columns)}
    table = table.assign(
        text=[f"{row.estimate:+.2f}\n{row.low:+.2f} to\n{row.high:+.2f}" for row in table.itertuples()]
    )
    matrix = table.pivot(index="row", columns="column", values="estimate").reindex(**order)
    texts = table.pivot(index="row", columns="column", values="text").reindex(**order)
    limit = find_limit(matrix.to_numpy())
    sns.heatmap(
        matrix,
        annot=texts,
        fmt="",
        cmap=DIVERGING,
        vmin=-limit,
        vmax=limit,
        annot_kws={"fontsize": 11},
        ax=ax,
    )
    ax.collections[0].colorbar.set_label(f"Gain over base ({unit})")
    ax.set_yticklabels(ax.get_yticklabels(), rotation=0)
    ax.set(xlabel=title, ylabel="")
    return ax


def find_limit(values: np.ndarray) -> float:
    """Return the end of a colour scale about zero that holds all values."""
    return max(0.01, float(np.nanmax(np.abs(values))))


def _draw_intervals(ax: Axes, rows: pd.DataFrame, heights: np.ndarray, **style: str) -> None:
    errors = list_errors(rows)
    ax.errorbar(rows["estimate"], heights, xerr=errors, linestyle="none", markersize=5, capsize=2, **style)
