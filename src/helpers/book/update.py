"""Bring what is published up to date: what was made from the same things before stays as it is."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from helpers.book.build_stamps import BuildStamp, stamp_figures, stamp_notebook
from helpers.book.runner import add_instructions, run_notebook
from helpers.store import lock_folder, track_loaded
from helpers.study.sharing import list_lesson_work, share_work
from helpers.study.study import Study


@contextmanager
def share_lessons(plan: Sequence[tuple[Path, Mapping[str, Any]]], study: Study, book: Path) -> Iterator[None]:
    """Share what those notebooks make of the study's cells that are not up to date with a second process, as
    long as the block lasts (`sharing.share_work`).
    """
    stale = [
        notebook.name[:2]
        for notebook, parameters in plan
        if not stamp_notebook(notebook, add_instructions(parameters, study), study, book).is_current()
    ]
    with share_work(study, list_lesson_work(study, stale)):
        yield


def update_notebook(notebook: Path, parameters: Mapping[str, Any], study: Study, book: Path) -> bool:
    """Run a notebook and publish it, unless the published copy was made from the same notebook, parameters,
    code and stored results; returns whether it was run. To run it all the same, delete the copy.

    Raises:
        StudyError: as `run_notebook`.
    """
    given = add_instructions(parameters, study)
    stamp = stamp_notebook(notebook, given, study, book)
    if stamp.is_current():
        return False
    with track_loaded() as loaded:
        run_notebook(notebook, given, book)
    stamp.write([book / notebook.name], loaded)
    return True


def update_figures(parameters: Mapping[str, Any], study: Study, folder: Path) -> list[str]:
    """Write every figure of a study and the page that shows them, unless they were made from the same
    parameters, code and stored results; returns the names of the figures, none where they stay as they are.
    """
    with lock_folder(folder):
        stamp = stamp_figures(parameters, study, folder)
        return [] if stamp.is_current() else _draw_figures(stamp, study, folder)


def _draw_figures(stamp: BuildStamp, study: Study, folder: Path) -> list[str]:
    from helpers.book.figure_files import ENDINGS, save_figures
    from helpers.book.gallery_page import PAGE, write_gallery

    with track_loaded() as loaded:
        names = list(save_figures(study, folder))
    write_gallery(names, folder)
    files = [folder / f"{name}.{ending}" for name in names for ending in ENDINGS]
    stamp.write([folder / PAGE, *files], loaded)
    return names
