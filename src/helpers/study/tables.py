"""Tables that results keep: a folder of CSV files with a manifest that names the sha256 of each."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from helpers.errors import StudyError
from helpers.files import sha256_file, write_text
from helpers.models.load import choose_device, describe_format
from helpers.paths import shown
from helpers.records import GENERAL

if TYPE_CHECKING:
    import pandas as pd

    from helpers.evaluation.settings import EvaluationSettings
    from helpers.study.grid import CellPlan
    from helpers.study.study import Study
    from helpers.tuning.settings import TuningSettings

MANIFEST, CELLS = "manifest.json", "cells.csv"
# how cells are computed, by the entry of the manifest: in words
COMPUTING = {"device": "devices", "products": "number formats of the products"}
Tables = tuple[Path, dict[str, Any], dict[str, str]]  # what `write_tables` takes
NAMES = ("id", "cell", "task", "item", "category", "commit")  # columns of names


def read_table(path: Path) -> pd.DataFrame:
    """Read a table as it was written: names stay texts, also those that could be a number or a missing value,
    such as the category `NA` or the commit `12e4567`.
    """
    import pandas as pd

    return pd.read_csv(path, dtype=dict.fromkeys(NAMES, str), keep_default_na=False, na_values=[""])


def read_manifest(folder: Path) -> dict[str, Any]:
    """Read the manifest of a folder of tables, once each table is found to be the one that it names.

    Raises:
        StudyError: there is no manifest, or a table was altered since it was written.
    """
    if not (folder / MANIFEST).is_file():
        raise StudyError(
            f"{shown(folder)} holds no {MANIFEST}. Restore it, or write it with `study grid export`."
        )
    manifest = parse_manifest(folder)
    if cut_off := [name for name, digest in manifest["files"].items() if not digest]:
        raise StudyError(
            f"An export into {shown(folder)} was cut off before it wrote {cut_off[0]}. Run it again."
        )
    _check_digests(folder, manifest["files"])
    return manifest


def check_tables(names: Iterable[str], folder: Path) -> None:
    """Check the tables in a folder that cells are to be added to.

    Args:
        names: of all tables that are written.
        folder: may hold some.

    Raises:
        StudyError: the folder has other tables too, or tables without a manifest, or one was altered since it
            was written.
    """
    if (folder / MANIFEST).is_file():
        there = parse_manifest(folder)["files"]
        if unknown := sorted(set(there) - set(names)):
            raise StudyError(
                f"{shown(folder)} holds tables of an older version ({', '.join(unknown)}). Name another "
                "folder."
            )
        _check_digests(folder, {name: digest for name, digest in there.items() if digest})
    elif foreign := [name for name in names if (folder / name).exists()]:
        raise StudyError(
            f"{shown(folder / foreign[0])} is no table of an export: it has no {MANIFEST} beside it. Name "
            "another folder."
        )


def _check_digests(folder: Path, digests: Mapping[str, str]) -> None:
    for name, digest in digests.items():
        if not (folder / name).is_file() or sha256_file(folder / name) != digest:
            raise StudyError(
                f"{shown(folder / name)} is not the table that its manifest names. Restore it (`git checkout "
                f"{shown(folder)}` where it is a part of the project), or export into another folder."
            )


def parse_manifest(folder: Path) -> dict[str, Any]:
    """Return what the manifest of a folder of tables says, whatever the tables are.

    Raises:
        StudyError: it is damaged.
    """
    try:
        manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    except (ValueError, RecursionError):
        manifest = None
    if not isinstance(manifest, dict) or not isinstance(manifest.get("files"), dict):
        raise StudyError(
            f"{shown(folder / MANIFEST)} cannot be read as a manifest. Restore it, or export into another "
            "folder."
        )
    return manifest


def describe_settings(
    settings: TuningSettings | EvaluationSettings, own: Collection[str] = ()
) -> dict[str, Any]:
    """Return settings as the manifest of tables has them: without those of which each cell has its own, and
    with the number format that this machine computes in.
    """
    shared = {name: value for name, value in dataclasses.asdict(settings).items() if name not in own}
    return shared | {"dtype": choose_device(settings.dtype)[1]}


def describe_computing(dtype: str) -> dict[str, str]:
    """Return on what kind of device cells are computed, and to what format the factors of matrix products are
    rounded there, as the manifest of tables has it.
    """
    computing = describe_format(dtype)
    return {name: computing[name] for name in COMPUTING}


def list_differences(there: Mapping[str, Any], own: Mapping[str, Any], names: Iterable[str]) -> list[str]:
    """Return which of some entries differ between two manifests; dots lead into an entry, as in
    `settings.tuning`.
    """
    return [name for name in names if _look_up(there, name) != _look_up(own, name)]


def check_same(manifest: Mapping[str, Any], entries: Iterable[str], folder: Path) -> None:
    """Raise StudyError where the manifest in a folder, if there is one, has other entries than that of the
    cells to be added; entries as `list_differences` takes them.
    """
    there = parse_manifest(folder) if (folder / MANIFEST).is_file() else manifest
    differs = list_differences(there, manifest, entries)
    if not differs:
        return
    name = differs[0]
    if name in COMPUTING and name not in there:
        raise StudyError(
            f"{shown(folder)} was written by an older version, which did not note on what kind of device its "
            "cells were computed. Name another folder."
        )
    what = COMPUTING.get(name, name.removeprefix("tests.").removesuffix(".sha256"))
    raise StudyError(
        f"{shown(folder)} holds cells of another study: their {what} differ. Name another folder."
    )


def take_general(manifest: dict[str, Any], study: Study, plans: Iterable[CellPlan], folder: Path) -> None:
    """Put into a manifest the sha256 of the rows that cells `general` are tuned on: where none of the plans
    is such a cell, the one that the manifest in a folder names, whose cells stay.

    Raises:
        StudyError: the folder's are tuned on other rows, or on rows that its manifest does not name.
    """
    own = sha256_file(study.general_file) if any(plan.name == GENERAL for plan in plans) else None
    known, held = None, False
    if (folder / MANIFEST).is_file():
        known = parse_manifest(folder).get(GENERAL)
        held = (folder / CELLS).is_file() and GENERAL in set(read_table(folder / CELLS)["cell"])
    if own and held and own != known:
        raise StudyError(
            f"{shown(folder)} holds cells `{GENERAL}` of other rows. Name another folder, or leave "
            f"`{GENERAL}` out of `controls`."
        )
    manifest[GENERAL] = own or known


def _look_up(manifest: Any, name: str) -> Any:
    for part in name.split("."):
        manifest = manifest.get(part) if isinstance(manifest, Mapping) else None
    return manifest


def write_tables(folder: Path, manifest: dict[str, Any], texts: Mapping[str, str]) -> None:
    """Write tables, then the manifest that names the sha256 of each.

    A manifest without them is written first, so that an export that is killed between two tables is found out
    by readers and taken up by the same study alone.

    Args:
        folder: where they lie.
        manifest: what else it says.
        texts: each table by its file's name, as CSV.
    """
    _write_manifest(folder, manifest, dict.fromkeys(texts, ""))
    for name, text in texts.items():
        write_text(folder / name, text)
    _write_manifest(folder, manifest, {name: sha256_file(folder / name) for name in texts})


def _write_manifest(folder: Path, manifest: dict[str, Any], files: dict[str, str]) -> None:
    write_text(folder / MANIFEST, json.dumps(manifest | {"files": files}, indent=1) + "\n")
