"""The page of the figures names every file that lies beside it."""

import re

from helpers.book.gallery import GALLERY
from helpers.book.gallery_page import TITLES, label_figure, read_alternatives, write_gallery


def test_every_figure_of_the_gallery_stands_in_a_notebook_under_its_own_label():
    assert {label_figure(name) for name in GALLERY} == set(read_alternatives())


def test_titles_are_those_of_figures_and_differ():
    assert set(TITLES) <= set(GALLERY)
    assert len(set(TITLES.values())) == len(TITLES)


def test_the_page_shows_each_figure_with_its_text_and_links_its_three_files(tmp_path):
    write_gallery(["training_loss", "published_table1"], tmp_path)
    page = (tmp_path / "gallery.md").read_text()
    assert re.findall(r"<(\S+)>`", page) == [
        f"{name}.{ending}"
        for name in ("training_loss", "published_table1")
        for ending in ("svg", "png", "csv")
    ]
    assert "{numref}`fig-published-table1` in {doc}`/06_published_results`" in page
    assert f":img-alt: {read_alternatives()['fig-training-loss']}" in page


def test_a_figure_that_is_not_there_is_not_shown(tmp_path):
    write_gallery(["training_loss"], tmp_path)
    assert "sizes" not in (tmp_path / "gallery.md").read_text()
