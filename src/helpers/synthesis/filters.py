"""Which tasks are kept: the paper's filters and two of ours, each with a reason that is recorded for every
rejected row (section "Data filtering").
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from helpers.jsonl import read_values
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
_MEDIUM = r"(?:images?|pictures?|photos?|photographs?|graphs?|diagrams?|videos?|audio)"
NON_TEXT = re.compile(
    # at hand: "the ECG strip image", "given a photo", "using diagrams"; a clinical picture is a text
    r"\b(?:the|this|these|attached|following|given an?|provided|using)(?: [\w'-]+){0,4}? "
    rf"(?<!clinical )(?<!disease )(?<!blood ){_MEDIUM}\b"
    rf"|\b{_MEDIUM} (?:above|below|shown|attached|provided)\b"
    r"|\b(?:the|attached) figure\b|\bfigure (?:above|below|shown)\b"
    # to be made: "draw a diagram", "create an image"
    rf"|\b(?:draw|sketch|plot|create|make|generate|design|produce|record)(?: [\w'-]+){{0,3}}? {_MEDIUM}\b",
    re.IGNORECASE,
)
PERSONAL_DATA = re.compile(
    r"[\w+-]@[\w-]+\.\w"  # e-mail
    r"|\b\d{3}-\d{2}-\d{4}\b"  # social security number
    # telephone
    r"|\(\d{3}\) ?\d{3}[-. ]\d{4}|\b\d{3}[-.]\d{3}[-.]\d{4}\b|\+\d{1,3}[ -]\d{2,4}[ -]\d{3,4}[ -]\d{3,4}"
    r"|\b(MRN|DOB|[Mm]edical [Rr]ecord [Nn]umber|[Dd]ate of [Bb]irth)[:# ]+\d"  # record number, date of birth
)
NGRAM_LENGTH = 8  # words in a row that two texts share by copying rather than by chance
FIELDS_WITHOUT_TEXT = ("id", "split", "difficulty")


def find_fault(
    task: ParsedTask, min_words: int, max_words: int, benchmark_ngrams: frozenset[str] = frozenset()
) -> str | None:
    """Return the reason for which a task is rejected on its own, or None.

    An instruction asks for more than text where it speaks of an image, a graph or a recording as at hand or
    to be made ("the image below", "draw a graph"); one that mentions them ("explain how images are stored")
    passes, and so do "graphic" and "imaging report". An input that the output repeats is equal to it letter
    by letter: corrected spelling or punctuation is an answer. Personal data means what looks like an
    e-mail address, a telephone, record or social security number or a date of birth; names of people cannot
    be told from invented ones and are NOT covered.

    Args:
        task: a parsed task.
        min_words: fewest words of its instruction.
        max_words: most words of its instruction.
        benchmark_ngrams: word 8-grams of the benchmark (`read_benchmark_ngrams`); a task that holds one is no
            fair training data.
    """
    if not task.is_complete:
        return "malformed"
    texts = (task.instruction, task.input, task.output)
    checks: tuple[tuple[str, Callable[[], bool]], ...] = (
        ("length", lambda: not min_words <= len(task.instruction.split()) <= max_words),
        ("non-text task", lambda: bool(NON_TEXT.search(task.instruction))),
        (
            "repeats input",
            lambda: bool(task.input.strip()) and task.input.strip() == task.output.strip(),
        ),
        ("personal data", lambda: any(map(PERSONAL_DATA.search, texts))),
        (
            "overlaps benchmark",
            lambda: any(not benchmark_ngrams.isdisjoint(list_ngrams(text)) for text in texts),
        ),
    )
    return next((reason for reason, applies in checks if applies()), None)


def list_ngrams(text: str) -> Iterator[str]:
    """Yield the word n-grams of a text, `NGRAM_LENGTH` words each."""
    words = tokenize(text)
    return (" ".join(words[start : start + NGRAM_LENGTH]) for start in range(len(words) - NGRAM_LENGTH + 1))


def read_benchmark_ngrams(files: Iterable[Path]) -> frozenset[str]:
    """Return every word 8-gram in the texts of benchmark files (JSONL of any schema)."""
    rows = (row for file in files for _, row in read_values(file))
    return frozenset(ngram for row in rows for text in _list_texts(row) for ngram in list_ngrams(text))


def _list_texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, list):
        for part in value:
            yield from _list_texts(part)
    elif isinstance(value, dict):
        for name, part in value.items():
            if name not in FIELDS_WITHOUT_TEXT:
                yield from _list_texts(part)
