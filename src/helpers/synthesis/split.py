"""Training rows and held-out rows: an instruction file in two, for the loss on rows that no model saw.

Rows of one request were written side by side and resemble each other, so whole requests are held out;
rows that name no request are held out one by one.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from helpers.errors import StudyError
from helpers.files import sha256_file, write_text
from helpers.jsonl import dump_rows, name_rows, read_objects
from helpers.store import Run, compute_missing, run_stage

TRAINING, HELD_OUT = "training.jsonl", "held_out.jsonl"
VERSION = 1


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
        rows = [row for _, row in name_rows(list(read_objects(instructions)))]
        groups = sorted(
            {_group(row) for row in rows}, key=lambda group: hashlib.sha256(group.encode()).digest()
        )
        held = set(groups[: max(1, round(share * len(groups)))] if share else [])
        parts = {
            TRAINING: [row for row in rows if _group(row) not in held],
            HELD_OUT: [row for row in rows if _group(row) in held],
        }
        if not parts[TRAINING]:
            raise StudyError(
                f"{len(rows)} rows are too few to hold some out. Add rows, or set held_out_share=0."
            )
        for name, part in parts.items():
            write_text(folder / name, dump_rows(part))
        return {name.split(".")[0]: len(part) for name, part in parts.items()}

    inputs = {"instructions": sha256_file(instructions)}
    with compute_missing():
        return run_stage("split", {"share": share}, inputs, VERSION, compute)


def _group(row: dict[str, Any]) -> str:
    return f"request {row['request']}" if row.get("request") is not None else f"row {row['id']}"
