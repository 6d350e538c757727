"""Where things lie: the project's own folders and the reader's model cache."""

from __future__ import annotations

import os
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


def runs_folder() -> Path:
    """Return the folder of all stored results: `runs/`, or the one that `STUDY_RUNS` names (a relative one
    from the project's folder, wherever the command is called).
    """
    return ROOT / Path(os.environ.get("STUDY_RUNS", "").strip() or "runs").expanduser()


def model_cache() -> Path:
    """Return the folder of converted models, shared by all checkouts; `STUDY_CACHE` moves it."""
    named = os.environ.get("STUDY_CACHE", "").strip()
    return (ROOT / Path(named).expanduser() if named else user_cache_path("bioinstruct-study")) / "models"


def check_new_folder(folder: Path, option: str) -> None:
    """Raise StudyError where a folder that is to be written holds something already."""
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise StudyError(
            f"`{option}` must name a new or empty folder, but {shown(folder)} holds something. Name another."
        )


def shown(path: Path) -> str:
    """Return `path` as readers should see it: relative to the project where it lies inside."""
    return str(path.relative_to(ROOT)) if path.is_relative_to(ROOT) else str(path)
