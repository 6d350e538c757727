"""Figures of the data: seeds, replies, filters."""

from __future__ import annotations

from typing import TYPE_CHECKING

import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.ticker import PercentFormatter

from helpers.figures.style import BLACK, GREY, PALE, SERIES_COLORS, name_category
from helpers.records import order_categories

if TYPE_CHECKING:
    import pandas as pd

SOURCE_COLORS = dict(zip(("seeds", "kept", "paper"), SERIES_COLORS, strict=True))


def plot_shares(table: pd.DataFrame, ax: Axes) -> Axes:
    """Draw the share of each category in several sources as bars beside each other.

    Args:
        table: source, category, share (0..1).
        ax: where to draw.
    """
    order = list(order_categories(table["category"]))
    sns.barplot(
        table,
        y="category",
        x="share",
        hue="source",
        order=order,
        palette=SOURCE_COLORS,
        saturation=1,
        ax=ax,
    )
    ax.set(xlabel="Share of tasks", ylabel="")
    ax.set_yticks(ax.get_yticks(), [name_category(category) for category in order])
    ax.xaxis.set_major_formatter(PercentFormatter(1, decimals=0, symbol=" %"))
    ax.legend(title="", loc="lower center", bbox_to_anchor=(0.3, 1), ncols=3)
    return ax


def plot_similarity(matrix: pd.DataFrame, ax: Axes, threshold: float) -> Axes:
    """Draw the distribution of ROUGE-L over all pairs of instructions, with the closest pair and the filter's
    threshold marked.

    Args:
        matrix: square, one row and column an instruction, values 0..1.
        ax: where to draw.
        threshold: from which on the filter rejects an instruction (`novelty_threshold`).
    """
    import numpy as np

    pairs = matrix.to_numpy()[np.triu_indices(len(matrix), k=1)]
    ax.hist(pairs, bins=np.linspace(0, 1, 51), color=PALE, edgecolor="white", linewidth=0.5)
    ax.axvline(pairs.max(), color=BLACK, linestyle="--", label=f"closest pair, {pairs.max():.2f}")
    ax.axvline(threshold, color=BLACK, label=f"filter of new instructions, {threshold:g}")
    ax.set(xlabel="ROUGE-L F1 of a pair (0 to 1)", ylabel="Pairs of seed instructions (number)", xlim=(0, 1))
    ax.grid(visible=False, axis="x")
    ax.legend(loc="lower center", bbox_to_anchor=(0.4, 1.0))
    return ax


def plot_lengths(table: pd.DataFrame, ax: Axes) -> Axes:
    """Draw the distribution of lengths in words of instructions, inputs and outputs.

    Args:
        table: field, words.
        ax: where to draw.
    """
    sns.ecdfplot(table, x="words", hue="field", palette=SERIES_COLORS, linewidth=2, ax=ax)
    ax.set(xlabel="Length (words)", ylabel="Share of tasks at most this long")
    ax.yaxis.set_major_formatter(PercentFormatter(1, decimals=0, symbol=" %"))
    ax.get_legend().set(title="", frame_on=False)
    return ax


def plot_rejections(table: pd.DataFrame, ax: Axes) -> Axes:
    """Draw how many tasks were rejected for each reason.

    Args:
        table: reason, n.
        ax: where to draw.
    """
    sns.barplot(table, y="reason", x="n", color=PALE, saturation=1, ax=ax)
    ax.bar_label(ax.containers[0], padding=3)
    ax.margins(x=0.12)
    ax.set(xlabel="Rejected tasks (number)", ylabel="")
    return ax


def plot_saturation(table: pd.DataFrame, ax: Axes) -> Axes:
    """Draw the share of sound tasks that were novel, request by request, with its mean over a window of
    requests.

    Args:
        table: request (from 1), share_new (0..1).
        ax: where to draw.
    """
    window = max(1, len(table) // 6)
    ax.scatter(table["request"], table["share_new"], s=14, color=PALE, label="one request")
    mean = table["share_new"].rolling(window, min_periods=1).mean()
    ax.plot(table["request"], mean, color=BLACK, label=f"mean of the last {window}")
    ax.set(
        xlabel="Requests to the teacher (number)",
        ylabel="Novel among sound tasks (share)",
        xlim=(0, None),
        ylim=(0, 1.05),
    )
    ax.yaxis.set_major_formatter(PercentFormatter(1, decimals=0, symbol=" %"))
    ax.legend(loc="lower left")
    return ax


def plot_roots(table: pd.DataFrame, ax: Axes) -> Axes:
    """Draw the commonest root verbs as bars, each with its commonest objects written beside it.

    Args:
        table: verb, n, object, n_object; verbs in order; without rows where no instruction has one.
        ax: where to draw.
    """
    if table.empty:
        ax.text(0.5, 0.5, "No instruction has a root verb", color=GREY, ha="center", va="center")
        ax.set_axis_off()
        return ax
    verbs = (
        table.groupby("verb", sort=False)
        .agg(n=("n", "first"), objects=("object", lambda names: ", ".join(filter(None, names))))
        .reset_index()
    )
    sns.barplot(verbs, y="verb", x="n", color=PALE, saturation=1, ax=ax)
    ax.bar_label(ax.containers[0], labels=verbs["objects"], padding=4, color=GREY)
    ax.set(xlabel="Instructions with this root verb (number)", ylabel="", xlim=(0, 4.5 * verbs["n"].max()))
    return ax


def plot_growth(table: pd.DataFrame, ax: Axes) -> Axes:
    """Draw how the number of tasks grows with the requests: all that were parsed, and those kept.

    Args:
        table: request (from 1), parsed and kept (cumulative).
        ax: where to draw.
    """
    ax.plot(table["request"], table["parsed"], color=GREY, linestyle="--", label="parsed")
    ax.plot(table["request"], table["kept"], color=BLACK, label="kept")
    ax.set(xlabel="Requests to the teacher (number)", ylabel="Tasks (number)", xlim=(0, None), ylim=(0, None))
    ax.legend()
    return ax
