"""Progress of long steps: notebooks report it, the runner shows it.

Under the runner a notebook's kernel writes each step to the file that `STUDY_PROGRESS` names, so that no bar ends up in a published page. Elsewhere
(Jupyter, plain papermill) a tqdm bar is drawn and taken away at the end.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol


class Advance(Protocol):
    """Report `n` more units done, with a word on the state."""

    def __call__(self, n: int = 1, note: str = "") -> None: ...


@contextmanager
def track(title: str, total: int, unit: str) -> Iterator[Advance]:
    """Show a step of `total` units while the block runs; yields the function that reports units done."""
    target = os.environ.get("STUDY_PROGRESS")
    if target:
        yield _reporter(Path(target), title, total, unit)
        return
    from tqdm import tqdm

    with tqdm(total=total, desc=title, unit=f" {unit}", leave=False, mininterval=1.0) as bar:

        def advance(n: int = 1, note: str = "") -> None:
            bar.set_postfix_str(note, refresh=False)
            bar.update(n)

        yield advance


def _reporter(path: Path, title: str, total: int, unit: str) -> Advance:
    done = 0

    def advance(n: int = 1, note: str = "") -> None:
        nonlocal done
        done += n
        line = json.dumps({"title": title, "done": done, "total": total, "unit": unit, "note": note})
        with path.open("a", encoding="utf-8") as file:
            file.write(line + "\n")

    advance(0)
    return advance
