"""A study: the settings of all stages in one place, and its cells from the store or computed."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from helpers.errors import StudyError
from helpers.evaluation.stage import EvaluationSettings
from helpers.evaluation.tasks import parse_tasks
from helpers.grid import Cell, collect_items, run_cells
from helpers.paths import ROOT
from helpers.records import SeedTask, read_rows
from helpers.settings import pick
from helpers.store import Run
from helpers.synthesis.ledger import TeacherLimits
from helpers.synthesis.pipeline import INSTRUCTIONS, SEED_TASKS, SynthesisSettings, check_choices, synthesize
from helpers.tuning.lora import TuningSettings
from helpers.tuning.rows import parse_categories

if TYPE_CHECKING:
    import pandas as pd


@dataclasses.dataclass(frozen=True)
class Study:
    """Settings of all stages, limits of a live teacher, and an instruction file that takes the place of the synthesis where one is named."""

    synthesis: SynthesisSettings
    tuning: TuningSettings
    evaluation: EvaluationSettings
    limits: TeacherLimits
    instructions: str = ""

    @classmethod
    def from_parameters(cls, parameters: Mapping[str, Any]) -> Study:
        """Build a study from same-named parameters, such as `globals()` of a notebook or a profile; absent ones keep their default."""
        synthesis, tuning, evaluation = (pick(stage, parameters) for stage in (SynthesisSettings, TuningSettings, EvaluationSettings))
        check_choices(synthesis)
        parse_categories(tuning.categories)
        parse_tasks(evaluation.tasks)
        return cls(synthesis, tuning, evaluation, pick(TeacherLimits, parameters), instructions=parameters.get("instructions", ""))

    @cached_property
    def seeds(self) -> list[SeedTask]:
        """The seed tasks."""
        return read_rows(SEED_TASKS, SeedTask)

    @cached_property
    def synthesis_run(self) -> Run:
        """The run that made the instruction data from the seeds."""
        return synthesize(self.synthesis, self.limits)

    @cached_property
    def instruction_file(self) -> Path:
        """The instruction file: the one that `instructions` names (from the project's folder), or the synthesis run's.

        Raises:
            StudyError: the named file does not exist.
        """
        if not self.instructions:
            return self.synthesis_run.file(INSTRUCTIONS)
        path = ROOT / self.instructions
        if not path.is_file():
            raise StudyError(f"`instructions` must name a JSONL file, but none lies at {self.instructions!r}. Leave it empty for the rows of notebook 02.")
        return path

    def run_cells(self, names: Iterable[str]) -> dict[str, Cell]:
        """Run or load cells of the grid: 'base', 'all', or categories joined by '+'."""
        return run_cells(names, self.tuning, self.evaluation, self.instruction_file)

    def collect_items(self, names: Iterable[str]) -> pd.DataFrame:
        """Return the scores of all items of several cells, one row an item and cell."""
        return collect_items(self.run_cells(names))
