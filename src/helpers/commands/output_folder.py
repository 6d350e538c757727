"""A folder that a command writes for its user: whole, or not at all."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from helpers.errors import StudyError
from helpers.files import explain_disk_errors
from helpers.paths import shown


def check_new_folder(folder: Path, option: str, apart: str = "") -> None:
    """Raise StudyError where a folder that is to be written holds something already, but for `apart`."""
    if folder.exists() and (not folder.is_dir() or {path.name for path in folder.iterdir()} - {apart}):
        raise StudyError(
            f"`{option}` must name a new or empty folder, but {shown(folder)} holds something. Name another; "
            "where a command was killed while it wrote there, delete it."
        )


@contextmanager
def fill_folder(folder: Path) -> Iterator[Path]:
    """Yield a hidden folder for the block to fill; at its end, what it holds becomes the content of `folder`,
    the output.

    It lies beside an output that is new, so nothing is in the way of the same command after a kill; it lies
    in one that is there, which keeps its rights. An error leaves no output. Of two processes at most one
    writes it.

    Raises:
        StudyError: the output holds something, or cannot be written.
    """
    place = Path(os.path.realpath(folder))
    is_new = not place.exists()
    with explain_disk_errors(folder):
        check_new_folder(folder, "output")
        home = place.parent if is_new else place
        home.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(dir=home, prefix=".unfinished-") as scratch:
            part = Path(scratch) / "part"
            part.mkdir()
            yield part
            if not is_new:
                check_new_folder(folder, "output", apart=Path(scratch).name)
                for path in part.iterdir():
                    path.rename(place / path.name)
                return
            try:
                part.replace(place)
            except OSError:
                check_new_folder(folder, "output")  # another process may have been quicker
                raise
