"""What all commands share: options, plain errors, progress on the terminal."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Annotated, Any

import typer

from helpers.errors import StudyError

Profile = Annotated[str, typer.Option(help="Name of a file in notebooks/profiles/.")]
Assignments = Annotated[
    list[str] | None, typer.Option("-p", "--parameter", help="name=value; goes before the profile's.")
]
LOG_SECONDS = 15


@contextmanager
def plain_errors() -> Iterator[None]:
    """Turn a mistake that the user can fix into one message and exit code 1."""
    try:
        yield
    except (StudyError, OSError) as error:
        typer.secho(f"error: {error}", fg="red", err=True)
        raise typer.Exit(1) from None


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
        if time.monotonic() - last >= LOG_SECONDS:
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
