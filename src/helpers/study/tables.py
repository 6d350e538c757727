"""Tables that results keep: a folder of CSV files with a manifest that names the sha256 of each."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from helpers.errors import StudyError
from helpers.paths import shown
from helpers.store import sha256_file

MANIFEST = "manifest.json"


def read_manifest(folder: Path) -> dict[str, Any]:
    """Read the manifest of a folder of tables, once each table is found to be the one that it names.

    Raises:
        StudyError: there is no manifest, or a table was altered since it was written.
    """
    if not (folder / MANIFEST).is_file():
        raise StudyError(
            f"{shown(folder)} holds no {MANIFEST}. Restore it, or write it with `study grid export`."
        )
    manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    for name, digest in manifest["files"].items():
        if sha256_file(folder / name) != digest:
            raise StudyError(
                f"{shown(folder / name)} is not the table that its manifest names. Restore it (`git checkout "
                f"{shown(folder)}`), or export again."
            )
    return manifest
