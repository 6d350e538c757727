"""Which tasks are kept: the paper's filters, each with a reason that is recorded for every rejected row (section "Data filtering")."""

from __future__ import annotations

import re
from collections.abc import Callable

import numpy as np

from helpers.rouge import TIE_SLACK, Encoder, tokenize
from helpers.synthesis.parsing import ParsedTask

REASONS = ("malformed", "length", "non-text task", "repeats input", "not novel", "unlabelled")
NON_TEXT = re.compile(
    r"\b(images?|pictures?|photos?|photographs?|graphs?|diagrams?|videos?|audio|(the|attached) figure|figure (above|below|shown))\b", re.IGNORECASE
)


def find_fault(task: ParsedTask, min_words: int, max_words: int) -> str | None:
    """Return the reason for which a task falls on its own, or None.

    Words that name something other than text are looked for in the instruction, as whole words: "graphic", "imaging report" and "the three figures of the
    lipid panel" pass.
    """
    if not task.is_complete:
        return "malformed"
    if not min_words <= len(task.instruction.split()) <= max_words:
        return "length"
    if NON_TEXT.search(task.instruction):
        return "non-text task"
    if tokenize(task.input) and tokenize(task.input) == tokenize(task.output):
        return "repeats input"
    return None


def novelty_check(threshold: float) -> Callable[[str], tuple[bool, float]]:
    """Return a function that tells of each instruction in turn whether it is new, and remembers the new ones.

    An instruction is new if its ROUGE-L F1 against every KEPT instruction lies below `threshold`; only kept ones count, so that of two near twins
    the first stays. The function returns (is new, highest similarity so far).
    """
    from rapidfuzz import process
    from rapidfuzz.distance import Indel

    encoder, kept = Encoder(), []

    def is_novel(instruction: str) -> tuple[bool, float]:
        encoded = encoder.encode(instruction)
        highest = float(process.cdist([encoded], kept, scorer=Indel.normalized_similarity, dtype=np.float64).max()) if kept else 0.0
        new = highest < threshold - TIE_SLACK
        if new:
            kept.append(encoded)
        return new, highest

    return is_novel
