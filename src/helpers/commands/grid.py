"""The command line of the grid: `study grid list`, `study grid run`, `study grid status`."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from helpers.errors import StudyError
from helpers.paths import shown
from helpers.terminal import Assignments, Profile, plain_errors, report_progress

if TYPE_CHECKING:
    from helpers.grid import Cell, CellPlan
    from helpers.study import Study

app = typer.Typer(help="The cells of the grid: what there is to run, what is done, what is missing.", no_args_is_help=True)


def load_study(profile: str, assignments: list[str] | None) -> Study:
    """Return the study of a profile and `name=value` assignments, all checked."""
    from helpers.runner import plan_parameters
    from helpers.study import Study

    return Study.from_parameters(plan_parameters(profile, assignments or []))


@app.command("list")
def list_cells(
    profile: Profile = "laptop",
    parameter: Assignments = None,
    manifest: Annotated[Path | None, typer.Option(help="Write the list as JSON for the Snakefile; makes the instruction rows if they are not stored.")] = None,
) -> None:
    """List every cell that the grid's parameters ask for."""
    with plain_errors():
        study = load_study(profile, parameter)
        plans = study.plan_grid()
        for plan in plans:
            typer.echo(f"{plan.id}: {plan.n_rows} rows, seed {plan.seed}" if plan.n_rows else f"{plan.id}: the model as it is")
        if manifest:
            write_manifest(manifest, study, plans, ["--profile", profile, *(part for value in parameter or [] for part in ("-p", value))])
            typer.echo(f"written: {shown(manifest.resolve())}")


def write_manifest(path: Path, study: Study, plans: list[CellPlan], arguments: list[str]) -> None:
    """Write the cells with the file of the store whose existence means that a cell is done, and the arguments that lead to them."""
    from helpers.store import MANIFEST, planning, write_text

    study.instruction_file  # noqa: B018 (made now, so that every cell's place in the store is known)
    with planning():
        cells = [{"id": plan.id, "done": os.path.relpath(study.run_cell(plan).evaluation.file(MANIFEST))} for plan in plans]
    write_text(path, json.dumps({"arguments": arguments, "cells": cells}, indent=1) + "\n")


@app.command("run")
def run_cells(
    profile: Profile = "laptop",
    parameter: Assignments = None,
    cell: Annotated[list[str] | None, typer.Option(help="Id of a cell, as `list` shows it; may be given again. Without it, all run.")] = None,
) -> None:
    """Tune and evaluate cells; what is stored is not run again, and what was killed goes on where it stopped."""
    with plain_errors():
        study = load_study(profile, parameter)
        for plan in choose_cells(study.plan_grid(), cell or []):
            with report_progress(plan.id):
                done = study.run_cell(plan)
            typer.echo(f"{plan.id}: {'stored already' if done.evaluation.reused else 'done'}, {shown(done.evaluation.path)}")


def choose_cells(plans: list[CellPlan], ids: list[str]) -> list[CellPlan]:
    """Return the cells of some ids, all without any.

    Raises:
        StudyError: an id is unknown.
    """
    unknown = [name for name in ids if name not in {plan.id for plan in plans}]
    if unknown:
        raise StudyError(f"`cell` must be one of {', '.join(plan.id for plan in plans)}, but {unknown[0]!r} was found.")
    return [plan for plan in plans if not ids or plan.id in ids]


@app.command("status")
def show_status(profile: Profile = "laptop", parameter: Assignments = None) -> None:
    """Say of every cell whether it is done, tuned only, or missing; reads the store and computes nothing."""
    from helpers.store import planning, stored_only

    with plain_errors():
        study = load_study(profile, parameter)
        with stored_only():
            study.instruction_file  # noqa: B018 (without it no cell can be looked up)
        with planning():
            states = {plan.id: describe_state(study.run_cell(plan)) for plan in study.plan_grid()}
        for name, state in states.items():
            typer.echo(f"{name}: {state}")
        typer.echo(f"{sum(state.startswith('done') for state in states.values())} of {len(states)} cells are done")


def describe_state(cell: Cell) -> str:
    """Return a cell's state in the store."""
    if cell.evaluation.is_stored:
        return f"done, {shown(cell.evaluation.path)}"
    return "tuned, not evaluated" if cell.tuning and cell.tuning.is_stored else "missing"
