"""ROUGE-L between short texts, exact and fast.

ROUGE-L F1 on tokens equals the normalised Indel similarity of the token sequences, which rapidfuzz computes
with bit-parallel arithmetic. Each distinct token becomes one code point, so a text is one short string.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Sequence

import numpy as np

from helpers.errors import StudyError

TOKEN = re.compile(r"[^\W_]+")
TIE_SLACK = (
    1e-9  # a similarity of exactly 0.7 may come out as 0.7000000000000001: compare with this much slack
)
FIRST_CODE_POINT = 0x10000  # above the surrogates, room for a million distinct tokens


def tokenize(text: str) -> list[str]:
    """Return lower-cased runs of letters and digits, Greek letters and accents included, whether an accent is
    written with its letter or after it (NFC and NFD).

    On ASCII text these are the tokens of `rouge_score` without stemming (Lin, 2004).
    """
    return TOKEN.findall(unicodedata.normalize("NFC", text).lower())


class TokenCodes:
    """Map texts to strings with one code point per token; one object serves all texts that are compared."""

    def __init__(self) -> None:
        self._codes: dict[str, str] = {}

    def encode(self, text: str) -> str:
        """Return `text` as one code point per token.

        Raises:
            StudyError: there are more distinct tokens than code points.
        """
        codes = self._codes
        try:
            return "".join(
                codes.get(token) or codes.setdefault(token, chr(FIRST_CODE_POINT + len(codes)))
                for token in tokenize(text)
            )
        except ValueError:
            raise StudyError(
                f"Texts that are compared must have at most {len(codes):,} distinct words in all, but more "
                "were found. Compare fewer rows at a time, or take numbers of rows out of their texts."
            ) from None


def rouge_l(prediction: str, reference: str) -> float:
    """Return ROUGE-L F1 in 0..1 of two texts; two empty texts score 0."""
    from rapidfuzz.distance import Indel

    left, right = tokenize(prediction), tokenize(reference)
    return Indel.normalized_similarity(left, right) if left and right else 0.0


def similarity_matrix(left: Iterable[str], right: Iterable[str] | None = None) -> np.ndarray:
    """Return ROUGE-L F1 of every pair, shape (len(left), len(right)); `right` defaults to `left`."""
    from rapidfuzz import process
    from rapidfuzz.distance import Indel

    encoder = TokenCodes()
    rows = [encoder.encode(text) for text in left]
    columns: Sequence[str] = rows if right is None else [encoder.encode(text) for text in right]
    return process.cdist(rows, columns, scorer=Indel.normalized_similarity, dtype=np.float64, workers=-1)
