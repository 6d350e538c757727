"""The look of the figures: colours that every eye can tell apart, texts that a phone can show."""

import itertools
import re

import numpy as np
import pytest
from colorspacious import cspace_convert
from made import make_tables
from matplotlib.colors import to_rgb
from matplotlib.text import Text

from helpers.analysis.published import ablation
from helpers.book.gallery import GALLERY, draw
from helpers.figures.outcomes import find_limit
from helpers.figures.published import MODEL_COLORS
from helpers.figures.style import (
    CATEGORY_COLORS,
    SERIES_COLORS,
    format_end,
    format_gain,
    measure_contrast,
    pick_ink,
    use_theme,
)

APART = 11  # distance in CAM02-UCS: colours of two marks are told apart without looking twice
PHONE = 360  # px: width of a figure on a screen of 390
LEGIBLE = 10  # px
READABLE = 4.5  # contrast of a text (Web Content Accessibility Guidelines 2.2, level AA)


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


@pytest.mark.parametrize("name", GALLERY)
def test_texts_of_figures_are_legible_on_a_phone(name, tmp_path):
    """Every size of type in the SVG, and how much texts stand out, as a phone shows them."""
    use_theme()
    made = make_tables()
    figure = draw(name, made[name] if name in made else GALLERY[name].table(None))
    figure.savefig(tmp_path / "figure.svg")
    svg = (tmp_path / "figure.svg").read_text(encoding="utf-8")
    width = float(re.search(r'viewBox="0 0 ([0-9.]+) ', svg)[1])
    sizes = [float(size) for size in re.findall(r"font-size: ([0-9.]+)px", svg)]
    assert min(sizes) * PHONE / width >= LEGIBLE
    written = [text for text in figure.findobj(Text) if text.get_text().strip() and text.get_visible()]
    for text in written:
        box = text.get_bbox_patch()
        paper = box.get_facecolor()[:3] if box and box.get_alpha() != 0 else find_paper(text, figure)
        assert measure_contrast(to_rgb(text.get_color()), paper) >= READABLE, text.get_text()


def find_paper(text, figure):
    """Return the colour of the rectangle that a text stands on; white where it stands on none."""
    here = text.get_window_extent().get_points().mean(axis=0)
    patches = text.axes.patches if text.axes else []
    under = [patch for patch in patches if patch.get_fill() and patch.contains_point(here)]
    return to_rgb(under[-1].get_facecolor()) if under else (1, 1, 1)


@pytest.mark.parametrize("name", GALLERY)
def test_labels_of_ticks_do_not_collide(name):
    use_theme()
    made = make_tables()
    figure = draw(name, made[name] if name in made else GALLERY[name].table(None))
    figure.draw_without_rendering()
    for ax in figure.axes:
        for axis in (ax.xaxis, ax.yaxis) if ax.axison else ():
            labels = [label for label in axis.get_ticklabels() if label.get_text() and label.get_visible()]
            boxes = [label.get_window_extent() for label in labels]
            assert not any(one.overlaps(other) for one, other in itertools.pairwise(boxes)), (ax, labels)


@pytest.mark.parametrize("color", ["#ff7f50", "#add8e6", "#d55e00", "#777777", "black", "white"])
def test_ink_stands_out_on_any_colour(color):
    assert measure_contrast(pick_ink(color), color) >= READABLE
    assert measure_contrast("black", "white") == pytest.approx(21)


def test_gains_have_a_sign_and_zero_has_no_minus():
    assert [format_gain(value) for value in (0.126, -0.126, -0.001, 0.0)] == [
        "+0.13",
        "−0.13",
        "+0.00",
        "+0.00",
    ]
    assert [format_end(value, 2) for value in (0.126, -0.126, -0.001)] == ["0.13", "−0.13", "0.00"]


def test_a_colour_scale_with_empty_cells_holds_all_values():
    assert (
        find_limit(
            ablation.transfer_table()
            .pivot(index="trained_on", columns="tested_on", values="estimate")
            .to_numpy()
        )
        > 0.4
    )
