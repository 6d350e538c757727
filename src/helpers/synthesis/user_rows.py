"""Rows of people's own files made fit for training: an id, an input and a category each, where these lack."""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from helpers.errors import StudyError
from helpers.files import sha256_file, write_text
from helpers.jsonl import assign_ids, dump_rows, read_objects, read_rows, validate_row
from helpers.paths import SEEDS, shown
from helpers.progress import tell
from helpers.records import Instruction
from helpers.settings import shorten
from helpers.store import compute_missing, run_stage
from helpers.synthesis.parsing import ParsedTask
from helpers.synthesis.teacher import REPLIES

ROWS_FILE = "rows.jsonl"
VERSION = 1

UserRow = dict[str, Any]


def read_task(row: UserRow) -> ParsedTask:
    """Return a user's row as a task; it is complete if instruction and output are texts that are not
    empty.
    """
    instruction, given, output = (row.get(name) for name in ("instruction", "input", "output"))
    complete = all(isinstance(text, str) and text.strip() for text in (instruction, output)) and isinstance(
        given, str | None
    )
    return ParsedTask(0, instruction, given or "", output, complete)


def has_category(row: UserRow) -> bool:
    """Say whether a row names a category, of whichever name."""
    return row.get("category") not in (None, "")


def read_trainable_rows(path: Path) -> tuple[list[tuple[str, UserRow]], list[str]]:
    """Return the rows of a file that have an instruction and an output, with their locations and an id and an
    input each, and the locations of the others.

    Raises:
        StudyError: no row has both, or an id comes twice.
    """
    rows = list(read_objects(path))
    kept = [
        (location, row | {"input": row.get("input") or ""})
        for location, row in rows
        if read_task(row).is_complete
    ]
    if not kept:
        raise explain_unusable_rows(path)
    left_out = {location for location, _ in rows} - {location for location, _ in kept}
    return assign_ids(kept), [location for location, _ in rows if location in left_out]


def explain_unusable_rows(path: Path) -> StudyError:
    """Return the error for a file of which no row is complete; it says what the first row has instead."""
    first = next(read_objects(path))[1]
    is_named = {"instruction", "output"} <= first.keys()
    found = "has others" if is_named else f"has the fields {', '.join(map(str, first))[:200]}"
    remedy = "Fill them" if is_named else "Rename the fields to instruction, input and output"
    return StudyError(
        f"No row of {shown(path)} has an instruction and an output that are texts and not empty; the "
        f"first one {found}. {remedy}."
    )


def classify_rows(rows: Sequence[UserRow]) -> list[UserRow]:
    """Return rows with the category that the offline classifier gives them."""
    from helpers.synthesis.categories import train_labeller

    labels = train_labeller()([read_task(row) for row in rows])
    return [row | {"category": label} for row, label in zip(rows, labels, strict=True)]


def prepare_rows_file(path: Path) -> Path:
    """Return a file of rows to train on that a user named: the file itself where every row can be trained on,
    else one of the store, in which rows that lack a category have that of the offline classifier, and rows
    without instruction or output are left out. Both are counted and reported.

    Raises:
        StudyError: the file is missing, two categories differ in case alone, or a row is wrong in another
            way; names file and line.
    """
    names, is_labelled, incomplete = {}, True, []
    for location, row in read_objects(path):
        if isinstance(row.get("category"), str):
            names.setdefault(row["category"], location)
        is_labelled &= has_category(row)
        incomplete += [] if read_task(row).is_complete else [location]
    check_case(names)
    if is_labelled and not incomplete:
        read_rows(path, Instruction)  # so that what is wrong is found here, and not in a part of this file
        return path
    sources = {file.name: sha256_file(file) for file in (REPLIES, SEEDS / "seed_tasks.jsonl")}

    def compute(folder: Path) -> dict[str, Any]:
        rows, left_out = read_trainable_rows(path)
        bare = [row for _, row in rows if not has_category(row)]
        labelled = {row["id"]: row for row in (classify_rows(bare) if bare else [])}
        found = [(location, labelled.get(row["id"], row)) for location, row in rows]
        places: dict[str, str] = {}  # of names, those that the classifier gave among them
        for location, row in found:
            places.setdefault(validate_row(location, row, Instruction).category, location)
        check_case(places)
        write_text(folder / ROWS_FILE, dump_rows(row for _, row in found))
        return {
            "n_rows": len(found),
            "n_labelled": len(bare),
            "n_left_out": len(left_out),
        }

    with compute_missing():  # other stages name this file in their fingerprints
        run = run_stage("rows", {}, {"rows": sha256_file(path)} | sources, VERSION, compute)
    _tell_changes(path, run.manifest["facts"], incomplete)
    return run.file(ROWS_FILE)


def check_case(locations: Mapping[str, str]) -> None:
    """Raise StudyError where two categories differ in upper and lower case alone: readers take them for one,
    and so do file systems for the files of their cells.

    Args:
        locations: where each name stands first.
    """
    first: dict[str, str] = {}
    for name, location in locations.items():
        composed = unicodedata.normalize("NFC", name)
        other = first.setdefault(composed.casefold(), composed)
        if other != composed:
            raise StudyError(
                f"Categories must differ in more than upper and lower case, but {shorten(other)} and "
                f"{shorten(composed)} were found (the second at {location}). Write them alike, or rename one."
            )


def _tell_changes(path: Path, facts: Mapping[str, Any], incomplete: Sequence[str]) -> None:
    if facts["n_labelled"]:
        tell(
            f"{facts['n_labelled']} of {facts['n_rows']} rows of {shown(path)} have no category: the "
            "offline classifier gave them theirs (`study label` does the same)."
        )
    if facts["n_left_out"]:
        tell(
            f"{facts['n_left_out']} rows of {shown(path)} have no instruction or no output and are left "
            f"out, the first one at {incomplete[0]}."
        )
