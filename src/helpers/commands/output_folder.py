"""A folder that a command writes for its user: whole, or not at all."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from helpers.errors import StudyError
from helpers.files import explain_disk_errors
from helpers.paths import shown
from helpers.store import lock_folder


def check_new_folder(folder: Path, option: str) -> None:
    """Raise StudyError where a folder that is to be written holds something already."""
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise StudyError(
            f"`{option}` must name a new or empty folder, but {shown(folder)} holds something. Name another."
        )


@contextmanager
def fill_folder(folder: Path) -> Iterator[Path]:
    """Yield a folder for the block to fill; at its end all that is in it moves to `folder`, the output.

    Until then it is a hidden neighbour of the output. An error leaves nothing, and a kill nothing that stands
    in the way of the same command. Of two processes the second waits, and finds the output filled.

    Raises:
        StudyError: the output holds something, or cannot be written.
    """
    place = folder.resolve()
    neighbour = place.with_name(f".{place.name}.unfinished")
    with explain_disk_errors(folder), lock_folder(neighbour):
        try:
            check_new_folder(folder, "output")
            part = neighbour / "part"
            shutil.rmtree(part, ignore_errors=True)  # of a command that was killed
            part.mkdir()
            yield part
            check_new_folder(folder, "output")
            place.mkdir(exist_ok=True)  # one that is there stays the same folder: it may be the working one
            for path in part.iterdir():
                shutil.move(path, place / path.name)
        finally:
            shutil.rmtree(neighbour, ignore_errors=True)
