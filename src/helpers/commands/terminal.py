"""What all commands share: options, plain errors, progress on the terminal."""

from __future__ import annotations

import dataclasses
import inspect
import json
import os
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer
from typer.exceptions import TyperException

from helpers.errors import StudyError, is_out_of_memory
from helpers.files import explain_disk_error, write_text
from helpers.paths import runs_folder, shown
from helpers.redaction import hide_secrets
from helpers.settings import TYPES
from helpers.store import lock_folder

if TYPE_CHECKING:
    import pandas as pd

Profile = Annotated[str, typer.Option(help="Name of a file in notebooks/profiles/.")]
Assignments = Annotated[
    list[str] | None, typer.Option("-p", "--parameter", help="name=value; goes before the profile's.")
]
LOG_SECONDS = 15


def add_options(kind: type, *names: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Give a command one option for each parameter of a stage's settings class (`kind`), or for the named
    ones, in place of its `**parameters`.
    """

    def change(command: Callable[..., None]) -> Callable[..., None]:
        own = [
            parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY)
            for parameter in inspect.signature(command, eval_str=True).parameters.values()
            if parameter.kind is not parameter.VAR_KEYWORD
        ]
        options = [
            inspect.Parameter(
                field.name,
                inspect.Parameter.KEYWORD_ONLY,
                default=field.default,
                annotation=Annotated[TYPES[str(field.type)], typer.Option(help=field.metadata["help"])],
            )
            for field in dataclasses.fields(kind)
            if not names or field.name in names
        ]
        command.__signature__ = inspect.Signature([*own, *options])
        command.__annotations__ = {parameter.name: parameter.annotation for parameter in [*own, *options]}
        return command

    return change


@contextmanager
def plain_errors() -> Iterator[None]:
    """Turn a mistake that the user can fix, or what the disk refuses, into one message and exit code 1; the
    traceback of any other error is kept in a file, which the message names.
    """
    try:
        yield
    except StudyError as error:
        _fail(str(error))
    except (typer.Exit, typer.Abort, TyperException):
        raise
    except Exception as error:  # the one place where unforeseen errors end
        if explained := explain_disk_error(error) or (isinstance(error, OSError) and str(error)):
            _fail(explained)
        if is_out_of_memory(error):
            _fail(
                "The GPU's memory is full. What was finished is kept. Free some of it, or take a smaller "
                "model or shorter texts; a tuning needs less with `quantize_base` and a lower `max_tokens`."
            )
        _fail(f"{type(error).__name__}: {str(error).strip() or 'no message'}\n{_keep_traceback(error)}")


def _fail(message: str) -> NoReturn:
    typer.secho(f"error: {hide_secrets(message)}", fg="red", err=True)
    tell_launcher(hide_secrets(message))
    raise typer.Exit(1) from None


def _keep_traceback(error: Exception) -> str:
    """Write the traceback of an error below the runs folder; return a sentence that says where."""
    text = hide_secrets("".join(traceback.format_exception(error)))
    try:
        path = runs_folder() / "errors" / f"{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}.txt"
        write_text(path, text.encode("utf-8", "replace").decode())
    except (OSError, StudyError) as reason:
        return f"The traceback could not be kept ({reason}):\n{text}"
    return (
        f"This is a fault of the project. Its traceback is in {shown(path)}: report it with the command. "
        "What was finished is kept."
    )


def tell_launcher(message: str) -> None:
    """Hand an error to `accelerate launch` or `torchrun`, if one of them started this process: its
    own report ends with it.
    """
    if path := os.environ.get("TORCHELASTIC_ERROR_FILE"):
        extra = {"py_callstack": message, "timestamp": str(int(time.time()))}
        Path(path).write_text(json.dumps({"message": {"message": message, "extraInfo": extra}}))


def write_tables(tables: Mapping[str, pd.DataFrame], folder: Path, n_decimals: int) -> None:
    """Write each table as CSV into a folder, which no other process writes into meanwhile, and say so; what
    an earlier call left there stays and is named.
    """
    with lock_folder(folder):
        older = sorted(path.name for path in folder.glob("*.csv") if path.stem not in tables)
        for name, table in tables.items():
            write_text(folder / f"{name}.csv", table.round(n_decimals).to_csv(index=False))
    typer.echo(f"\nwritten: {', '.join(f'{name}.csv' for name in tables)} in {shown(folder.resolve())}")
    if older:
        typer.echo(f"there before, not of this call: {', '.join(older)}")


@contextmanager
def report_progress(title: str) -> Iterator[None]:
    """Show the progress of the block: as bars on a terminal, as a line now and then elsewhere."""
    from helpers.progress import watch_progress

    with (draw_bars if sys.stderr.isatty() else print_lines)(title) as show, watch_progress(show):
        yield


@contextmanager
def print_lines(title: str) -> Iterator[Callable[[dict[str, Any]], None]]:
    """Yield a function that prints a report of progress if the last one is some seconds old."""
    last = time.monotonic()

    def show(report: dict[str, Any]) -> None:
        nonlocal last
        if "message" in report:
            typer.echo(f"{title}: {report['message']}", err=True)
        elif time.monotonic() - last >= LOG_SECONDS:
            last = time.monotonic()
            typer.echo(
                f"{title}: {report['title']}, {report['done']} of {report['total']} {report['unit']} "
                f"{report['note']}".rstrip()
            )

    yield show


@contextmanager
def draw_bars(title: str) -> Iterator[Callable[[dict[str, Any]], None]]:
    """Yield a function that draws a report of progress as a bar, one for each step under way."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}"),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        tasks: dict[str, Any] = {}
        bar.add_task(title, total=None, note="")

        def show(report: dict[str, Any]) -> None:
            if "message" in report:
                bar.console.print(report["message"], markup=False)
                return
            name = report["title"]
            if name not in tasks or report["done"] == 0:
                tasks[name] = bar.add_task(f"  {name}", total=report["total"], note="")
            bar.update(
                tasks[name],
                completed=report["done"],
                note=report["note"],
                visible=report["done"] < report["total"],
            )

        yield show
