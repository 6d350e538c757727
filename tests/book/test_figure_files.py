"""The files of the figures, killed at any moment of their writing."""

import dataclasses

import pytest

from helpers import files
from helpers.book import build_stamps, figure_files, gallery
from helpers.book.figure_files import save_figures
from helpers.book.runner import plan_studies

NAMES = ("pair", "published_table4")  # drawn from what the repository holds


@pytest.fixture
def die_at(monkeypatch):
    """Let the writing of figures die at a file; returns what sets its number."""
    monkeypatch.setattr(gallery, "GALLERY", {name: gallery.GALLERY[name] for name in NAMES})
    left = []

    def count():
        left[0] -= 1
        return left[0] < 0

    def die_or(write):
        def write_counted(path, content):
            if count():
                raise KeyboardInterrupt
            write(path, content)

        return write_counted

    monkeypatch.setattr(figure_files, "write_bytes", die_or(files.write_bytes))
    for module in (figure_files, build_stamps):
        monkeypatch.setattr(module, "write_text", die_or(files.write_text))
    return lambda number: left.insert(0, number)


def test_a_figure_without_a_table_is_taken_away_where_other_parameters_drew_it(monkeypatch, tmp_path):
    pair = gallery.GALLERY["pair"]
    monkeypatch.setattr(gallery, "GALLERY", {"pair": pair})
    assert list(save_figures(plan_studies({}), tmp_path)) == ["pair"]
    empty = dataclasses.replace(pair, table=lambda study: pair.table(study).iloc[:0])
    monkeypatch.setattr(gallery, "GALLERY", {"pair": empty})
    assert list(save_figures(plan_studies({}), tmp_path)) == []
    assert not list(tmp_path.glob("pair.*"))


def read_all(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_figures_killed_at_any_file_are_the_same_after_a_rerun(die_at, tmp_path):
    find_study, n_files = plan_studies({}), 4 * len(NAMES)
    die_at(n_files)
    assert list(save_figures(find_study, tmp_path / "whole")) == list(NAMES)
    whole = read_all(tmp_path / "whole")
    assert len(whole) == n_files
    for number in range(n_files):
        folder = tmp_path / str(number)
        die_at(number)
        with pytest.raises(KeyboardInterrupt):
            list(save_figures(find_study, folder))
        die_at(n_files)
        assert list(save_figures(find_study, folder)) == list(NAMES)
        assert read_all(folder) == whole
