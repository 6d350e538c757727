"""The look of the figures: colours that every eye can tell apart, texts that a phone can show."""

import itertools
import re
from functools import cache

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
    DIVERGING,
    SERIES_COLORS,
    measure_contrast,
    pick_ink,
    use_theme,
)
from helpers.study.endpoints import SCORE
from helpers.study.study import Study
from helpers.synthesis.verbs import count_roots

APART = 11  # distance in CAM02-UCS: colours of two marks are told apart without looking twice
PHONE = 360  # px: width of a figure on a screen of 390
LEGIBLE = 10  # px
READABLE = 4.5  # contrast of a text (Web Content Accessibility Guidelines 2.2, level AA)


def test_instructions_without_a_root_verb_are_a_figure_that_says_so():
    figure = draw("root_verbs", count_roots(["Which channel is open?"]))
    assert [text.get_text() for text in figure.axes[0].texts] == ["No instruction has a root verb"]


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


def draw_small(name):
    """Draw a figure of the gallery from a table that needs no study."""
    use_theme()
    tables, spec = make_tables(), GALLERY[name]
    endpoint = SCORE if spec.of_endpoint else None
    table = tables[name] if name in tables else spec.table(None)
    return draw(name, table, endpoint, **spec.options(Study.from_parameters({})))


@cache
def lay_out(name):
    """Return a figure as it lies on the screen."""
    figure = draw_small(name)
    figure.draw_without_rendering()
    return figure


@pytest.mark.parametrize("name", GALLERY)
def test_texts_of_a_figure_are_large_enough_on_a_phone(name, tmp_path):
    draw_small(name).savefig(tmp_path / "figure.svg")
    svg = (tmp_path / "figure.svg").read_text(encoding="utf-8")
    width = float(re.search(r'viewBox="0 0 ([0-9.]+) ', svg)[1])
    sizes = [float(size) for size in re.findall(r"font-size: ([0-9.]+)px", svg)]
    assert min(sizes) * PHONE / width >= LEGIBLE


@pytest.mark.parametrize("name", GALLERY)
def test_texts_of_a_figure_stand_out_from_what_they_stand_on(name):
    figure = lay_out(name)
    for text in figure.findobj(Text):
        if text.get_text().strip() and text.get_visible():
            ink, paper = to_rgb(text.get_color()), find_paper(text)
            assert measure_contrast(ink, paper) >= READABLE, text.get_text()


def find_paper(text):
    """Return the colour of a text's box, or of the patch that it stands on; white where there is none."""
    if text.get_bbox_patch():
        return to_rgb(text.get_bbox_patch().get_facecolor())
    middle = text.get_window_extent().get_points().mean(axis=0)
    patches = text.axes.patches if text.axes else []
    under = [patch for patch in patches if patch.contains_point(middle) and patch.get_facecolor()[3] > 0]
    return to_rgb(under[-1].get_facecolor()) if under else to_rgb("white")


@pytest.mark.parametrize("name", GALLERY)
def test_labels_of_ticks_do_not_collide(name):
    for ax in lay_out(name).axes:
        for axis in (ax.xaxis, ax.yaxis) if ax.axison else ():
            low, high = sorted(axis.get_view_interval())
            boxes = [
                tick.label1.get_window_extent()
                for tick in axis.get_major_ticks()
                if low <= tick.get_loc() <= high and tick.label1.get_visible() and tick.label1.get_text()
            ]
            assert not any(one.overlaps(other) for one, other in itertools.pairwise(boxes))


@pytest.mark.parametrize("color", ["#ff7f50", "#add8e6", "#d55e00", "#777777", "black", "white"])
def test_ink_stands_out_on_any_colour(color):
    assert measure_contrast(pick_ink(color), color) >= READABLE
    assert measure_contrast("black", "white") == pytest.approx(21)


def turn_dark(color):
    """Return a colour as `study.css` shows it in the dark: invert(0.93), then hue-rotate(180deg), by the
    matrix of the W3C's Filter Effects.
    """
    luminance = np.array([0.213, 0.715, 0.072])
    turned = 2 * luminance - np.eye(3)
    return np.clip(turned @ (0.93 - 0.86 * np.array(to_rgb(color))), 0, 1)


@pytest.mark.parametrize("place", np.linspace(0, 1, 21))
def test_numbers_on_the_colour_scale_stand_out_in_the_light_and_in_the_dark(place):
    face = DIVERGING(place)[:3]
    ink = pick_ink(face)
    assert measure_contrast(ink, face) >= READABLE
    assert measure_contrast(turn_dark(ink), turn_dark(face)) >= READABLE


def test_a_colour_scale_with_empty_cells_holds_all_values():
    assert (
        find_limit(
            ablation.published_transfer_table()
            .pivot(index="trained_on", columns="tested_on", values="estimate")
            .to_numpy()
        )
        > 0.4
    )
