"""A study: the settings of all stages in one place, and its cells from the store or computed."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from helpers.errors import StudyError
from helpers.evaluation.merging import SharedBase
from helpers.evaluation.settings import EvaluationSettings
from helpers.evaluation.tasks import parse_tasks
from helpers.jsonl import read_rows
from helpers.models.load import check_dtype
from helpers.paths import ROOT, SEED_TASKS
from helpers.progress import track
from helpers.prompts import PromptFormat
from helpers.provider.ledger import ProviderLimits
from helpers.records import BASE, CATEGORIES, GENERAL, Instruction, SeedTask, order_categories
from helpers.settings import build_settings, parameter
from helpers.store import Run, plan_only
from helpers.study.cells import (
    Cell,
    answer_cell,
    collect_items,
    collect_items_by_seed,
    find_answer_state,
)
from helpers.study.endpoints import (
    ENDPOINTS,
    SCORE,
    LossSettings,
    check_held_out,
    select_endpoint_items,
)
from helpers.study.grid import SINGLES, STUDY_CONTROLS, CellPlan, GridSettings, plan_cells
from helpers.study.losses import measure_cell_losses, read_cell_losses, stack_seeds
from helpers.study.seed_spread import add_spread, read_measured_seeds
from helpers.study.sharing import MAKE_ANSWERS, MAKE_LOSSES, MAKE_ROW_LOSSES, share_cells
from helpers.synthesis.pipeline import INSTRUCTIONS, synthesize
from helpers.synthesis.public_rows import PUBLIC, load_public_rows
from helpers.synthesis.settings import SynthesisSettings, check_synthesis_settings
from helpers.synthesis.split import HELD_OUT_FILE, TRAINING_FILE, hold_out
from helpers.synthesis.user_rows import prepare_rows_file
from helpers.tuning.rows import parse_categories
from helpers.tuning.settings import TuningSettings

if TYPE_CHECKING:
    import pandas as pd

SETTINGS = {  # the settings that a study holds, by the name of its field
    "synthesis_settings": SynthesisSettings,
    "tuning_settings": TuningSettings,
    "evaluation_settings": EvaluationSettings,
    "provider_limits": ProviderLimits,
    "grid_settings": GridSettings,
    "loss_settings": LossSettings,
}


def prepare_named_rows(parameter: str, name: str) -> Path:
    """Return the file of rows that a parameter names, from the project's folder, fit for training.

    Raises:
        StudyError: there is no such file.
    """
    path = ROOT / name
    if not path.is_file():
        raise StudyError(
            f"`{parameter}` must name a JSONL file, but none lies at {name!r}. Leave it empty, or correct "
            "the path (from the project's folder)."
        )
    return prepare_rows_file(path)


def list_categories(instructions: str) -> tuple[str, ...]:
    """Return the categories of the rows of a named file; those of the paper for its public rows.

    Raises:
        StudyError: no file is named.
    """
    if not instructions:
        raise StudyError(
            "`lattice` may be empty where `instructions` names a file, whose categories it then has. Name "
            f"those of the synthesis, such as lattice={'+'.join(CATEGORIES)}."
        )
    if instructions == PUBLIC:
        return SINGLES
    return order_categories(
        row.category for row in read_rows(prepare_named_rows("instructions", instructions), Instruction)
    )


@dataclasses.dataclass(frozen=True)
class FileSettings:
    """Parameters that name what takes the place of the study's own files."""

    instructions: str = parameter("", "instruction file (JSONL), or 'public'; empty: that of the synthesis")
    data: str = parameter("", "folder of the public sets' files; empty: the hub")


@dataclasses.dataclass(frozen=True)
class Study:
    """Settings of all stages, limits of a live teacher, and what takes the place of the study's own files
    where it is named.

    Attributes:
        instructions: instruction file (JSONL), or 'public' for the public rows of the paper's data; empty for
            the synthesis.
        data: folder of the public sets' files; empty for the embedded files, or the hub.
    """

    synthesis_settings: SynthesisSettings
    tuning_settings: TuningSettings
    evaluation_settings: EvaluationSettings
    provider_limits: ProviderLimits
    instructions: str = ""
    grid_settings: GridSettings = dataclasses.field(default_factory=GridSettings)
    data: str = ""
    loss_settings: LossSettings = dataclasses.field(default_factory=LossSettings)

    @classmethod
    def from_parameters(cls, parameters: Mapping[str, Any]) -> Study:
        """Build a study from same-named parameters, such as `globals()` of a notebook or a profile; absent
        ones keep their default.
        """
        settings = {name: build_settings(kind, parameters) for name, kind in SETTINGS.items()}
        files = build_settings(FileSettings, parameters)
        study = cls(**settings, **dataclasses.asdict(files))
        study.data_folder  # noqa: B018 (raises if there is no such folder)
        study.loss_settings.check_names()
        check_synthesis_settings(study.synthesis_settings)
        parse_categories(study.tuning_settings.categories)
        parse_tasks(study.evaluation_settings.tasks)
        if not study.grid_settings.lattice:
            lattice = "+".join(list_categories(study.instructions))
            grid_settings = dataclasses.replace(study.grid_settings, lattice=lattice)
            study = dataclasses.replace(study, grid_settings=grid_settings)
        study.grid_settings.check_names()
        check_dtype(study.tuning_settings.dtype)
        PromptFormat.from_settings(study.tuning_settings)
        return study

    @classmethod
    def from_fields(cls, fields: Mapping[str, Any]) -> Study:
        """Build a study again from what `dataclasses.asdict` gives of it."""
        return cls(**fields | {name: kind(**fields[name]) for name, kind in SETTINGS.items()})

    @cached_property
    def seed_tasks(self) -> list[SeedTask]:
        """The seed tasks."""
        return read_rows(SEED_TASKS, SeedTask)

    @cached_property
    def synthesis_run(self) -> Run:
        """The run that holds the instruction data; asks the teacher where it is not stored (a live one costs
        money).
        """
        return synthesize(self.synthesis_settings, self.provider_limits)

    @cached_property
    def data_folder(self) -> Path | None:
        """The folder that `data` names (from the project's folder), or None.

        Raises:
            StudyError: there is no such folder.
        """
        folder = ROOT / self.data if self.data else None
        if folder and not folder.is_dir():
            raise StudyError(
                f"`data` must name a folder with the public sets' files, but none lies at {self.data!r}. "
                "Leave it empty for the hub."
            )
        return folder

    @cached_property
    def all_rows_file(self) -> Path:
        """Every instruction row, made where it is not stored (`synthesis_run`): the file that `instructions`
        names (from the project's folder), or the synthesis run's.

        Raises:
            StudyError: the named file does not exist.
        """
        return (
            prepare_named_rows("instructions", self.instructions)
            if self.instructions
            else self.synthesis_run.file(INSTRUCTIONS)
        )

    @cached_property
    def general_file(self) -> Path:
        """The file of rows of another domain that `general` names."""
        return prepare_named_rows("general", self.grid_settings.general)

    @cached_property
    def _split(self) -> Run | None:
        """The run that holds training and held-out rows apart; None where nothing is held out."""
        if self.instructions == PUBLIC:
            return load_public_rows(self.data_folder)
        share = self.loss_settings.held_out_share
        return hold_out(self.all_rows_file, share) if share else None

    @cached_property
    def training_file(self) -> Path:
        """The rows to tune on, without those held out; made where they are not stored (`synthesis_run`).

        Raises:
            StudyError: the rows cannot be had.
        """
        return self._split.file(TRAINING_FILE) if self._split else self.all_rows_file

    @cached_property
    def held_out_file(self) -> Path | None:
        """The rows whose loss is measured; made where they are not stored (`synthesis_run`). No model is
        tuned on them. None where nothing is held out.
        """
        return self._split.file(HELD_OUT_FILE) if self._split else None

    @cached_property
    def shared_base(self) -> SharedBase:
        """The base model, loaded once for all adapters that are measured."""
        return SharedBase(self.evaluation_settings.model, self.evaluation_settings.dtype)

    def answer_cells_of_one_seed(self, names: Iterable[str]) -> dict[str, Cell]:
        """Tune cells of the study's number of rows and first training seed where needed, then let them
        answer: 'base', 'all', or categories joined by '+'.
        """
        return {cell.name: cell for cell in self._answer_cells(self.plan_cells_of_one_seed(names))}

    def collect_scores_of_one_seed(self, names: Iterable[str]) -> pd.DataFrame:
        """Tune what is not stored and let it answer, and return the scores of all items of several cells, one
        row per item and cell.
        """
        return collect_items(self.answer_cells_of_one_seed(names))

    def plan_cells_of_one_seed(self, names: Iterable[str]) -> list[CellPlan]:
        """Return cells of the study's number of rows and first training seed."""
        rows, seed = self.tuning_settings.n_rows, self.tuning_settings.training_seed
        return [CellPlan(name) if name == BASE else CellPlan(name, rows, seed) for name in names]

    def plan_cells(self, names: Iterable[str], n_rows: int | None = None) -> list[CellPlan]:
        """Return cells of the grid under every training seed, of `n_rows` rows or the study's own number."""
        tuning = self.tuning_settings
        return plan_cells(names, self.grid_settings, n_rows or tuning.n_rows, tuning.training_seed)

    def plan_grid(self) -> list[CellPlan]:
        """Return every cell that the grid's parameters ask for: the lattice, its controls, the mixtures given
        by rows, and the lattice again at each size of the size curve.

        Raises:
            StudyError: the file that `instructions` names lacks a category of the cells.
        """
        grid = self.grid_settings
        plans = self.plan_cells([*grid.lattice_cells, *grid.control_cells, *grid.mixture_cells])
        plans += [plan for size in grid.curve_sizes for plan in self.plan_cells(grid.lattice_cells, size)]
        self._check_categories(plans)
        return list(dict.fromkeys(plans))

    def _check_categories(self, plans: Iterable[CellPlan]) -> None:
        if self.instructions in ("", PUBLIC):
            return
        there = list_categories(self.instructions)
        named = {
            name
            for plan in plans
            if plan.seed is not None and plan.name not in STUDY_CONTROLS
            for name in parse_categories(plan.name)
        }
        if missing := order_categories(named - set(there)):
            raise StudyError(
                f"`lattice` and `mixtures` must name categories of the rows ({', '.join(there)}), but "
                f"{missing[0]!r} was found. An empty `lattice` takes those of the rows."
            )

    def answer_cell(self, plan: CellPlan) -> Cell:
        """Tune one cell of the grid where needed, then let it answer the tasks."""
        return answer_cell(*self.list_cell_inputs(plan), self.shared_base)

    def find_cell_state(self, plan: CellPlan) -> str:
        """Say of a cell of the grid whether it is 'done' (losses, and answers where they are asked for),
        'tuned' or 'missing' in the store; computes nothing.
        """
        adapter, losses = plan_only(measure_cell_losses, self, plan)
        if adapter and not adapter.is_stored:
            return "missing"
        done = all(run.is_stored for run in losses)
        if done and self.grid_settings.asks_for_answers(plan.name):
            done = find_answer_state(*self.list_cell_inputs(plan)) == "done"
        return "done" if done else "tuned" if adapter else "missing"

    def run_cell(self, plan: CellPlan) -> list[Run]:
        """Run or load all that is asked of one cell: its tuning, its losses, and its answers."""
        adapter, losses = measure_cell_losses(self, plan)
        answers_too = self.grid_settings.asks_for_answers(plan.name)
        answers = [self.answer_cell(plan).evaluation] if answers_too else []
        return [*([adapter] if adapter else []), *losses, *answers]

    def list_cell_inputs(
        self, plan: CellPlan
    ) -> tuple[str, TuningSettings, EvaluationSettings, Path, Path | None]:
        """Return what a cell is made from: name, settings of tuning and evaluation, rows, folder of the
        tests.
        """
        rows = self.general_file if plan.name == GENERAL else self.training_file
        return (
            plan.name,
            dataclasses.replace(self.tuning_settings, n_rows=plan.n_rows, training_seed=plan.seed or 0),
            self.evaluation_settings,
            rows,
            self.data_folder,
        )

    def answer_cells_of_all_seeds(self, names: Iterable[str], n_rows: int | None = None) -> list[Cell]:
        """Tune cells under every training seed where needed, and let them answer, one after the other."""
        return self._answer_cells(self.plan_cells(names, n_rows))

    def _answer_cells(self, plans: Sequence[CellPlan]) -> list[Cell]:
        """Tune cells where needed and let them answer; each is stored on its own, so that an interrupted grid
        goes on where it stopped.
        """
        cells = []
        shared = share_cells(self, plans, MAKE_ANSWERS)
        with shared, track("cells of the grid", len(plans), "cells") as advance:
            for plan in plans:
                cells.append(self.answer_cell(plan))
                advance(note=plan.id)
        return cells

    def collect_scores_of_all_seeds(self, names: Iterable[str], n_rows: int | None = None) -> pd.DataFrame:
        """Tune what is not stored and let it answer, and return the scores of all items of several cells
        under every training seed, one row per item, cell and seed.
        """
        return collect_items_by_seed(self.answer_cells_of_all_seeds(names, n_rows))

    def collect_losses(
        self, names: Iterable[str], n_rows: int | None = None, with_tasks: bool = True
    ) -> pd.DataFrame:
        """Tune and measure what is not stored, and return the losses of several cells under every training
        seed, one row per item, cell and seed (`helpers.study.losses`). Without the tasks, held-out rows
        alone.

        Raises:
            StudyError: the tasks are left out, and there are too few held-out rows to compare cells by.
        """
        plans = self.plan_cells(names, n_rows)
        tables = {}
        if not with_tasks:
            self.check_held_out_rows()
        shared = share_cells(self, plans, MAKE_LOSSES if with_tasks else MAKE_ROW_LOSSES)
        with shared, track("losses of the grid", len(plans), "cells") as advance:
            for plan in plans:
                tables[plan] = read_cell_losses(self, measure_cell_losses(self, plan, with_tasks)[1])
                if not with_tasks:  # of the base model, which comes first: some rows may be too long
                    check_held_out(tables[plan]["category"], self.grid_settings.lattice_categories)
                advance(note=plan.id)
        return stack_seeds(tables)

    def check_held_out_rows(self, in_halves: bool = False) -> None:
        """Check that cells can be compared by held-out rows, before any is tuned; `in_halves` as
        `endpoints.check_held_out` takes it.

        Raises:
            StudyError: no rows are held out, or too few of a category of the lattice, or the rows lack it.
        """
        if not self.held_out_file:
            raise StudyError(
                "This comparison needs held-out rows, but `held_out_share` is 0. Set it above 0, or run "
                "lesson 5 alone (`--only 05`) with the endpoint choice or score."
            )
        self._check_categories(self.plan_cells(self.grid_settings.lattice_cells))
        rows = read_rows(self.held_out_file, Instruction)
        check_held_out((row.category for row in rows), self.grid_settings.lattice_categories, in_halves)

    def collect_tunings(self, names: Iterable[str]) -> dict[str, Run]:
        """Tune and measure what is not stored, and return the tuning of each cell that has one under the
        first training seed, by the cell's name.
        """
        plans = [plan for plan in self.plan_cells(names) if plan.seed == self.tuning_settings.training_seed]
        return {plan.name: measure_cell_losses(self, plan, with_tasks=False)[0] for plan in plans}

    def collect_endpoint(self, names: Iterable[str], n_rows: int | None = None) -> pd.DataFrame:
        """Tune and measure what is not stored, and return the endpoint of all items of several cells under
        every training seed in the column `score`: the scores of answers, or minus a loss (`study.endpoints`).

        Raises:
            StudyError: the endpoint is one of held-out rows, and none or too few are held out.
        """
        endpoint = self.loss_settings.endpoint
        if endpoint == SCORE:
            return self.collect_scores_of_all_seeds(names, n_rows)
        of_tasks = ENDPOINTS[endpoint].tasks_only
        return self.select_endpoint_items_with_spread(
            self.collect_losses(names, n_rows, of_tasks), endpoint, n_rows
        )

    def select_endpoint_items_with_spread(
        self, losses: pd.DataFrame, endpoint: str, n_rows: int | None = None
    ) -> pd.DataFrame:
        """Return the items of losses that an endpoint is compared on (`endpoints.select_endpoint_items`);
        under one training seed with the spread over seeds, where it was measured before
        (`seed_spread.add_spread`) for cells of `n_rows` rows, or of the study's own number.
        """
        items = select_endpoint_items(losses, endpoint)
        if items["seed"].nunique() > 1:
            return items
        return add_spread(items, read_measured_seeds(self, endpoint, n_rows or self.tuning_settings.n_rows))

    @cached_property
    def endpoint_items(self) -> pd.DataFrame:
        """The endpoint of the lattice and its controls; tunes and measures what is not stored. One row per
        item, cell and seed.
        """
        return self.collect_endpoint([*self.grid_settings.lattice_cells, *self.grid_settings.control_cells])

    def collect_endpoint_by_size(self) -> dict[int, pd.DataFrame]:
        """Tune and measure what is not stored, and return the endpoint of the lattice for each number of rows
        of the size curve.
        """
        grid = self.grid_settings
        return {size: self.collect_endpoint(grid.lattice_cells, size) for size in grid.curve_sizes}
