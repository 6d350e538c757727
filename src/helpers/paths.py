"""Where things lie: the project's own folders and the reader's model cache."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from platformdirs import user_cache_path

from helpers.errors import StudyError

ROOT = Path(__file__).resolve().parents[2]
SEEDS = ROOT / "seeds"
SEED_TASKS = SEEDS / "seed_tasks.jsonl"
BENCHMARK = SEEDS / "benchmark"
NOTEBOOKS = ROOT / "notebooks"
PROFILES = NOTEBOOKS / "profiles"
BOOK = ROOT / "book"
RESULTS = ROOT / "results"


def check_checkout(folder: Path) -> None:
    """Raise StudyError where a folder lies in another copy of the project than the code that runs: what is
    done there would read and write the other one's files.
    """
    copy, this_file = None, Path("src", "helpers", "paths.py")
    with suppress(OSError):  # a folder above may be closed to this user
        copy = next((one for one in (folder, *folder.parents) if (one / this_file).is_file()), None)
    if copy and not copy.samefile(ROOT):
        raise StudyError(
            f"This is the project in {show_name(str(ROOT))}, but it was called from another copy of it, "
            f"{shown(copy)}. Where its environment (.venv) was copied too, delete that and set it up anew."
        )


def relative_to(path: Path, start: Path) -> str:
    """Return a path from a folder; the whole path where it is on another drive, as Windows has them."""
    try:
        return os.path.relpath(path, start)
    except ValueError:
        return str(path)


def runs_folder() -> Path:
    """Return the folder of all stored results: `runs/`, or the one that `STUDY_RUNS` names (a relative one
    from the project's folder, wherever the command is called).
    """
    return _read_place("STUDY_RUNS") or ROOT / "runs"


def model_cache() -> Path:
    """Return the folder of converted models, shared by all checkouts; `STUDY_CACHE` moves it."""
    return (_read_place("STUDY_CACHE") or user_cache_path("bioinstruct-study")) / "models"


def _read_place(variable: str) -> Path | None:
    named = os.environ.get(variable, "").strip()
    try:
        return ROOT / Path(named).expanduser() if named else None
    except RuntimeError:
        raise StudyError(
            f"{variable} must name a folder, but nobody knows the home in {named!r}. Write the whole path."
        ) from None


def make_model_cache() -> Path:
    """Return the folder of converted models, made where it is missing.

    Raises:
        StudyError: it cannot be made.
    """
    folder = model_cache()
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StudyError(
            f"Models are kept in {folder}, but that folder cannot be made ({error.strerror}). Let "
            "STUDY_CACHE name one that you can write into."
        ) from None
    return folder


def check_no_sources(folder: Path, option: str) -> None:
    """Raise StudyError where notebooks would be written over their sources."""
    if folder.resolve() == NOTEBOOKS:
        raise StudyError(f"`{option}` must not be {shown(NOTEBOOKS)}, which holds the sources. Name another.")


def shown(path: Path) -> str:
    """Return `path` as readers should see it: relative to the project where it lies inside."""
    return show_name(str(path.relative_to(ROOT) if path.is_relative_to(ROOT) else path))


def show_name(name: str) -> str:
    """Return a name of the file system in letters that every file can hold: bytes of another encoding than
    UTF-8 as their codes.
    """
    return os.fsencode(name).decode("utf-8", "backslashreplace")
