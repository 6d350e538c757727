"""From rows with categories to the losses of mixtures: small cells run through the grid, what they will cost,
and their losses as the mixture law takes them.
"""

from __future__ import annotations

import dataclasses
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import combinations
from typing import TYPE_CHECKING

from helpers.errors import StudyError
from helpers.evaluation.held_out import draw_held_out, measure_text_and_end
from helpers.jsonl import read_rows
from helpers.models.load import load_config, load_tokenizer
from helpers.progress import track
from helpers.prompts import PromptFormat
from helpers.records import BASE, Instruction, order_categories
from helpers.study.endpoints import check_held_out, keep_held_out
from helpers.study.grid import (
    MAX_CATEGORIES,
    CellPlan,
    GridSettings,
    is_control,
    list_row_columns,
    round_shares,
    write_mixture,
)
from helpers.study.losses import LossTables, measure_cell_losses, read_cell_losses
from helpers.study.sharing import MAKE_LOSSES, share_cells
from helpers.tuning.lengths import limit_tokens, split_by_limit
from helpers.tuning.memory import measure_model
from helpers.tuning.rows import EncodedRow, encode_row
from helpers.tuning.settings import TuningSettings
from helpers.tuning.stage import plan_memory, prepare_model
from helpers.tuning.step import take_step

if TYPE_CHECKING:
    import pandas as pd

    from helpers.study.study import Study

LARGE_CELL_FACTOR = 3  # the larger cells have so many times the rows of the small ones
PACE_ROWS = 8
SMALL_CELL_DIVISOR = 10  # a small cell has a tenth of the rows to spend, unless told otherwise


@dataclasses.dataclass(frozen=True)
class MixturePlan:
    """The cells that a recommendation needs.

    Attributes:
        study: with the cells as its mixtures, and losses on held-out rows alone.
        available: training rows by category that fit into `max_tokens`.
        too_long: rows by category, held-out ones included, that do not.
    """

    study: Study
    available: dict[str, int]
    too_long: dict[str, int]

    @property
    def cells(self) -> list[CellPlan]:
        """The untuned model, and every mixture under every training seed."""
        return self.study.plan_cells([BASE, *self.study.grid_settings.mixture_cells])


def plan_mixtures(study: Study, cell_rows: int, n_seeds: int) -> MixturePlan:
    """Lay out the cells for the rows of a study.

    Args:
        study: whose rows have two categories or more, and of which some are held out.
        cell_rows: rows of a small cell.
        n_seeds: training seeds per cell.

    Raises:
        StudyError: there are too few rows of a category, or too few or too many categories.
    """
    if study.held_out_file is None:
        raise StudyError(
            "`held_out_share` must be above 0: mixtures are judged by rows that no cell has seen."
        )
    paths = study.training_file, study.held_out_file
    parts = [split_by_limit(study.tuning_settings, path) for path in paths]
    available, held_out = (Counter(row.category for row, _ in fitting) for fitting, _ in parts)
    too_long = Counter(row.category for _, longer in parts for row in longer)
    names = order_categories([*available, *held_out])
    if not 2 <= len(names) <= MAX_CATEGORIES:
        raise StudyError(
            f"`instructions` must have rows of 2 to {MAX_CATEGORIES} categories, but {len(names)} were found "
            f"({', '.join(names)}), and the cells grow with their square. Join some of them, or add others."
        )
    check_held_out(held_out.elements(), names)
    available = {name: available[name] for name in names}
    mixtures = ",".join(design_mixtures(available, cell_rows))
    lattice = "+".join(names)
    grid = GridSettings(lattice, controls="", answers="none", n_seeds=n_seeds, mixtures=mixtures)
    evaluation = dataclasses.replace(study.evaluation_settings, tasks="")
    return MixturePlan(
        dataclasses.replace(study, grid_settings=grid, evaluation_settings=evaluation),
        available,
        {name: too_long[name] for name in order_categories(too_long)},
    )


def design_mixtures(available: Mapping[str, int], cell_rows: int) -> list[str]:
    """Return the mixtures to tune: at `cell_rows` every single, every pair in equal parts, all in equal
    parts, and two thirds of each category with the rest from all others; singles and all in equal parts at
    three times as many rows, or as many as there are.

    Raises:
        StudyError: a category has fewer rows than a single of `cell_rows`.
    """
    few = {name: n for name, n in available.items() if n < cell_rows + 1}
    if few:
        name, n = min(few.items(), key=lambda item: item[1])
        remedy = f"Lower `--cell-rows` to {n - 1} or less, or add rows" if n > 1 else "Add rows"
        raise StudyError(
            f"A small cell has {cell_rows} rows, and a larger one more, but category {name!r} has {n} that "
            f"fit into `max_tokens` and are not held out. {remedy}."
        )
    names = list(available)
    equal = dict.fromkeys(names, 1)
    shapes = [
        *({name: 1} for name in names),
        *({one: 1, other: 1} for one, other in combinations(names, 2)),
        equal,
        *(equal | {name: 2 * (len(names) - 1)} for name in names),
    ]
    cells = [apportion_rows(shape, cell_rows) for shape in shapes]
    cells += [
        apportion_rows({name: 1}, min(LARGE_CELL_FACTOR * cell_rows, available[name])) for name in names
    ]
    cells.append(
        apportion_rows(equal, min(LARGE_CELL_FACTOR * cell_rows, len(names) * min(available.values())))
    )
    return list(dict.fromkeys(cells))


def apportion_rows(shape: Mapping[str, int], n_rows: int) -> str:
    """Return the mixture of `n_rows` rows in the proportions of a shape, such as 'qa:200+gen:100'."""
    total = sum(shape.values())
    return write_mixture(round_shares({name: part / total for name, part in shape.items()}, n_rows))


@dataclasses.dataclass(frozen=True)
class Cost:
    """What cells will cost that the store does not hold whole: their number, rows to tune on, and seconds."""

    n_cells: int
    n_rows: int
    tuning_seconds: float
    forward_seconds: float


def estimate_cost(plan: MixturePlan) -> Cost:
    """Estimate the cost of what the store lacks from the pace of one step and one reading on a few rows."""
    study, settings = plan.study, plan.study.tuning_settings
    states = {cell: study.find_cell_state(cell) for cell in plan.cells}
    n_unmeasured = sum(state != "done" for state in states.values())
    if not n_unmeasured:
        return Cost(0, 0, 0.0, 0.0)
    tokenizer, prompt_format = load_tokenizer(settings.model), PromptFormat.from_settings(settings)
    training, _ = split_by_limit(settings, study.training_file)
    held_out, n_held_out = read_rows(study.held_out_file, Instruction), study.loss_settings.n_held_out
    longest = limit_tokens(settings.model, settings.max_tokens)
    read = draw_held_out(held_out, n_held_out, tokenizer, longest, prompt_format)
    typical = choose_typical(training, min(PACE_ROWS, settings.batch_size))
    step, reading = measure_pace(settings, [encode_row(tokenizer, row, prompt_format) for row in typical])
    n_rows = sum(cell.n_rows for cell, state in states.items() if state == "missing")
    mean = sum(n_tokens for _, n_tokens in training) / len(training)
    n_read = sum(len(row.input_ids) for _, row in read)
    tuning_seconds = settings.epochs * n_rows * mean / step
    return Cost(n_unmeasured, n_rows, tuning_seconds, n_unmeasured * n_read / reading)


def choose_typical(rows: Sequence[tuple[Instruction, int]], n: int) -> list[Instruction]:
    """Return the `n` rows in the middle when all are ordered by their tokens."""
    ordered = sorted(rows, key=lambda pair: pair[1])
    return [row for row, _ in ordered[max(0, (len(ordered) - n) // 2) :][:n]]


def measure_pace(settings: TuningSettings, rows: Sequence[EncodedRow]) -> tuple[float, float]:
    """Return tokens per second of a tuning step and of a reading without gradients, each measured once on a
    few rows after a first try.
    """
    import torch

    n_tokens = sum(len(row.input_ids) for row in rows)
    plan = plan_memory(settings, measure_model(load_config(settings.model), settings), [(0, rows)], 1)
    model = prepare_model(settings, plan.recompute)
    weights = [weight for weight in model.parameters() if weight.requires_grad]
    optimizer = torch.optim.AdamW(weights)
    step = _time_second(lambda: take_step(model, optimizer, rows, 0.0))
    reading = _time_second(lambda: measure_text_and_end(model.get_base_model(), rows))
    return n_tokens / step, n_tokens / reading


def _time_second(call: Callable[[], object]) -> float:
    call()
    started = time.perf_counter()
    call()
    return max(time.perf_counter() - started, 1e-6)


def collect_mixture_losses(plan: MixturePlan) -> pd.DataFrame:
    """Run or load every cell; return the losses of the held-out rows as
    `analysis.mixing.losses.build_loss_arrays` takes them.
    """
    import pandas as pd

    names, frames = plan.study.grid_settings.lattice_categories, []
    shared = share_cells(plan.study, plan.cells, MAKE_LOSSES)
    with shared, track("cells of the mixtures", len(plan.cells), "cells") as advance:
        for cell in plan.cells:
            table = read_cell_losses(plan.study, measure_cell_losses(plan.study, cell)[1])
            frames.append(list_held_out_losses(table, cell.name, cell.n_rows, cell.seed, names))
            advance(note=cell.id)
    return pd.concat(frames, ignore_index=True)


def read_mixtures(tables: LossTables, categories: Iterable[str]) -> pd.DataFrame:
    """Return what `collect_mixture_losses` returns, from the tables that are kept of a study; controls are
    left out.
    """
    import pandas as pd

    names, frames = tuple(categories), []
    for cell in tables.cells.itertuples():
        if not is_control(cell.cell):
            table = tables.read_cell(cell.id)
            frames.append(list_held_out_losses(table, cell.cell, cell.n_rows, cell.seed, names))
    return pd.concat(frames, ignore_index=True)


def list_held_out_losses(
    table: pd.DataFrame, name: str, n_rows: int, seed: float | None, categories: Iterable[str]
) -> pd.DataFrame:
    """Return the held-out rows of a cell's losses: n_* (rows of each category that the cell was tuned on),
    seed, category and id (of the held-out row), and loss (nats per token, end of text included).
    """
    held = keep_held_out(table)
    loss = (held["text"] + held["end"]) / (held["n_text_tokens"] + 1)
    rows = held[["category"]].assign(id=held["item"], loss=loss, seed=seed)
    return rows.assign(**list_row_columns(name, int(n_rows), categories))
