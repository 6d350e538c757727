"""The grid: cells that differ in what the model was tuned on, and in nothing else."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING

from helpers.evaluation.stage import ITEMS, EvaluationSettings, evaluate
from helpers.progress import track
from helpers.records import read_json_lines
from helpers.store import Run
from helpers.tuning.lora import TuningSettings, tune

if TYPE_CHECKING:
    import pandas as pd

BASE = "base"
SINGLES = ("qa", "ie", "gen")
PAIRS = tuple("+".join(pair) for pair in combinations(SINGLES, 2))


@dataclasses.dataclass(frozen=True)
class Cell:
    """One model of the grid: untuned, or tuned on a subset of categories; every tuned cell has seen the same number of rows."""

    name: str
    evaluation: Run
    tuning: Run | None = None


def run_cell(name: str, tuning: TuningSettings, evaluation: EvaluationSettings, instructions: Path) -> Cell:
    """Tune (unless `name` is 'base') and evaluate one cell, or load it from the store.

    Args:
        name: 'base', 'all', or categories joined by '+'.
        tuning: settings of every cell; its `categories` are replaced by the cell's.
        evaluation: settings of every cell.
        instructions: the instruction file.
    """
    adapter = None if name == BASE else tune(dataclasses.replace(tuning, categories=name), instructions)
    return Cell(name, evaluate(evaluation, adapter), adapter)


def run_cells(names: Iterable[str], tuning: TuningSettings, evaluation: EvaluationSettings, instructions: Path) -> dict[str, Cell]:
    """Run or load several cells, one after the other; each is stored on its own, so that an interrupted grid goes on where it stopped."""
    names = list(names)
    cells = {}
    with track("cells of the grid", len(names), "cells") as advance:
        for name in names:
            cells[name] = run_cell(name, tuning, evaluation, instructions)
            advance(note=name)
    return cells


def collect_items(cells: Mapping[str, Cell]) -> pd.DataFrame:
    """Return one row an item and cell: cell, task, category, item, difficulty, score (0..1), parsed, response."""
    import pandas as pd

    frames = [pd.DataFrame(read_json_lines(cell.evaluation.file(ITEMS))).assign(cell=name) for name, cell in cells.items()]
    return pd.concat(frames, ignore_index=True)
