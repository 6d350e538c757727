"""Sketches that explain: the way from seed tasks to scores, LoRA's matrices, a pair and its parts."""

from __future__ import annotations

from typing import TYPE_CHECKING

from matplotlib.axes import Axes
from matplotlib.patches import FancyBboxPatch, Rectangle

from helpers.analysis.intervals import write_number
from helpers.figures.style import BLACK, GREY, color_categories, name_cell

if TYPE_CHECKING:
    import pandas as pd

REJECTED = "rejected"
SOFT = "#f0f0f0"
ARROW = {"arrowstyle": "-|>", "color": BLACK, "linewidth": 1.2, "shrinkA": 0, "shrinkB": 0}


def plot_pipeline(table: pd.DataFrame, ax: Axes) -> Axes:
    """Draw the stages of a study below each other with what each puts out; an arrow to the side shows what
    is rejected.

    Example:
        fig, ax = plt.subplots(figsize=(4.8, 4.6))
        plot_pipeline(pd.read_csv("book/figures/pipeline.csv"), ax)

    Args:
        table: stage, quantity, n; stages in order.
        ax: where to draw.
    """
    stages = list(table.groupby("stage", sort=False))
    for number, (stage, rows) in enumerate(stages):
        out = rows[rows["quantity"] == REJECTED]
        lines = [f"{row.n:,} {row.quantity}" for row in rows.drop(out.index).itertuples()]
        _draw_box(ax, 0, -number, 2.6, stage, lines)
        if number:
            ax.annotate("", (0, -number + 0.3), (0, -number + 0.7), arrowprops=ARROW)
        for row in out.itertuples():
            ax.annotate("", (1.75, -number), (1.3, -number), arrowprops=ARROW)
            ax.text(1.82, -number, f"{row.n:,}\n{row.quantity}", ha="left", va="center", color=GREY)
    ax.set(xlim=(-1.35, 2.65), ylim=(-len(stages) + 0.65, 0.35))
    ax.set_axis_off()
    return ax


def _draw_box(ax: Axes, x: float, y: float, width: float, title: str, lines: list[str]) -> None:
    corner = (x - width / 2, y - 0.3)
    style = {"boxstyle": "round,pad=0,rounding_size=0.08", "facecolor": SOFT, "edgecolor": GREY}
    ax.add_patch(FancyBboxPatch(corner, width, 0.6, **style))
    ax.text(x, y + 0.13, title, ha="center", va="center", weight="bold")
    ax.text(x, y - 0.13, ", ".join(lines), ha="center", va="center")


def plot_lora(table: pd.DataFrame, ax: Axes) -> Axes:
    """Draw the matrices of one layer to scale: the frozen weights W, and the thin B and A that are learnt and
    whose product is added.

    Example:
        fig, ax = plt.subplots(figsize=(4.8, 3.4))
        plot_lora(pd.read_csv("book/figures/lora.csv"), ax)

    Args:
        table: matrix ('W', 'B', 'A'), n_rows, n_columns, learnt.
        ax: where to draw.
    """
    longest = table[["n_rows", "n_columns"]].max(axis=None)
    gap, left, signs = 0.62 * longest, 0.0, {"B": r"$+\;\dfrac{\alpha}{r}\;\times$", "A": r"$\times$"}
    for row in table.itertuples():
        if row.matrix in signs:
            ax.text(left - gap / 2, longest / 2, signs[row.matrix], ha="center", va="center", fontsize=14)
        low = (longest - row.n_rows) / 2
        face = BLACK if row.learnt else SOFT
        ax.add_patch(Rectangle((left, low), row.n_columns, row.n_rows, facecolor=face, edgecolor=BLACK))
        middle, state = left + row.n_columns / 2, "learnt" if row.learnt else "frozen"
        ax.text(middle, low + row.n_rows + 0.04 * longest, row.matrix, ha="center", va="bottom", fontsize=14)
        label = f"{state}\n{row.n_rows:,} × {row.n_columns:,}\n{row.n_rows * row.n_columns:,} weights"
        ax.text(middle, low - 0.04 * longest, label, ha="center", va="top")
        left += row.n_columns + gap
    ax.set(xlim=(-0.15 * longest, left - gap + 0.25 * longest), ylim=(-0.42 * longest, 1.15 * longest))
    ax.set_aspect("equal")
    ax.set_axis_off()
    return ax


def plot_pair(table: pd.DataFrame, ax: Axes) -> Axes:
    """Draw what synergy and interaction compare: the gain of a pair with the mean of its two parts, and with
    their sum.

    Example:
        fig, ax = plt.subplots(figsize=(4.8, 3.6))
        plot_pair(pd.read_csv("book/figures/pair.csv"), ax)

    Args:
        table: quantity ('part', 'pair', 'mean', 'sum', 'synergy' or 'interaction'), cell, estimate.
        ax: where to draw.
    """
    gains = table.set_index("quantity")["estimate"]
    parts = table[table["quantity"] == "part"]
    pair, colors = gains["pair"], color_categories(parts["cell"])
    labels, below = [], 0.0
    for position, part in enumerate(parts.itertuples()):
        ax.bar(position, part.estimate, 0.6, color=colors[part.cell])
        ax.bar(4, part.estimate, 0.6, below, facecolor="white", edgecolor=colors[part.cell], hatch="///")
        labels.append(f"{name_cell(part.cell)}\nalone")
        below += part.estimate
    ax.bar(2, gains["mean"], 0.6, facecolor="white", edgecolor=GREY, hatch="///")
    ax.bar(3, pair, 0.6, color=BLACK)
    for position, name in ((2, "synergy"), (4, "interaction")):
        goal = gains["mean" if name == "synergy" else "sum"]
        ax.plot([position, 3], [goal, goal], color=BLACK, linestyle=":", linewidth=1)
        side = 3 + (position - 3) * 0.4
        ax.annotate("", (side, pair), (side, goal), arrowprops=ARROW)
        at = max(pair, goal) + 0.04 * gains["sum"]
        ax.text(side, at, f"{name}\n{write_number(gains[name], '+')}", ha="center", va="bottom")
    labels += ["mean\nof both", name_cell(table.loc[table["quantity"] == "pair", "cell"].iloc[0])]
    ax.set_xticks(range(5), [*labels, "sum\nof both"])
    ax.grid(visible=False, axis="x")
    ax.set(ylabel="Gain over base (points of a score)", ylim=(0, 1.3 * max(gains["sum"], pair)))
    return ax
