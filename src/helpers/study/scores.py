"""Scores of a grid as small tables of numbers, and back: what `results/reference/` holds of the
reference runs.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from helpers.errors import StudyError
from helpers.evaluation.loaders import find_release
from helpers.evaluation.metrics import MEASURES, MENTION_COUNTS
from helpers.evaluation.prepared_tasks import PreparedTask, prepare_tasks
from helpers.evaluation.settings import EvaluationSettings
from helpers.evaluation.tasks import find_task
from helpers.files import sha256_file
from helpers.machine import describe_machine
from helpers.models.load import identify_model
from helpers.paths import RESULTS, shown
from helpers.prompts import PromptFormat
from helpers.records import ChoiceItem
from helpers.study.cells import Cell, collect_items
from helpers.study.grid import CellPlan, GridSettings, plan_cells
from helpers.study.tables import (
    CELLS,
    Tables,
    check_same,
    check_tables,
    describe_computing,
    describe_settings,
    read_manifest,
    read_table,
    take_general,
)
from helpers.synthesis.public_rows import PUBLIC, REPOSITORY

if TYPE_CHECKING:
    import pandas as pd

    from helpers.study.study import Study

# of a manifest: what all its cells share, its test items aside
SHARED_ENTRIES = ("settings", "device", "products", "model", "instructions")
REFERENCE_FOLDER = RESULTS / "reference"
SCORES, MEASURE_TABLE = "scores.csv", "measures.csv"
LIBRARIES = ("torch", "transformers", "peft")
INTEGERS = {"seed": "Int64", "n_tokens": "Int64"}


def build_score_tables(study: Study, plans: Sequence[CellPlan], folder: Path) -> Tables:
    """Return the scores of stored cells, item by item, with what each cell was and cost.

    Cells that the folder holds already stay, so that a grid can grow over several runs and machines.

    Args:
        study: of the grid.
        plans: stored cells.
        folder: gets `scores.csv` (task, item, then a column per cell), `measures.csv` (all measures of each
            item), `cells.csv`, and `manifest.json`.

    Raises:
        StudyError: the folder holds cells of other settings, rows or test items.
    """
    manifest = build_score_manifest(study)
    check_tables((SCORES, CELLS, MEASURE_TABLE), folder)
    tests = (f"tests.{task}.sha256" for task in manifest["tests"])
    check_same(manifest, (*SHARED_ENTRIES, *tests), folder)
    take_general(manifest, study, plans, folder)
    cells = {plan.id: study.answer_cell(plan) for plan in plans}
    items = collect_items(cells)
    texts = {
        SCORES: merge_table(folder / SCORES, _widen(items), ["task", "item"]),
        CELLS: merge_table(folder / CELLS, describe_cells(plans, cells, items), None),
        MEASURE_TABLE: merge_table(folder / MEASURE_TABLE, list_measures(items), None),
    }
    return folder, manifest, texts


def merge_table(path: Path, table: pd.DataFrame, index: list[str] | None) -> str:
    """Return a table, merged with its file, as CSV: what the file holds already, columns of wide tables and
    rows of `cells.csv`, stays and comes first.

    Raises:
        StudyError: a cell is there with other numbers, or with other items.
    """
    import pandas as pd

    if path.is_file() and index:
        there = read_table_with_integers(path).set_index(index)
        both = [name for name in table if name in there]
        if not table.index.equals(there.index) or not np.allclose(
            table[both], there[both], atol=2e-4, equal_nan=True
        ):
            raise StudyError(
                f"{shown(path)} holds other numbers of the same cells. Name another folder, or delete it to "
                "write all cells anew."
            )
        table = there.join(table.drop(columns=both))
    elif path.is_file():
        there = read_table_with_integers(path)
        table = pd.concat([there, table[~table["id"].isin(there["id"])]], ignore_index=True)
        table = table.astype({name: kind for name, kind in INTEGERS.items() if name in table})
    return table.to_csv(index=bool(index))


def read_table_with_integers(path: Path) -> pd.DataFrame:
    """Read a table as it was written, whole numbers included."""
    table = read_table(path)
    return table.astype(
        {name: kind for name, kind in INTEGERS.items() if name in table and path.name == CELLS}
    )


def list_measures(items: pd.DataFrame) -> pd.DataFrame:
    """Return the measures of each item beside its score: id (of the cell), task, item, parsed, then one
    column per measure that any task has.
    """
    known = (name for name in (*MEASURES, *MENTION_COUNTS) if name in items)
    present = [name for name in known if items[name].notna().any()]
    table = items.rename(columns={"cell": "id"})[["id", "task", "item", "parsed", *present]]
    return table.assign(**{name: table[name].astype(float).round(4) for name in present})


def _widen(items: pd.DataFrame) -> pd.DataFrame:
    wide = items.set_index(["task", "item", "cell"])["score"].unstack("cell").round(4)
    return wide.reindex(
        index=items.set_index(["task", "item"]).index.unique(), columns=items["cell"].unique()
    )


def describe_cells(plans: Sequence[CellPlan], cells: dict[str, Cell], items: pd.DataFrame) -> pd.DataFrame:
    """Return one row per cell and task: id, cell, n_rows, seed, task, n_items, unparsed (share), and of the
    cell n_tokens (of its training), seconds, commit and time of its making.
    """
    import pandas as pd

    rows = []
    for plan in plans:
        cell = cells[plan.id]
        runs = [run.manifest for run in (cell.tuning, cell.evaluation) if run]
        facts = runs[0]["facts"] if cell.tuning else {}
        own = {"id": plan.id, "cell": plan.name, "n_rows": plan.n_rows, "seed": plan.seed}
        cost = {
            "n_tokens": facts.get("n_tokens"),
            "train_seconds": facts.get("train_seconds"),
            "answer_seconds": runs[-1]["facts"]["answer_seconds"],
        }
        for task, group in items[items["cell"] == plan.id].groupby("task", sort=False):
            found = {"task": task, "n_items": len(group), "unparsed": round(1 - group["parsed"].mean(), 4)}
            rows.append(own | found | cost | {name: runs[-1][name] for name in ("commit", "created")})
    return pd.DataFrame(rows).astype(INTEGERS)


def build_score_manifest(study: Study) -> dict[str, Any]:
    """Return the manifest: settings, sha256 of rows and test items, sources and licences, versions and
    machine.
    """
    prepared_tasks = prepare_tasks(study.evaluation_settings, study.data_folder)
    machine = describe_machine()
    return {
        "settings": {
            "tuning": describe_settings(study.tuning_settings, ("categories", "training_seed")),
            "evaluation": describe_settings(study.evaluation_settings),
            "budget": study.grid_settings.budget,
            "lattice": study.grid_settings.lattice,
        }
        | PromptFormat.from_settings(study.evaluation_settings).describe(),
        **describe_computing(study.tuning_settings.dtype),
        "model": identify_model(study.evaluation_settings.model),
        "instructions": describe_instructions(study),
        "tests": {
            prepared.task.name: describe_test(prepared, study.data_folder) for prepared in prepared_tasks
        },
        "machine": machine["machine"] | {"created": machine["created"]},
        "versions": {
            name: version for name, version in machine["versions"].items() if name in ("python", *LIBRARIES)
        },
    }


def describe_instructions(study: Study) -> dict[str, Any]:
    """Return the sha256 of the rows, and for public ones that of the held-out rows and where
    both come from.
    """
    found: dict[str, Any] = {"sha256": sha256_file(study.training_file)}
    if study.instructions == PUBLIC:
        found |= {"held_out_sha256": sha256_file(study.held_out_file), "source": REPOSITORY}
    return found


def describe_test(prepared: PreparedTask, data: Path | None) -> dict[str, Any]:
    """Return what a test's items are: their number and sha256, of questions with options the share (0..1)
    that the commonest answer is right for, and of a public set its address, licence, and the sha256 of the
    files it was read from.
    """
    found: dict[str, Any] = {"n_items": len(prepared.items), "sha256": prepared.digest}
    if isinstance(prepared.items[0], ChoiceItem):
        found["commonest"] = max(
            Counter(item.options[item.answer] for item in prepared.items).values()
        ) / len(prepared.items)
    if prepared.task.source is None:
        return found
    files = find_release(prepared.task.source, data).values() if data else ()
    return found | {
        "url": prepared.task.source.url,
        "licence": prepared.task.source.licence,
        "files": {path.name: sha256_file(path) for paths in files for path in paths},
    }


@dataclasses.dataclass(frozen=True)
class ScoreTables:
    """A grid read back from its tables.

    Attributes:
        items: one row per item, cell and seed: cell_id (under which `cells` holds the cell),
            cell, seed, task, category, item, score (0..1), parsed (share of the cell's answers to the task);
            only seeds whose every cell is there.
        cells: one row per cell and task, as `describe_cells` gives it.
        manifest: settings, sources, versions.
    """

    items: pd.DataFrame
    cells: pd.DataFrame
    manifest: dict[str, Any]

    @property
    def settings(self) -> EvaluationSettings:
        """Model, tasks and items."""
        return EvaluationSettings(**self.manifest["settings"]["evaluation"])


def load_scores(folder: Path) -> ScoreTables:
    """Read the tables of a grid.

    Raises:
        StudyError: a table was altered since it was written.
    """
    manifest = read_manifest(folder)
    cells = read_table_with_integers(folder / CELLS)
    return ScoreTables(
        _lengthen(read_table_with_integers(folder / SCORES), cells, manifest["settings"]), cells, manifest
    )


def _lengthen(scores: pd.DataFrame, cells: pd.DataFrame, settings: dict[str, Any]) -> pd.DataFrame:
    """Return scores of the lattice in long form, the base model under every seed; a seed that lacks a cell,
    and cells of other sizes, are left out.

    Raises:
        StudyError: no seed has all cells.
    """
    import pandas as pd

    grid = GridSettings(lattice=settings["lattice"], budget=settings["budget"])
    unparsed = cells.set_index(["id", "task"])["unparsed"].sort_index()
    parts = []
    for seed in map(int, sorted(set(cells["seed"].dropna()))):
        plans = plan_cells(grid.lattice_cells, grid, settings["tuning"]["n_rows"], seed)
        if all(plan.id in scores for plan in plans):
            parts += [_list_cell_items(plan, seed, scores, unparsed[plan.id]) for plan in plans]
    if not parts:
        lattice = ", ".join(grid.lattice_cells)
        raise StudyError(
            f"No training seed has all of {lattice} in the tables. Run and export the cells that lack "
            "(`study grid status`)."
        )
    return pd.concat(parts, ignore_index=True)


def _list_cell_items(plan: CellPlan, seed: int, scores: pd.DataFrame, unparsed: pd.Series) -> pd.DataFrame:
    own = {
        "cell_id": plan.id,
        "score": scores[plan.id],
        "cell": plan.name,
        "seed": seed,
        "parsed": 1 - scores["task"].map(unparsed),
    }
    return scores[["task", "item"]].assign(
        **own, category=scores["task"].map(lambda task: find_task(task).category)
    )
