"""Results on the way: written down batch by batch, so that an evaluation that is killed goes on with the
batch it was in.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from helpers.errors import StudyError
from helpers.files import sha256_text
from helpers.jsonl import read_whole_lines
from helpers.paths import shown
from helpers.progress import tell


class PartialResults(dict[int, Any]):
    """What an engine has found, by the number of what was asked: texts, scores or losses, all called answers.

    A file, where one is named, gives back what an earlier run has answered, and takes each batch as it comes.
    Batches are the same in every run. A batch that is there in part is answered again as a whole, so that
    rounding errors, and with them the bytes, are those of a run that nothing disturbed. A damaged file is
    reported, and all of it is answered again.
    """

    def __init__(self, path: Path | None = None) -> None:
        super().__init__()
        self._path = path
        if path and path.is_file():
            try:
                rows, n_bytes = _read_answers(path)
            except StudyError as error:
                tell(f"{error} What it held is answered again.")
                rows, n_bytes = [], 0
            os.truncate(path, n_bytes)
            self.update(rows)

    def needs_answers(self, batch: Iterable[int]) -> bool:
        """Say whether any of a batch is still to be answered."""
        return any(number not in self for number in batch)

    def keep(self, batch: Iterable[int], answers: Iterable[Any]) -> None:
        """Take the answers of a batch."""
        rows = list(zip(batch, answers, strict=True))
        if self._path:
            with self._path.open("a", encoding="utf-8") as file:
                file.write("".join(json.dumps([*row, _sign(*row)]) + "\n" for row in rows))
        self.update(rows)

    def fill(
        self, batches: Iterable[Sequence[int]], answer: Callable[[Sequence[int]], Iterable[Any]]
    ) -> list[Any]:
        """Answer every batch that lacks something, and return all answers in the order of what was asked.

        Args:
            batches: numbers of what is asked together.
            answer: returns the answers of a batch.
        """
        for batch in batches:
            if self.needs_answers(batch):
                self.keep(batch, answer(batch))
        return self.in_order()

    def in_order(self) -> list[Any]:
        """Return the answers in the order of what was asked."""
        return [self[number] for number in range(len(self))]


def _read_answers(path: Path) -> tuple[list[tuple[int, Any]], int]:
    lines, n_bytes = read_whole_lines(path)
    for number, line in enumerate(lines, 1):
        if not isinstance(line, list) or len(line) != 3 or line[2] != _sign(*line[:2]):
            raise StudyError(f"Line {number} of {shown(path)} is damaged.")
    return [(number, answer) for number, answer, _ in lines], n_bytes


def _sign(number: int, answer: Any) -> str:
    """Return the digits that go with an answer on disk, so that altered bytes are found out."""
    return sha256_text(json.dumps([number, answer]))[:12]


def plan_batches(lengths: Sequence[int], batch_size: int) -> list[list[int]]:
    """Return batches of row indices, longest rows first."""
    order = sorted(range(len(lengths)), key=lambda index: lengths[index], reverse=True)
    return [order[start : start + batch_size] for start in range(0, len(order), batch_size)]
