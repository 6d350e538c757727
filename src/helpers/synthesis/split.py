"""Training rows and held-out rows: an instruction file in two, for the loss on rows that no model saw.

Rows of one request were written side by side and resemble each other, so whole requests are held out;
rows that name no request are held out one by one. Copies of a row go where the first of them goes, whatever
they name.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from helpers.errors import StudyError
from helpers.files import sha256_file, write_text
from helpers.jsonl import assign_ids, dump_rows, read_objects
from helpers.store import Run, compute_missing, run_stage

TRAINING_FILE, HELD_OUT_FILE = "training.jsonl", "held_out.jsonl"
TEXTS = ("instruction", "input", "output")
VERSION = 3


def hold_out(instructions: Path, share: float) -> Run:
    """Split an instruction file.

    Args:
        instructions: JSONL with id and, where a teacher wrote the rows, request.
        share: of the requests (or rows) that are held out, 0 to 0.5; at least one, unless it is 0.

    Returns:
        A run with `training.jsonl` and `held_out.jsonl`.

    Raises:
        StudyError: nothing is left to train on.
    """

    def compute(folder: Path) -> dict[str, Any]:
        rows = [row for _, row in assign_ids(list(read_objects(instructions)))]
        groups = _group_rows(rows)
        ordered = sorted(set(groups), key=lambda group: hashlib.sha256(group.encode()).digest())
        held = set(ordered[: max(1, round(share * len(ordered)))] if share else [])
        grouped = list(zip(rows, groups, strict=True))
        parts = {
            TRAINING_FILE: [row for row, group in grouped if group not in held],
            HELD_OUT_FILE: [row for row, group in grouped if group in held],
        }
        if not parts[TRAINING_FILE]:
            raise StudyError(
                f"{len(rows)} rows are too few to hold some out. Add rows, or set held_out_share=0."
            )
        for name, part in parts.items():
            write_text(folder / name, dump_rows(part))
        return {name.split(".")[0]: len(part) for name, part in parts.items()}

    inputs = {"instructions": sha256_file(instructions)}
    with compute_missing():
        return run_stage("split", {"share": share}, inputs, VERSION, compute)


def read_groups(rows_file: Path) -> dict[str, str]:
    """Return the group of each row of a file by the row's id: rows of one request, and copies of a row, are
    one; a row that names no request is one by itself.
    """
    named = [row for _, row in assign_ids(list(read_objects(rows_file)))]
    return dict(zip((row["id"] for row in named), _group_rows(named), strict=True))


def _group_rows(rows: Sequence[dict[str, Any]]) -> list[str]:
    """Return the group of each row; a copy of an earlier row is in the group of that one."""
    first: dict[tuple[str, ...], str] = {}
    texts = [tuple(str(row.get(name) or "").strip() for name in TEXTS) for row in rows]
    return [first.setdefault(text, _group(row)) for row, text in zip(rows, texts, strict=True)]


def _group(row: dict[str, Any]) -> str:
    return f"request {row['request']}" if row.get("request") not in (None, "") else f"row {row['id']}"
