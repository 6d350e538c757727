"""Progress of long steps: notebooks report it, the runner shows it.

Under the command line each step is written to the file that `STUDY_PROGRESS` names, by notebooks' kernels
too, so that no bar ends up in a published page. Elsewhere (Jupyter, plain papermill) a tqdm bar is drawn and
taken away at the end.
"""

from __future__ import annotations

import json
import logging
import os
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Protocol

from helpers.redaction import hide_secrets

POLL_SECONDS = 0.5
# in the environment, since a kernel inherits that alone: papermill hands it nothing before its cells run
PROGRESS_VARIABLE = "STUDY_PROGRESS"


class Advance(Protocol):
    """Report `n` more units done, with a word on the state."""

    def __call__(self, n: int = 1, note: str = "") -> None: ...


@contextmanager
def track(title: str, total: int, unit: str) -> Iterator[Advance]:
    """Show a step of `total` units while the block runs; yields the function that reports units done."""
    if target := os.environ.get(PROGRESS_VARIABLE):
        yield _reporter(Path(target), title, total, unit)
        return
    from tqdm import tqdm

    with tqdm(total=total, desc=title, unit=f" {unit}", leave=False, mininterval=1.0) as bar:

        def advance(n: int = 1, note: str = "") -> None:
            bar.set_postfix_str(note, refresh=False)
            bar.update(n)

        yield advance


def tell(message: str) -> None:
    """Say something about a long step now: on the terminal under the command line, as a warning elsewhere."""
    message = hide_secrets(message)
    if target := os.environ.get(PROGRESS_VARIABLE):
        _write_line(Path(target), {"message": message})
    else:
        logging.getLogger(__name__).warning(message)


def _reporter(path: Path, title: str, total: int, unit: str) -> Advance:
    done = 0

    def advance(n: int = 1, note: str = "") -> None:
        nonlocal done
        done += n
        _write_line(path, {"title": title, "done": done, "total": total, "unit": unit, "note": note})

    advance(0)
    return advance


def _write_line(path: Path, report: dict[str, Any]) -> None:
    with suppress(OSError), path.open("a", encoding="utf-8") as file:  # no run ends for want of a bar
        file.write(json.dumps(report) + "\n")


@contextmanager
def watch_progress(show: Callable[[dict[str, Any]], None]) -> Iterator[None]:
    """Call `show` with each report of progress, of this process and of those it starts, while
    the block runs.
    """
    with tempfile.TemporaryDirectory() as folder:
        path, stop = Path(folder) / "progress.jsonl", threading.Event()
        path.touch()

        def follow() -> None:
            with path.open(encoding="utf-8") as file:
                finished = False
                while not finished:
                    finished = stop.wait(POLL_SECONDS)  # what came before the end is still read once
                    for line in file.readlines():
                        with suppress(ValueError):  # a line that a full disk broke off
                            show(json.loads(line))

        before = os.environ.get(PROGRESS_VARIABLE)
        os.environ[PROGRESS_VARIABLE] = str(path)
        thread = threading.Thread(target=follow, daemon=True)
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join()
            if before is None:
                del os.environ[PROGRESS_VARIABLE]
            else:
                os.environ[PROGRESS_VARIABLE] = before


def show_seconds(seconds: float) -> str:
    """Return a stretch of time for people: '40 s', '12 min', '3.5 h'."""
    for size, unit, digits in ((3600, "h", 1), (60, "min", 0)):
        if seconds >= 2 * size:
            return f"{seconds / size:.{digits}f} {unit}"
    return f"{seconds:.0f} s"
