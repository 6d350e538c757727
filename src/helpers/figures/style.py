"""One look for all figures: colour-blind safe, readable in print."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import matplotlib as mpl
import numpy as np
import seaborn as sns
from matplotlib.axes import Axes

from helpers.records import ALL, BASE, GENERAL, SHUFFLED

if TYPE_CHECKING:
    import pandas as pd

CATEGORY_NAMES = {
    "qa": "Question answering",
    "ie": "Information extraction",
    "gen": "Generation",
    "other": "Other",
}
BLUE, ORANGE, GREEN = "#0072b2", "#d55e00", "#009e73"  # Okabe and Ito's palette
GREY = "#595959"  # dark enough to differ from the green for eyes that see no red or no green
SERIES_COLORS = [BLUE, ORANGE, GREEN]
CATEGORY_COLORS = {"qa": BLUE, "ie": ORANGE, "gen": GREEN, "other": GREY}
BASE_COLOR, TUNED_COLOR = GREY, BLUE
DIVERGING = "RdBu"


def use_theme() -> None:
    """Set the study's theme for all figures that follow; text stays text in SVG, and the same data give the
    same file.
    """
    sns.set_theme(context="notebook", style="whitegrid", font="DejaVu Sans")
    mpl.rcParams |= {
        "figure.dpi": 110,
        "savefig.bbox": "tight",
        "savefig.dpi": 200,
        "svg.fonttype": "none",
        "svg.hashsalt": "bioinstruct-study",
        "axes.titlesize": "medium",
        "axes.spines.top": False,
        "axes.spines.right": False,
    }


def name_cell(cell: str) -> str:
    """Return a cell's name as figures show it: 'QA + IE' for 'qa+ie'."""
    return {BASE: "Base", ALL: "All", SHUFFLED: "Shuffled", GENERAL: "General domain"}.get(
        cell
    ) or " + ".join(part.upper() for part in cell.split("+"))


def name_task(task: str) -> str:
    """Return a task's name as figures show it."""
    return task.replace("_", " ").capitalize()


def list_errors(rows: pd.DataFrame) -> np.ndarray:
    """Return how far intervals reach below and above their estimates, as matplotlib takes error bars: shape
    (2, rows).
    """
    return np.stack([rows["estimate"] - rows["low"], rows["high"] - rows["estimate"]]).clip(min=0)


def label_rows(ax: Axes, labels: Sequence[str]) -> None:
    """Write the labels of a chart of rows beside the heights 0, 1, ..., the first at the top."""
    ax.set_yticks(range(len(labels)), labels)
    ax.invert_yaxis()
    ax.grid(visible=False, axis="y")
