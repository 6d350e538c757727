"""The look of the figures: colours that every eye can tell apart, texts that a phone can show."""

import itertools

import numpy as np
import pandas as pd
import pytest
from colorspacious import cspace_convert
from matplotlib.colors import to_rgb
from matplotlib.text import Text

from helpers.analysis.published import ablation
from helpers.book.gallery import GALLERY, draw
from helpers.figures.outcomes import find_limit
from helpers.figures.published import MODEL_COLORS
from helpers.figures.style import CATEGORY_COLORS, SERIES_COLORS, use_theme

APART = 11  # distance in CAM02-UCS: colours of two marks are told apart without looking twice
PHONE = 358  # width of a figure on a screen of 390 px
LEGIBLE = 7.5  # px


@pytest.mark.parametrize("eyes", ["all colours", "deuteranomaly", "protanomaly", "tritanomaly"])
@pytest.mark.parametrize(
    "colors",
    [CATEGORY_COLORS.values(), MODEL_COLORS.values(), SERIES_COLORS],
    ids=["categories", "models", "series"],
)
def test_colours_differ_for_eyes_that_miss_a_cone(colors, eyes):
    rgb = np.array([to_rgb(color) for color in colors])
    if eyes != "all colours":
        rgb = np.clip(
            cspace_convert(rgb, {"name": "sRGB1+CVD", "cvd_type": eyes, "severity": 100}, "sRGB1"), 0, 1
        )
    seen = cspace_convert(rgb, "sRGB1", "CAM02-UCS")
    assert min(np.linalg.norm(one - other) for one, other in itertools.combinations(seen, 2)) > APART


def grid_tables():
    """Return tables of the figures that write the most into the least room, as large as the default study
    makes them.
    """
    cells, categories = (
        ["qa", "ie", "gen", "qa+ie", "qa+gen", "ie+gen", "qa+ie+gen", "all"],
        ["qa", "ie", "gen"],
    )
    gains = {"estimate": 0.1, "low": -0.1, "high": 0.2}
    transfer = pd.DataFrame(
        [{"trained_on": cell, "tested_on": category, **gains} for cell in cells for category in categories]
    )
    tasks = pd.DataFrame(
        [
            {"cell": cell, "task": f"some_task_{n}", "metric": "exact match", **gains}
            for cell in ["base", "qa", "ie", "gen"]
            for n in range(9)
        ]
    )
    roots = pd.DataFrame(
        [{"verb": f"verb{n}", "n": 40 - n, "object": "summary", "n_object": 2} for n in range(20)]
    )
    return {
        "transfer": transfer,
        "lattice": transfer[transfer["trained_on"] != "all"],
        "panels": tasks,
        "gains": tasks[tasks["cell"] != "base"],
        "root_verbs": roots,
    }


@pytest.mark.parametrize(
    "name",
    [
        *grid_tables(),
        *(name for name, drawing in GALLERY.items() if drawing.notebook == "06_published_results"),
    ],
)
def test_texts_of_figures_are_legible_on_a_phone(name):
    use_theme()
    figure = draw(name, grid_tables()[name] if name in grid_tables() else GALLERY[name].table(None))
    figure.canvas.draw()
    scale = PHONE / (figure.get_figwidth() * 72)
    sizes = {
        text.get_text(): text.get_fontsize() * scale
        for text in figure.findobj(Text)
        if text.get_text().strip() and text.get_visible()
    }
    assert min(sizes.values()) >= LEGIBLE, min(sizes, key=sizes.get)


def test_a_colour_scale_with_empty_cells_holds_all_values():
    assert (
        find_limit(
            ablation.transfer_table()
            .pivot(index="trained_on", columns="tested_on", values="estimate")
            .to_numpy()
        )
        > 0.4
    )
