"""Which tasks are kept: the paper's filters and two of ours, each with a reason that is recorded for every
rejected row (section "Data filtering").
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from helpers.jsonl import read_any_lines
from helpers.rouge import tokenize
from helpers.synthesis.parsing import ParsedTask

REASONS = (
    "malformed",
    "length",
    "non-text task",
    "repeats input",
    "personal data",
    "overlaps benchmark",
    "unlabelled",
    "not novel",
)
NON_TEXT = re.compile(
    r"\b(images?|pictures?|photos?|photographs?|graphs?|diagrams?|videos?|audio"
    r"|(the|attached) figure|figure (above|below|shown))\b",
    re.IGNORECASE,
)
PERSONAL_DATA = re.compile(
    r"[\w+-]@[\w-]+\.\w"  # e-mail
    r"|\b\d{3}-\d{2}-\d{4}\b"  # social security number
    # telephone
    r"|\(\d{3}\) ?\d{3}[-. ]\d{4}|\b\d{3}[-.]\d{3}[-.]\d{4}\b|\+\d{1,3}[ -]\d{2,4}[ -]\d{3,4}[ -]\d{3,4}"
    r"|\b(MRN|DOB|[Mm]edical [Rr]ecord [Nn]umber|[Dd]ate of [Bb]irth)[:# ]+\d"  # record number, date of birth
)
RUN_LENGTH = 8  # words in a row that two texts share by copying rather than by chance
LABELS_OF_ITEMS = ("id", "split", "difficulty")


def find_fault(
    task: ParsedTask, min_words: int, max_words: int, benchmark_runs: frozenset[str] = frozenset()
) -> str | None:
    """Return the reason for which a task is rejected on its own, or None.

    Words that name something other than text are looked for in the instruction, as whole words: "graphic",
    "imaging report" and "the three figures of the lipid panel" pass. Personal data means what looks like an
    e-mail address, a telephone, record or social security number or a date of birth; names of people cannot
    be told from invented ones and are NOT covered.

    Args:
        task: a parsed task.
        min_words: fewest words of its instruction.
        max_words: most words of its instruction.
        benchmark_runs: runs of eight words of the benchmark (`read_benchmark_runs`); a task that holds one is
            no fair training data.
    """
    if not task.is_complete:
        return "malformed"
    texts = (task.instruction, task.input, task.output)
    checks: tuple[tuple[str, Callable[[], bool]], ...] = (
        ("length", lambda: not min_words <= len(task.instruction.split()) <= max_words),
        ("non-text task", lambda: bool(NON_TEXT.search(task.instruction))),
        (
            "repeats input",
            lambda: bool(tokenize(task.input)) and tokenize(task.input) == tokenize(task.output),
        ),
        ("personal data", lambda: any(map(PERSONAL_DATA.search, texts))),
        ("overlaps benchmark", lambda: any(not benchmark_runs.isdisjoint(list_runs(text)) for text in texts)),
    )
    return next((reason for reason, applies in checks if applies()), None)


def list_runs(text: str, n_words: int = RUN_LENGTH) -> Iterator[str]:
    """Yield every run of `n_words` words of a text."""
    words = tokenize(text)
    return (" ".join(words[start : start + n_words]) for start in range(len(words) - n_words + 1))


def read_benchmark_runs(files: Iterable[Path]) -> frozenset[str]:
    """Return every run of eight words in the texts of benchmark files (JSONL of any schema)."""
    rows = (row for file in files for row in read_any_lines(file))
    return frozenset(run for row in rows for text in _list_texts(row) for run in list_runs(text))


def _list_texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, list):
        for part in value:
            yield from _list_texts(part)
    elif isinstance(value, dict):
        for name, part in value.items():
            if name not in LABELS_OF_ITEMS:
                yield from _list_texts(part)
