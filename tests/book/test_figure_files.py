"""The files of the figures, killed at any moment of their writing."""

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
