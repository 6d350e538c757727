"""One cell of the grid: a model, untuned or tuned, and its answers. Cells differ in what the model was tuned
on, how much of it, or the training seed, and in nothing else.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from helpers.evaluation.merging import SharedBase
from helpers.evaluation.settings import EvaluationSettings
from helpers.evaluation.stage import evaluate, read_items
from helpers.records import ALL, BASE, GENERAL
from helpers.store import Run, plan_only
from helpers.tuning.settings import TuningSettings
from helpers.tuning.stage import tune

if TYPE_CHECKING:
    import pandas as pd


@dataclasses.dataclass(frozen=True)
class Cell:
    """One model of the grid: untuned, or tuned on a subset of categories, a mixture or a control under one
    training seed.
    """

    name: str
    evaluation: Run
    tuning: Run | None = None
    seed: int | None = None


def answer_cell(
    name: str,
    tuning_settings: TuningSettings,
    evaluation_settings: EvaluationSettings,
    instructions: Path,
    data: Path | None = None,
    base: SharedBase | None = None,
) -> Cell:
    """Tune one cell where needed ('base' never is), then let it answer the tasks; what is stored is loaded.

    Args:
        name: 'base', a control, categories joined by '+', or a mixture by rows.
        tuning_settings: settings of every cell; its `categories` are replaced by the cell's.
        evaluation_settings: settings of every cell.
        instructions: the instruction file; for 'general' that of the other domain, of which every row may be
            drawn.
        data: folder of the test sets' files; None for the embedded files, or the hub.
        base: the loaded model, shared by several cells; None to load it where it is needed.
    """
    adapter = tune_cell(name, tuning_settings, instructions, base)
    answers = evaluate(evaluation_settings, adapter, data, base)
    return Cell(name, answers, adapter, tuning_settings.training_seed if adapter else None)


def tune_cell(
    name: str, tuning_settings: TuningSettings, instructions: Path, base: SharedBase | None = None
) -> Run | None:
    """Tune a cell or load its adapter; the base model has none. A loaded base leaves its place on a GPU."""
    if name == BASE:
        return None
    settings = dataclasses.replace(tuning_settings, categories=ALL if name == GENERAL else name)
    return tune(settings, instructions, make_room=base.leave_gpu if base else None)


def find_answer_state(
    name: str,
    tuning_settings: TuningSettings,
    evaluation_settings: EvaluationSettings,
    instructions: Path,
    data: Path | None = None,
) -> str:
    """Say of a cell whether the store holds its answers ('done'), its adapter alone ('tuned') or nothing
    ('missing'); computes nothing.
    """
    adapter = plan_only(tune_cell, name, tuning_settings, instructions)
    if adapter and not adapter.is_stored:
        return "missing"
    found = plan_only(evaluate, evaluation_settings, adapter, data)
    return "done" if found.is_stored else "tuned" if adapter else "missing"


def collect_items(cells: Mapping[str, Cell]) -> pd.DataFrame:
    """Return the rows of `read_items` for several cells."""
    return read_items({name: cell.evaluation for name, cell in cells.items()})


def collect_items_by_seed(cells: Sequence[Cell]) -> pd.DataFrame:
    """Return the rows of `collect_items` for cells of several training seeds, with the column `seed`; the
    base model stands under each of them.
    """
    import pandas as pd

    base = [cell for cell in cells if cell.seed is None]
    seeds = sorted({cell.seed for cell in cells if cell.seed is not None}) or [0]
    frames = [
        collect_items(
            {cell.name: cell for cell in [*base, *(cell for cell in cells if cell.seed == seed)]}
        ).assign(seed=seed)
        for seed in seeds
    ]
    return pd.concat(frames, ignore_index=True)
