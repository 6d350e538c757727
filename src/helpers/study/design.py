"""What a recommendation needs of a file of rows: some held out, and mixtures of the others to tune on."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

from helpers.errors import StudyError
from helpers.jsonl import dump_rows, read_rows
from helpers.records import Instruction, order_categories
from helpers.store import Run, run_stage, sha256_file, write_text
from helpers.study.cells import round_shares

TRAINING, HELD_OUT = "training.jsonl", "held_out.jsonl"
LARGE = 3  # the larger cells have so many times the rows of the small ones
MOST_HELD_OUT = 3  # a third of a category's rows at most is held out


def split_rows(instructions: Path, ids: Sequence[str], n_held_out: int) -> Run:
    """Split the rows of some ids by lot into training and held-out rows, `n_held_out` a category but at most
    a third of it.
    """

    def compute(folder: Path) -> dict[str, Any]:
        rows = [row for row in read_rows(instructions, Instruction) if row.id in set(ids)]
        drawn = sorted(rows, key=lambda row: hashlib.sha256(f"held out/{row.id}".encode()).digest())
        held_out = set()
        for name in order_categories(row.category for row in rows):
            own = [row.id for row in drawn if row.category == name]
            held_out |= set(own[: min(n_held_out, len(own) // MOST_HELD_OUT)])
        write_text(folder / TRAINING, dump_rows(row for row in rows if row.id not in held_out))
        write_text(folder / HELD_OUT, dump_rows(row for row in rows if row.id in held_out))
        return {"training": len(rows) - len(held_out), "held_out": len(held_out)}

    ids_digest = hashlib.sha256("\n".join(ids).encode()).hexdigest()
    inputs = {"instructions": sha256_file(instructions), "ids": ids_digest}
    return run_stage("mixture_rows", {"n_held_out": n_held_out}, inputs, 1, compute)


def design_cells(available: Mapping[str, int], cell_rows: int) -> list[str]:
    """Return the mixtures to tune: at `cell_rows` every single, every pair in equal parts, all in equal
    parts, and two thirds of each category with the rest from all others; singles and all in equal parts at
    three times as many rows, or as many as there are.

    Raises:
        StudyError: a category has fewer rows than a single of `cell_rows`.
    """
    few = {name: n for name, n in available.items() if n < cell_rows + 1}
    if few:
        name, n = min(few.items(), key=lambda item: item[1])
        raise StudyError(
            f"A small cell has {cell_rows} rows, and a larger one more, but category {name!r} has {n} that "
            f"fit and are not held out. Lower `--cell-rows` to {n - 1} or less, or add rows."
        )
    names = list(available)
    equal = dict.fromkeys(names, 1)
    shapes = [
        *({name: 1} for name in names),
        *({one: 1, other: 1} for one, other in combinations(names, 2)),
        equal,
        *(equal | {name: 2 * (len(names) - 1)} for name in names),
    ]
    cells = [spread_rows(shape, cell_rows) for shape in shapes]
    cells += [spread_rows({name: 1}, min(LARGE * cell_rows, available[name])) for name in names]
    cells.append(spread_rows(equal, min(LARGE * cell_rows, len(names) * min(available.values()))))
    return list(dict.fromkeys(cells))


def spread_rows(shape: Mapping[str, int], n_rows: int) -> str:
    """Return the mixture of `n_rows` rows in the proportions of a shape, such as 'qa:200+gen:100'."""
    total = sum(shape.values())
    rows = round_shares({name: part / total for name, part in shape.items()}, n_rows)
    return "+".join(f"{name}:{count}" for name, count in rows.items() if count)
