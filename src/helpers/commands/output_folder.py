"""A folder that a command writes for its user: whole, or not at all."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory

from helpers.errors import StudyError
from helpers.files import explain_disk_errors
from helpers.paths import shown


def check_new_folder(folder: Path, option: str) -> None:
    """Raise StudyError where a folder that is to be written holds something already."""
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise StudyError(
            f"`{option}` must name a new or empty folder, but {shown(folder)} holds something. Name another; "
            "where a command was killed while it wrote there, delete it."
        )


@contextmanager
def fill_folder(folder: Path) -> Iterator[Path]:
    """Yield a folder for the block to fill, which takes the place of `folder`, the output, at the end.

    Until then it lies in a hidden neighbour of the output, so an error leaves nothing, and `kill -9` nothing
    but that neighbour. Of two processes the second to end finds the output filled.

    Raises:
        StudyError: the output holds something, or cannot be written.
    """
    place = folder.resolve()
    with explain_disk_errors(folder):
        check_new_folder(folder, "output")
        place.parent.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(dir=place.parent, prefix=f".{place.name}-") as scratch:
            part = Path(scratch) / "part"
            part.mkdir()
            yield part
            _put_in_place(part, place)


def _put_in_place(part: Path, place: Path) -> None:
    if place != Path.cwd():  # a shell in it would not see the new one
        with suppress(OSError):  # it is not empty, or a mount point; Windows replaces no folder
            part.replace(place)
            return
    check_new_folder(place, "output")
    place.mkdir(exist_ok=True)
    for path in part.iterdir():
        shutil.move(path, place / path.name)
