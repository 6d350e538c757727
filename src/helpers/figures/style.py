"""One look for all figures: colour-blind safe, readable in print."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import matplotlib as mpl
import numpy as np
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap, to_rgb

from helpers.records import ALL, BASE, CONTROL_SEPARATOR, GENERAL, SHUFFLED, order_categories

if TYPE_CHECKING:
    import pandas as pd

CATEGORY_NAMES = {
    "qa": "Question answering",
    "ie": "Information extraction",
    "gen": "Generation",
    "other": "Other",
}
BLUE, ORANGE, GREEN = "#0072b2", "#d55e00", "#009e73"  # Okabe and Ito's palette, for categories alone
GREY = "#595959"  # dark enough to differ from the green for eyes that see no red or no green
BLACK, PALE = "#000000", "#b3b3b3"
SERIES_COLORS = [PALE, BLACK, "#737373"]  # what is not a category has no hue
CATEGORY_COLORS = {"qa": BLUE, "ie": ORANGE, "gen": GREEN, "other": GREY}
MORE_COLORS = ["#000000", "#cc79a7", "#56b4e9", "#e69f00", "#5e3c99", "#7f5539"]  # of a user's own categories
BASE_COLOR, TUNED_COLOR = GREY, BLACK
SCORE_UNIT = "score, 0 to 1"
LOST, GAINED = "#c8a288", "#b39ddb"  # pale enough for numbers on them in black, and in the dark in white
DIVERGING = LinearSegmentedColormap.from_list("gain", [LOST, "#ffffff", GAINED])
WIDTH = 4.8  # inches of every figure: its smallest type is then 10 px on a phone
SMALL = 10  # points of the smallest type


def use_theme() -> None:
    """Set the study's theme for all figures that follow; text stays text in SVG, and the same data give the
    same file.
    """
    sns.set_theme(context="notebook", style="whitegrid", font="DejaVu Sans")
    mpl.rcParams |= {
        "figure.constrained_layout.use": True,
        "figure.dpi": 110,
        "font.size": SMALL,
        "axes.labelsize": SMALL,
        "xtick.labelsize": SMALL,
        "ytick.labelsize": SMALL,
        "legend.fontsize": SMALL,
        "legend.title_fontsize": SMALL,
        "legend.frameon": False,
        "savefig.bbox": "tight",
        "savefig.pad_inches": 0.03,
        "savefig.dpi": 200,
        "svg.fonttype": "none",
        "svg.hashsalt": "bioinstruct-study",
        "axes.titlesize": SMALL,
        "axes.spines.top": False,
        "axes.spines.right": False,
    }


def color_categories(names: Iterable[str]) -> dict[str, str]:
    """Return the colour of each category, in the study's order; a user's own ones take theirs by their place
    among the names.
    """
    ordered = order_categories(names)
    own = [name for name in ordered if name not in CATEGORY_COLORS]
    more = {name: MORE_COLORS[number % len(MORE_COLORS)] for number, name in enumerate(own)}
    return {name: (CATEGORY_COLORS | more)[name] for name in ordered}


def name_category(name: str) -> str:
    """Return a category's name as figures show it; a user's own stays as it is."""
    return CATEGORY_NAMES.get(name, name)


def name_cell(cell: str) -> str:
    """Return a cell's name as figures show it: 'QA + IE' for 'qa+ie', 'QA 200 + IE 1' for 'qa:200+ie:1'."""
    known = {BASE: "Base", ALL: "All", SHUFFLED: "Shuffled", GENERAL: "General domain"}
    plain, control, kind = cell.partition(CONTROL_SEPARATOR)
    if control:
        return f"{name_cell(plain)}, {'matched ' if kind != SHUFFLED else ''}{kind}"
    parts = [part.partition(":") for part in cell.split("+")]
    return known.get(cell) or " + ".join(
        f"{name.upper() if name in CATEGORY_NAMES else name} {rows}".rstrip() for name, _, rows in parts
    )


def name_task(task: str) -> str:
    """Return a task's name as figures show it."""
    words = task.replace("yesnomaybe", "yes/no/maybe").replace("yesno", "yes/no")
    return words.replace("_", " ").capitalize()


def pick_ink(color: str | Sequence[float]) -> str:
    """Return black or white, whichever stands out more on a colour: at least 4.5 to 1 on any."""
    return max(("black", "white"), key=lambda ink: measure_contrast(ink, color))


def measure_contrast(one: str | Sequence[float], other: str | Sequence[float]) -> float:
    """Return the contrast of two colours, from 1 to 21 (Web Content Accessibility Guidelines 2.2, "contrast
    ratio").
    """
    linear = [
        np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
        for rgb in (np.array(to_rgb(color)) for color in (one, other))
    ]
    dark, light = sorted(float(rgb @ (0.2126, 0.7152, 0.0722)) for rgb in linear)
    return (light + 0.05) / (dark + 0.05)


def color_cell(cell: str) -> str:
    """Return the colour of a cell: grey for the base model, a category's own, black for mixtures."""
    return BASE_COLOR if cell == BASE else CATEGORY_COLORS.get(cell, BLACK)


def split_axes(ax: Axes, n: int, n_columns: int, heights: Sequence[float] | None = None) -> list[Axes]:
    """Give the place of one axes to `n` panels, row by row; the axes itself shows nothing any more."""
    ax.set_axis_off()
    ax.figure.set_layout_engine("constrained")
    grid = ax.get_subplotspec().subgridspec(-(-n // n_columns), n_columns, height_ratios=heights)
    return [ax.figure.add_subplot(grid[number // n_columns, number % n_columns]) for number in range(n)]


def list_errors(rows: pd.DataFrame) -> np.ndarray:
    """Return how far intervals reach below and above their estimates, as matplotlib takes error bars: shape
    (2, rows).
    """
    return np.stack([rows["estimate"] - rows["low"], rows["high"] - rows["estimate"]]).clip(min=0)


def place_marks(n: int) -> list[float]:
    """Return the heights of n marks about that of their row, close enough to stay beside its name."""
    apart = min(0.25, 0.75 / n)
    return [(rank - (n - 1) / 2) * apart for rank in range(n)]


def write_row_labels(ax: Axes, labels: Sequence[str]) -> None:
    """Write the labels of a chart of rows beside the heights 0, 1, ..., the first at the top."""
    ax.set_yticks(range(len(labels)), labels)
    ax.invert_yaxis()
    ax.grid(visible=False, axis="y")
