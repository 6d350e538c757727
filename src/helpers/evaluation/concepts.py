"""Concept F1: do a text and its reference name the same clinical concepts?

The lexicon (`seeds/concepts.txt`) was written for this study from the words of its own seed tasks and
benchmark: one concept per line, its spellings divided by bars. It is small and knows nothing of negation or
of texts that name other things; scores of different lexicons cannot be compared.
"""

from __future__ import annotations

from functools import lru_cache

from helpers.paths import SEEDS
from helpers.rouge import tokenize

LEXICON = SEEDS / "concepts.txt"
Words = tuple[str, ...]


def concept_f1(text: str, reference: str) -> float | None:
    """Return F1 of the sets of concepts of two texts, in 0..1; None where the reference names none."""
    found, wanted = find_concepts(text), find_concepts(reference)
    return 2 * len(found & wanted) / (len(found) + len(wanted)) if wanted else None


def find_concepts(text: str) -> set[str]:
    """Return the concepts that a text names, each by its first spelling; where two spellings overlap, the one
    that is longer at the first word counts.
    """
    lexicon = read_lexicon()
    longest = max(map(len, lexicon))
    words, found, position = split_words(text), set(), 0
    while position < len(words):
        spelling = next(
            (
                words[position : position + n]
                for n in range(longest, 0, -1)
                if words[position : position + n] in lexicon
            ),
            None,
        )
        if spelling:
            found.add(lexicon[spelling])
        position += len(spelling or " ")
    return found


@lru_cache
def read_lexicon() -> dict[Words, str]:
    """Return the concept of every spelling."""
    lines = [line.split("|") for line in LEXICON.read_text(encoding="utf-8").splitlines()]
    return {split_words(spelling): spellings[0] for spellings in lines for spelling in spellings}


def split_words(text: str) -> Words:
    """Return lower-cased words, a final s of words of four letters and more taken away, so that plurals
    match.
    """
    return tuple(word[:-1] if len(word) > 3 and word.endswith("s") else word for word in tokenize(text))
