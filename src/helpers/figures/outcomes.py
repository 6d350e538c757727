"""Figures of what tuning does: losses, scores, gains with their intervals."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from helpers.analysis.hypotheses import ALPHA
from helpers.analysis.intervals import write_interval
from helpers.figures.style import (
    BASE_COLOR,
    BLACK,
    GREY,
    SCORE_UNIT,
    TUNED_COLOR,
    color_categories,
    list_errors,
    name_category,
    name_cell,
    name_task,
    place_marks,
    split_axes,
    write_row_labels,
)
from helpers.records import BASE, order_categories
from helpers.study.endpoints import ON_TASKS

if TYPE_CHECKING:
    import pandas as pd

MARKERS = "osD^vP*X"
PALE_SHARE = 0.4  # of a colour, for what may be zero


def plot_loss(table: pd.DataFrame, ax: Axes) -> Axes:
    """Draw the loss of every step, and the learning rate on a second axis.

    Example:
        fig, ax = plt.subplots()
        plot_loss(pd.read_csv("book/figures/training_loss.csv"), ax)

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
        fig, ax = plt.subplots(figsize=(4.8, 4.8))
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
    write_row_labels(ax, [name_task(task) for task in tasks])
    ax.set(xlabel="Score (0 to 1)", xlim=(-0.02, 1))
    ax.legend(loc="lower center", bbox_to_anchor=(0.4, 1), ncols=2)
    return ax


def plot_intervals(
    table: pd.DataFrame, ax: Axes, unit: str = SCORE_UNIT, measured_on: str = ON_TASKS
) -> Axes:
    """Draw estimates with intervals below each other, one panel per category of items, each with its numbers
    on the same line (forest plot). Pale: the interval includes zero. Ringed: it holds after Holm's
    correction.

    Example:
        fig, ax = plt.subplots(figsize=(4.8, 4.2), layout="constrained")
        table = pd.read_csv("book/figures/additions.csv")
        plot_intervals(table, ax, unit="nats per token", measured_on="rows, held out")

    Args:
        table: contrast (or added, a category that joins the items' own), tested_on (category of items),
            estimate, low, high, and perhaps p_holm.
        ax: where to draw.
        unit: of the estimates; the default is that of scores, so a table of losses needs its own.
        measured_on: for the titles: tasks, or rows held out (`Endpoint.measured_on`).
    """
    names = "+ " + table["added"].map(name_cell) if "added" in table else table["contrast"].map(name_cell)
    _draw_forest(table.assign(label=names), ax, f"Difference ({unit})", measured_on)
    return ax


def plot_transfer(table: pd.DataFrame, ax: Axes, unit: str = SCORE_UNIT, measured_on: str = ON_TASKS) -> Axes:
    """Draw the transfer matrix as panels, one per category of items: the gain over base of every model with
    its interval, what was tuned on that category alone stressed.

    Example:
        fig, ax = plt.subplots(figsize=(4.8, 7.6), layout="constrained")
        table = pd.read_csv("book/figures/transfer.csv")
        plot_transfer(table, ax, unit="nats per token", measured_on="rows, held out")

    Args:
        table: trained_on, tested_on (category of items), estimate, low, high, and perhaps p_holm.
        ax: where to draw.
        unit: of the gains; the default is that of scores, so a table of losses needs its own.
        measured_on: for the titles, such as "tasks".
    """
    rows = table.assign(
        label=table["trained_on"].map(name_cell), own=table["trained_on"] == table["tested_on"]
    )
    stressed = "own category alone" if rows["own"].any() else ""
    _draw_forest(rows, ax, f"Gain over base ({unit})", measured_on, stressed)
    return ax


def plot_task_gains(table: pd.DataFrame, ax: Axes, unit: str = SCORE_UNIT) -> Axes:
    """Draw the gain over the base model on each task, one panel per category of tasks, one mark per
    category that the model was tuned on; the tasks' own category is stressed.

    Example:
        fig, ax = plt.subplots(figsize=(4.8, 6.4), layout="constrained")
        plot_task_gains(pd.read_csv("book/figures/gains.csv"), ax)

    Args:
        table: cell, task, category (of the task), estimate, low, high.
        ax: where to draw.
        unit: of the gains.
    """
    cells = list(dict.fromkeys(table["cell"]))
    colors = color_categories([*cells, *table["category"]])
    offsets = dict(zip(cells, place_marks(len(cells)), strict=True))
    panels = _split_categories(table.rename(columns={"category": "tested_on"}), ax, "task")
    for (category, rows), panel in panels:
        tasks = list(dict.fromkeys(rows["task"]))
        for row in rows.itertuples():
            height = tasks.index(row.task) + offsets[row.cell]
            _draw_mark(panel, row, height, colors[row.cell], row.cell == category)
        write_row_labels(panel, [name_task(task) for task in tasks])
        panel.set_ylim(len(tasks) - 0.5, -0.5)
        panel.set_title(f"{name_category(category)} tasks", loc="left", weight="bold")
    handles = [
        Line2D([], [], color=colors[cell], marker="o", label=f"tuned on {name_cell(cell)}") for cell in cells
    ]
    _finish_panels(ax, table, f"Gain over base ({unit})", handles, "own category")
    return ax


def _draw_forest(table: pd.DataFrame, ax: Axes, title: str, measured_on: str, stressed: str = "") -> None:
    table = table if "own" in table else table.assign(own=False)
    colors = color_categories(table["tested_on"])
    for (category, rows), panel in _split_categories(table, ax, "label"):
        for height, row in enumerate(rows.itertuples()):
            _draw_mark(panel, row, height, colors[category], row.own)
            numbers = write_interval(row.estimate, row.low, row.high, "+", 3)
            style = {
                "weight": "bold" if row.own else "normal",
                "color": GREY if _contains_zero(row) else BLACK,
            }
            panel.text(1.02, height, numbers, transform=panel.get_yaxis_transform(), va="center", **style)
        write_row_labels(panel, list(rows["label"]))
        panel.set_ylim(len(rows) - 0.5, -0.5)
        for label, own in zip(panel.get_yticklabels(), rows["own"], strict=True):
            label.set_weight("bold" if own else "normal")
        panel.set_title(f"{name_category(category)} {measured_on}", loc="left", weight="bold")
    _finish_panels(ax, table, title, [], stressed)


def _split_categories(table: pd.DataFrame, ax: Axes, row: str) -> list[tuple[tuple[str, pd.DataFrame], Axes]]:
    """Give each category of items a panel as high as it has rows, all on one scale."""
    names = list(order_categories(table["tested_on"]))
    groups = [(name, table[table["tested_on"] == name]) for name in names]
    panels = split_axes(ax, len(groups), 1, [rows[row].nunique() + 0.5 for _, rows in groups])
    for panel in panels[1:]:
        panel.sharex(panels[0])
    for panel in panels[:-1]:
        panel.tick_params(labelbottom=False)
    return list(zip(groups, panels, strict=True))


def _draw_mark(panel: Axes, row: tuple, height: float, color: str, own: bool) -> None:
    ringed = getattr(row, "p_holm", 1.0) < ALPHA and not _contains_zero(row)
    alpha = PALE_SHARE if _contains_zero(row) else 1.0
    panel.plot([row.low, row.high], [height, height], color=color, alpha=alpha, linewidth=1.5)
    style = {"marker": "D" if own else "o", "markersize": 6, "color": color, "alpha": alpha}
    panel.plot(row.estimate, height, **style)
    if ringed:
        panel.plot(row.estimate, height, marker="o", markersize=11, color=BLACK, fillstyle="none")


def _contains_zero(row: tuple) -> bool:
    return row.low <= 0 <= row.high


def _finish_panels(ax: Axes, table: pd.DataFrame, title: str, handles: list[Line2D], stressed: str) -> None:
    panels = [panel for panel in ax.figure.axes if panel is not ax]
    for panel in panels:
        panel.axvline(0, color=BLACK, linewidth=0.8, zorder=1)  # over the grid, under the marks
        panel.xaxis.set_major_locator(MaxNLocator(3, steps=[1, 2, 5, 10]))
    panels[-1].set_xlabel(title)
    plain = {"color": GREY, "linestyle": "none", "markersize": 6}
    if stressed:
        handles.append(Line2D([], [], marker="D", label=stressed, **plain))
    if any(map(_contains_zero, table.itertuples())):
        handles.append(
            Line2D([], [], marker="o", alpha=PALE_SHARE, label="pale: interval includes zero", **plain)
        )
    if "p_holm" in table:
        ring = plain | {"color": BLACK, "markersize": 11}
        handles.append(Line2D([], [], marker="o", fillstyle="none", label=f"p < {ALPHA} after Holm", **ring))
    if handles:
        ax.figure.legend(handles=handles, loc="outside lower center", ncols=2, columnspacing=1)


def find_limit(values: np.ndarray) -> float:
    """Return the end of a colour scale about zero that holds all values."""
    return max(0.01, float(np.nanmax(np.abs(values))))


def _draw_intervals(ax: Axes, rows: pd.DataFrame, heights: np.ndarray, **style: str) -> None:
    errors = list_errors(rows)
    ax.errorbar(rows["estimate"], heights, xerr=errors, linestyle="none", markersize=5, capsize=2, **style)
