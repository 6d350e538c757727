"""The losses of the grid's cells, measured or read back from the small tables that `results/` keeps.

A table of losses has one row per item, cell and training seed: cell, seed, task, category, item, text and
end (nats of the answer's tokens, and of the end of text after it), n_text_tokens and n_text_bytes (of the
answer, the end of text aside), choice and calibrated (nats of the right option among all, as it is and with
the options' prior taken off; none where there are no options). Held-out rows of category c are the task
`held_out_c`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from helpers.errors import StudyError
from helpers.evaluation.answer_loss import measure_answer_loss, read_answer_losses
from helpers.evaluation.held_out import measure_held_out, read_held_out
from helpers.files import sha256_file
from helpers.machine import describe_machine
from helpers.models.load import identify_model
from helpers.paths import shown
from helpers.prompts import PromptFormat
from helpers.records import BASE
from helpers.store import Run
from helpers.study.cells import tune_cell
from helpers.study.endpoints import LOSS_COLUMNS
from helpers.study.grid import CellPlan
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

if TYPE_CHECKING:
    import pandas as pd

    from helpers.study.study import Study

ITEMS = "items.csv"
KEYS = ["task", "item"]
ROUNDING = 5e-3  # nats, and of a loss: machines of one kind differ by less
ITEM_COLUMNS = ["category", "n_text_tokens", "n_text_bytes"]
# of a manifest: what all its cells share
SHARED_ENTRIES = ("settings", "device", "products", "model", "instructions", "held_out")


def measure_cell_losses(
    study: Study, plan: CellPlan, with_tasks: bool = True
) -> tuple[Run | None, list[Run]]:
    """Tune a cell and measure its losses, or load them; returns the tuning and the runs of the losses, that
    of the held-out rows first. Where no rows are held out, or no task is named or wanted, those are left out;
    where the cell is only looked for and not tuned yet, there are none.
    """
    name, tuning_settings, evaluation_settings, instructions, data = study.list_cell_inputs(plan)
    base, runs = study.shared_base, []
    adapter = tune_cell(name, tuning_settings, instructions, base)
    if adapter and not adapter.is_stored:
        return adapter, []
    if study.held_out_file:
        n_rows, longest = study.loss_settings.n_held_out, tuning_settings.max_tokens
        asked = study.held_out_file, study.grid_settings.lattice_categories, longest
        runs.append(measure_held_out(evaluation_settings, n_rows, adapter, *asked, base))
    if evaluation_settings.tasks and with_tasks:
        n_items = study.loss_settings.n_loss_items
        runs += measure_answer_loss(evaluation_settings, n_items, adapter, data, base)
    return adapter, runs


def read_cell_losses(study: Study, runs: Sequence[Run]) -> pd.DataFrame:
    """Return the losses of one cell, one row per item, without tasks of categories outside the lattice,
    unless the lattice has none of the tasks' categories, as one of the user's own names.
    """
    import pandas as pd

    of_rows, of_tasks = _split_runs(study, runs)
    frames = [read_held_out(run) for run in of_rows]
    frames += [read_answer_losses(of_tasks)] if of_tasks else []
    table = pd.concat(frames, ignore_index=True).reindex(columns=[*KEYS, *ITEM_COLUMNS, *LOSS_COLUMNS])
    in_lattice = table["category"].isin(study.grid_settings.lattice_categories)
    return table[in_lattice] if in_lattice[len(frames[0]) * bool(of_rows) :].any() else table


def _split_runs(study: Study, runs: Sequence[Run]) -> tuple[Sequence[Run], Sequence[Run]]:
    """Return the runs of a cell's losses on held-out rows (one or none) and on tasks."""
    n_held_out = 1 if study.held_out_file else 0
    return runs[:n_held_out], runs[n_held_out:]


def stack_seeds(tables: dict[CellPlan, pd.DataFrame]) -> pd.DataFrame:
    """Return the tables of cells below each other with cell and seed, the base model under every seed."""
    import pandas as pd

    seeds = sorted({plan.seed for plan in tables if plan.seed is not None}) or [0]
    frames = [
        table.assign(cell=plan.name, seed=seed)
        for plan, table in tables.items()
        for seed in (seeds if plan.seed is None else [plan.seed])
    ]
    return pd.concat(frames, ignore_index=True)


def build_loss_tables(study: Study, plans: Sequence[CellPlan], folder: Path) -> Tables:
    """Return the losses of stored cells as tables of numbers: `items.csv` (task, item, category,
    n_text_tokens, n_text_bytes), a table of each of text, end, choice and calibrated (nats; a column per
    cell), `cells.csv` (what each cell was and cost) and `manifest.json`. Cells that the folder holds already
    stay.

    Raises:
        StudyError: the folder holds cells of other settings, rows or test items.
    """
    import pandas as pd

    manifest = _build_loss_manifest(study)
    check_tables((ITEMS, CELLS, *(f"{value}.csv" for value in LOSS_COLUMNS)), folder)
    check_same(manifest, SHARED_ENTRIES, folder)
    take_general(manifest, study, plans, folder)
    measured = {plan: measure_cell_losses(study, plan) for plan in plans}
    _, runs = next(iter(measured.values()))
    manifest["tests"] = {
        run.manifest["settings"]["task"]: run.manifest["inputs"]["items"]
        for run in _split_runs(study, runs)[1]
    }
    check_same(manifest, ["tests"], folder)
    tables = {plan: read_cell_losses(study, runs).set_index(KEYS) for plan, (_, runs) in measured.items()}
    first = next(iter(tables.values()))
    texts = {ITEMS: _merge(folder / ITEMS, first[ITEM_COLUMNS], whole=True)}
    for value in LOSS_COLUMNS:
        wide = (
            pd.DataFrame({plan.id: table[value] for plan, table in tables.items()}).dropna(how="all").round(4)
        )
        texts[f"{value}.csv"] = _merge(folder / f"{value}.csv", wide)
    cells = pd.DataFrame([_describe_cell(plan, *found) for plan, found in measured.items()])
    there = read_table(folder / CELLS) if (folder / CELLS).is_file() else cells.iloc[:0]
    cells = pd.concat([there, cells[~cells["id"].isin(there["id"])]], ignore_index=True)
    whole = dict.fromkeys(("seed", "n_tokens", "n_response_tokens"), "Int64")
    texts[CELLS] = cells.astype(whole).to_csv(index=False)  # last: it names no cell that tables lack
    return folder, manifest, texts


def _merge(path: Path, table: pd.DataFrame, whole: bool = False) -> str:
    """Return a table by item as CSV; columns that its file holds already stay.

    Raises:
        StudyError: the file holds other items, or other losses of the same cells, such as those of another
            kind of device.
    """
    import numpy as np

    if path.is_file():
        there = read_table(path).set_index(KEYS)
        own_kind = there[ITEM_COLUMNS].astype(str).equals(table.astype(str)) if whole else True
        if not there.index.equals(table.index) or not own_kind:
            raise StudyError(f"{shown(path)} holds other items. Name another folder.")
        both = [] if whole else [name for name in table if name in there]
        own, known = (one[both].astype(float) for one in (table, there))  # a table may have no rows
        if not np.allclose(own, known, rtol=ROUNDING, atol=ROUNDING, equal_nan=True):
            raise StudyError(
                f"{shown(path)} holds other losses of the same cells. Name another folder, or delete it to "
                "write all cells anew."
            )
        table = there if whole else there.join(table.drop(columns=both))
    return table.to_csv()


def _describe_cell(plan: CellPlan, adapter: Run | None, runs: Sequence[Run]) -> dict[str, Any]:
    facts = adapter.manifest["facts"] if adapter else {}
    own = {"id": plan.id, "cell": plan.name, "n_rows": plan.n_rows, "seed": plan.seed}
    cost = {name: facts.get(name) for name in ("n_tokens", "n_response_tokens", "train_seconds")}
    cost["loss_seconds"] = round(sum(run.manifest["seconds"] for run in runs), 1)
    return own | cost | {name: runs[0].manifest[name] for name in ("commit", "created")}


def identify_losses(study: Study) -> dict[str, Any]:
    """Return what the losses of all cells of a study rest on, as the manifest of their tables has it."""
    return {
        "settings": {
            "tuning": describe_settings(study.tuning_settings, ("categories", "training_seed", "n_rows")),
            "evaluation": describe_settings(study.evaluation_settings),
            "losses": dataclasses.asdict(study.loss_settings),
            "budget": study.grid_settings.budget,
            "lattice": study.grid_settings.lattice,
        }
        | PromptFormat.from_settings(study.evaluation_settings).describe(),
        **describe_computing(study.tuning_settings.dtype),
        "model": identify_model(study.evaluation_settings.model),
        "instructions": sha256_file(study.training_file),
        "held_out": sha256_file(study.held_out_file) if study.held_out_file else None,
    }


def _build_loss_manifest(study: Study) -> dict[str, Any]:
    machine = describe_machine()
    about = {"machine": machine["machine"] | {"created": machine["created"]}, "versions": machine["versions"]}
    return identify_losses(study) | about


@dataclasses.dataclass(frozen=True)
class LossTables:
    """Losses read back: `losses` (nats) by name, a column per cell id; `about_items`; `cells`; `manifest`."""

    losses: dict[str, pd.DataFrame]
    about_items: pd.DataFrame
    cells: pd.DataFrame
    manifest: dict[str, Any]

    def list_seeds(self, wanted: Iterable[tuple[str, int]]) -> list[int]:
        """Return the training seeds under which every wanted cell is there, each by its name and its number
        of training rows.
        """
        wanted = set(wanted)
        tuned = self.cells.dropna(subset="seed").groupby("seed")
        found = {int(seed): set(zip(own["cell"], own["n_rows"], strict=True)) for seed, own in tuned}
        return [seed for seed, there in found.items() if wanted <= there]

    def read_cell(self, cell_id: str) -> pd.DataFrame:
        """Return the losses of one cell, one row per item, as `read_cell_losses` does."""
        columns = {name: table[cell_id] for name, table in self.losses.items()}
        return self.about_items.assign(**columns).reset_index()

    def collect(self, names: Iterable[str], n_rows: int) -> pd.DataFrame:
        """Select the stored losses of some cells of `n_rows` rows, in the form of this module's tables, under
        those training seeds of which every cell is there.

        Raises:
            StudyError: no seed has all of them.
        """
        import pandas as pd

        names = list(names)
        own = self.cells[self.cells["cell"].isin(names) & self.cells["n_rows"].isin([0, n_rows])]
        seeds = self.list_seeds((name, n_rows) for name in names if name != BASE)
        if not seeds:
            raise StudyError(
                f"No training seed has all of {', '.join(names)} at {n_rows} rows in the tables."
            )
        frames = []
        for cell in own.itertuples():
            under = seeds if cell.cell == BASE else [int(cell.seed)] if int(cell.seed) in seeds else []
            frames += [self.read_cell(cell.id).assign(cell=cell.cell, seed=seed) for seed in under]
        return pd.concat(frames, ignore_index=True)


def load_losses(folder: Path) -> LossTables:
    """Read the tables of losses that `study grid export` wrote.

    Raises:
        StudyError: there are none, or one was altered since it was written.
    """
    manifest = read_manifest(folder)

    def read(name: str) -> pd.DataFrame:
        return read_table(folder / name).set_index(KEYS)

    losses = {name: read(f"{name}.csv") for name in LOSS_COLUMNS}
    return LossTables(losses, read(ITEMS), read_table(folder / CELLS), manifest)
