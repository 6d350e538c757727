"""The command line of the grid: `study grid list`, `study grid run`, `study grid status`,
`study grid export`.
"""

from __future__ import annotations

import json
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from helpers.commands.terminal import Assignments, Profile, plain_errors, report_progress
from helpers.errors import StudyError
from helpers.paths import relative_to, shown

if TYPE_CHECKING:
    from helpers.study.grid import CellPlan
    from helpers.study.study import Study

STATES = {"done": "done", "tuned": "tuned, not evaluated", "missing": "missing"}

app = typer.Typer(
    help="The cells of the grid: what there is to run, what is done, what is missing.", no_args_is_help=True
)


def load_study(profile: str, assignments: list[str] | None) -> Study:
    """Return the study of a profile and `name=value` assignments, all checked."""
    from helpers.book.parameters import plan_parameters
    from helpers.study.study import Study

    return Study.from_parameters(plan_parameters(profile, assignments or []))


@app.command("list")
def list_cells(
    profile: Profile = "laptop",
    parameter: Assignments = None,
    cell_list: Annotated[
        Path | None,
        typer.Option(
            help="Write the list as JSON for the Snakefile; makes the instruction rows if they are not "
            "stored."
        ),
    ] = None,
) -> None:
    """List every cell that the grid's parameters ask for."""
    with plain_errors():
        if cell_list and not cell_list.suffix:
            raise StudyError(
                f"`cell_list` must name a JSON file, such as runs/grid.json, but {str(cell_list)!r} was "
                "found: its cells are marked in the folder of that name without the ending."
            )
        study = load_study(profile, parameter)
        plans = study.plan_grid()
        for plan in plans:
            typer.echo(f"{plan.id}: {describe_cell(plan)}")
        if cell_list:
            write_cell_list(
                cell_list,
                study,
                plans,
                ["--profile", profile, *(part for value in parameter or [] for part in ("-p", value))],
            )
            typer.echo(f"written: {shown(cell_list.resolve())}")


def describe_cell(plan: CellPlan) -> str:
    """Return what a cell is tuned on, in a few words."""
    from helpers.tuning.controls import MATCHED_TOKENS, split_control

    if not plan.n_rows:
        return "the model as it is"
    is_by_tokens = split_control(plan.name)[1] == MATCHED_TOKENS
    rows = f"the response tokens of {plan.n_rows} average rows" if is_by_tokens else f"{plan.n_rows} rows"
    return f"{rows}, seed {plan.seed}"


def write_cell_list(path: Path, study: Study, plans: list[CellPlan], arguments: list[str]) -> None:
    """Write the cells for the Snakefile, each with the file that says that it is done; these files are
    brought to agree with the store.
    """
    from helpers.files import write_text

    study.training_file  # noqa: B018 (made where it is missing: cells are looked up by it)
    folder = path.with_suffix("")
    cells = [{"id": plan.id, "done": relative_to(folder / f"{plan.id}.done", Path.cwd())} for plan in plans]
    for plan, cell in zip(plans, cells, strict=True):
        if study.find_cell_state(plan) == "done":
            write_text(Path(cell["done"]), "")
        else:
            Path(cell["done"]).unlink(missing_ok=True)
    write_text(path, json.dumps({"arguments": arguments, "cells": cells}, indent=1) + "\n")


@app.command("run")
def run_chosen_cells(
    profile: Profile = "laptop",
    parameter: Assignments = None,
    cell: Annotated[
        list[str] | None,
        typer.Option(help="Id of a cell, as `list` shows it; may be given again. Without it, all run."),
    ] = None,
    done: Annotated[Path | None, typer.Option(help="Write this file when all is done.")] = None,
) -> None:
    """Tune and evaluate cells; what is stored is not run again, and what was killed goes on
    where it stopped.
    """
    from helpers.files import write_text
    from helpers.study.sharing import MAKE_WHOLE, share_cells

    with plain_errors():
        study = load_study(profile, parameter)
        plans = choose_cells(study.plan_grid(), cell or [])
        with ExitStack() as stack:
            with report_progress("look cells up"):
                study.training_file  # noqa: B018 (what a live teacher fails at ends the command here, once)
                stack.enter_context(share_cells(study, plans, MAKE_WHOLE))
            for plan in plans:
                with report_progress(plan.id):
                    runs = study.run_cell(plan)
                typer.echo(
                    f"{plan.id}: {'from the store' if all(run.reused for run in runs) else 'done'}, "
                    f"{shown(runs[-1].path)}"
                )
        if done:
            write_text(done, "")


def choose_cells(plans: list[CellPlan], ids: list[str]) -> list[CellPlan]:
    """Return the cells of some ids, all without any.

    Raises:
        StudyError: an id is unknown.
    """
    unknown = [name for name in ids if name not in {plan.id for plan in plans}]
    if unknown:
        raise StudyError(
            f"`cell` must be one of {', '.join(plan.id for plan in plans)}, but {unknown[0]!r} was found."
        )
    return [plan for plan in plans if not ids or plan.id in ids]


def find_states(study: Study) -> dict[CellPlan, str]:
    """Return the state of every cell of a study's grid; computes nothing.

    Raises:
        StudyError: the rows are not there, without which no cell can be looked up.
    """
    from helpers.store import load_only

    with load_only():
        study.training_file  # noqa: B018
    return {plan: study.find_cell_state(plan) for plan in study.plan_grid()}


@app.command("status")
def show_status(profile: Profile = "laptop", parameter: Assignments = None) -> None:
    """Say of every cell whether it is done, tuned only, or missing; reads the store and computes nothing."""
    with plain_errors():
        states = find_states(load_study(profile, parameter))
        for plan, state in states.items():
            typer.echo(f"{plan.id}: {STATES[state]}")
        typer.echo(f"{sum(state == 'done' for state in states.values())} of {len(states)} cells are done")


@app.command("export")
def export_cells(
    folder: Annotated[
        Path,
        typer.Argument(
            file_okay=False, help="Where to write; `results/reference/MODEL` is that of the reference runs."
        ),
    ],
    scores_only: Annotated[
        bool,
        typer.Option("--scores-only", help="Leave the losses out: the folder holds those of another run."),
    ] = False,
    profile: Profile = "reference",
    parameter: Assignments = None,
) -> None:
    """Write the losses and scores of all stored cells, item by item, as tables of numbers alone, small
    enough to be kept: losses into `losses/`, scores beside it; cells in the folder stay.
    """
    from helpers.store import lock_folder
    from helpers.study.losses import build_loss_tables
    from helpers.study.scores import build_score_tables
    from helpers.study.tables import write_tables

    with plain_errors():
        study = load_study(profile, parameter)
        with report_progress("look cells up"):
            states = find_states(study)
        done = [plan for plan, state in states.items() if state == "done"]
        answered = [plan for plan in done if study.grid_settings.asks_for_answers(plan.name)]
        if not done:
            raise StudyError(
                "No cell of this grid is stored for this kind of device and processor. Run `study grid run` "
                "with the same profile and parameters first, or export where the cells were made."
            )
        if scores_only and not answered:
            raise StudyError(
                "`--scores-only` writes the scores of cells that answer the tasks, but `answers` "
                f"({study.grid_settings.answers!r}) names none of the {len(done)} stored cells. Set "
                "`answers` and run `study grid run`, or leave `--scores-only` out."
            )
        written = answered if scores_only else done
        with report_progress("export"), lock_folder(folder):
            tables = [] if scores_only else [build_loss_tables(study, done, folder / "losses")]
            tables += [build_score_tables(study, answered, folder)] if answered else []
            for each in tables:  # once all of them can be written
                write_tables(*each)
        typer.echo(f"{len(written)} of {len(states)} cells written to {shown(folder.resolve())}")
