"""From a file of instruction rows to a recommended mixture: held-out rows set aside, small cells run through
the grid, their losses by category, and what they will cost.
"""

from __future__ import annotations

import dataclasses
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from helpers.errors import StudyError
from helpers.evaluation.held_out import LOSSES, measure_held_out, sum_losses
from helpers.evaluation.stage import EvaluationSettings
from helpers.jsonl import read_rows
from helpers.models.load import load_tokenizer
from helpers.records import Instruction, order_categories
from helpers.store import Run, planning
from helpers.study.cells import MAX_CATEGORIES, CellPlan, GridSettings, count_categories
from helpers.study.design import HELD_OUT, MOST_HELD_OUT, TRAINING, design_cells, split_rows
from helpers.study.grid import tune_cell
from helpers.tuning.lora import prepare_model
from helpers.tuning.rows import EncodedRow, encode_rows
from helpers.tuning.settings import TuningSettings
from helpers.tuning.step import take_step

if TYPE_CHECKING:
    import pandas as pd

    from helpers.study.study import Study

PACE_ROWS = 8


@dataclasses.dataclass(frozen=True)
class MixturePlan:
    """The cells that a recommendation needs.

    Attributes:
        study: with the training rows as its instructions and the cells as its mixtures.
        held_out: file of the held-out rows.
        available: rows of the whole file by category, held-out ones among them.
    """

    study: Study
    held_out: Path
    available: dict[str, int]

    @property
    def cells(self) -> list[CellPlan]:
        """The untuned model, and every mixture under every training seed."""
        return self.study.plan_cells(["base", *self.study.grid.mixture_cells])


def plan_mixtures(
    study: Study, instructions: Path, cell_rows: int, n_held_out: int, n_seeds: int
) -> MixturePlan:
    """Set held-out rows aside and lay out the cells.

    Args:
        study: settings of tuning and evaluation.
        instructions: rows (JSONL) of two categories or more.
        cell_rows: rows of a small cell.
        n_held_out: held-out rows a category.
        n_seeds: training seeds a cell.

    Raises:
        StudyError: there are too few rows of a category, or too few or too many categories.
    """
    rows = read_rows(instructions, Instruction)
    fitting = encode_rows(load_tokenizer(study.tuning.model), rows, study.tuning.max_tokens)
    available = Counter(row.category for row in rows if row.id in fitting)
    names = order_categories(row.category for row in rows)
    if not 2 <= len(names) <= MAX_CATEGORIES:
        raise StudyError(
            f"`instructions` must have rows of 2 to {MAX_CATEGORIES} categories, but {len(names)} were found "
            f"({', '.join(names)}), and the cells grow with their square. Join some of them, or add others."
        )
    split = split_rows(instructions, sorted(fitting), n_held_out)
    left = {name: available[name] - min(n_held_out, available[name] // MOST_HELD_OUT) for name in names}
    grid = GridSettings(
        lattice="+".join(names),
        controls="",
        n_seeds=n_seeds,
        mixtures=",".join(design_cells(left, cell_rows)),
    )
    own = dataclasses.replace(study, instructions=str(split.file(TRAINING)), grid=grid)
    return MixturePlan(own, split.file(HELD_OUT), {name: available[name] for name in names})


def measure_cell(plan: MixturePlan, cell: CellPlan) -> Run | None:
    """Tune a cell and measure its loss on the held-out rows, or load both; None where only a plan is asked
    for and the adapter is not there.
    """
    tuning = dataclasses.replace(plan.study.tuning, n_rows=cell.n_rows, training_seed=cell.seed or 0)
    adapter = tune_cell(cell.name, tuning, plan.study.instruction_file)
    if adapter and not adapter.is_stored:
        return None
    n_items = plan.held_out.read_bytes().count(b"\n")
    evaluation = EvaluationSettings(model=tuning.model, dtype=tuning.dtype, n_items=n_items)
    return measure_held_out(evaluation, adapter, plan.held_out, tuning.max_tokens)


def find_missing(plan: MixturePlan) -> list[CellPlan]:
    """Return the cells that the store does not hold yet; computes nothing."""
    with planning():
        runs = {cell: measure_cell(plan, cell) for cell in plan.cells}
    return [cell for cell, run in runs.items() if run is None or not run.is_stored]


@dataclasses.dataclass(frozen=True)
class Cost:
    """What the missing cells will cost: their number, rows to tune on, and seconds."""

    n_cells: int
    n_rows: int
    tuning_seconds: float
    reading_seconds: float


def estimate_cost(plan: MixturePlan) -> Cost:
    """Estimate the cost of the missing cells from the pace of one step and one reading on a few rows."""
    missing = find_missing(plan)
    tuning = plan.study.tuning
    n_rows = sum(cell.n_rows for cell in missing) * tuning.epochs
    if not missing:
        return Cost(0, 0, 0.0, 0.0)
    tokenizer = load_tokenizer(tuning.model)
    encoded = [
        list(encode_rows(tokenizer, read_rows(path, Instruction), tuning.max_tokens).values())
        for path in (plan.study.instruction_file, plan.held_out)
    ]
    training, held_out = (sum(len(row.input_ids) for row in rows) for rows in encoded)
    step, reading = measure_pace(tuning, encoded[0])
    return Cost(
        len(missing),
        n_rows,
        n_rows * training / len(encoded[0]) / step,
        len(missing) * held_out / reading,
    )


def measure_pace(settings: TuningSettings, rows: Sequence[EncodedRow]) -> tuple[float, float]:
    """Return tokens a second of a tuning step and of a reading without gradients, each measured once on a few
    rows after a first try.
    """
    import torch

    middle = sorted(rows, key=lambda row: len(row.input_ids))
    chosen = middle[max(0, len(middle) // 2 - PACE_ROWS // 2) :][: min(PACE_ROWS, settings.batch_size)]
    n_tokens = sum(len(row.input_ids) for row in chosen)
    model = prepare_model(settings, recompute=False)
    weights = [weight for weight in model.parameters() if weight.requires_grad]
    optimizer = torch.optim.AdamW(weights)

    def time_twice(call: Any) -> float:
        call()
        started = time.perf_counter()
        call()
        return max(time.perf_counter() - started, 1e-6)

    step = time_twice(lambda: take_step(model, optimizer, chosen, 0.0))
    return n_tokens / step, n_tokens / time_twice(lambda: sum_losses(model.get_base_model(), chosen))


def collect_losses(plan: MixturePlan) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Run or load every cell; return the losses by category, and those of every held-out row, as
    `analysis.mixing.losses.read_losses` takes them.
    """
    import pandas as pd

    items = pd.concat(list(_read_cells(plan)), ignore_index=True)
    columns = [name for name in items if name.startswith("n_")]
    sums = items.groupby([*columns, "seed", "category"], as_index=False)[["nats", "tokens"]].sum()
    return sums.assign(loss=sums["nats"] / sums["tokens"]), items


def _read_cells(plan: MixturePlan) -> Iterator[pd.DataFrame]:
    import pandas as pd

    from helpers.progress import track

    categories = {row.id: row.category for row in read_rows(plan.held_out, Instruction)}
    names = plan.study.grid.players
    with track("cells of the mixtures", len(plan.cells), "cells") as advance:
        for cell in plan.cells:
            table = pd.read_csv(measure_cell(plan, cell).file(LOSSES), dtype={"id": str})
            rows = count_categories(cell.name, cell.n_rows, names)
            yield table.assign(category=table["id"].map(categories), seed=cell.seed or 0, **rows)
            advance(note=cell.id)
