"""Novelty: which instructions are unlike all that were kept before, with the decisions of `rouge_score` and none of its cost."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from helpers.rouge import TIE_SLACK, Encoder

BLOCK = 256


class NoveltyIndex:
    """The instructions kept so far; tells of each new one whether its ROUGE-L F1 against every KEPT one lies below a threshold.

    Only kept ones count, so that of two near twins the first stays. Candidates come in blocks: a block is compared with all kept instructions and with
    itself by bit-parallel arithmetic on all cores, then decided in order. Memory holds one code point a token of each kept instruction and the
    similarities of one block.
    """

    def __init__(self, threshold: float) -> None:
        self._threshold = threshold
        self._encoder = Encoder()
        self._kept: list[str] = []

    def add(self, instructions: Sequence[str]) -> list[tuple[bool, float]]:
        """Decide on instructions in order and remember the new ones.

        Returns:
            Of each, whether it is new, and its highest ROUGE-L F1 (0..1) against those kept before it.
        """
        decisions: list[tuple[bool, float]] = []
        for start in range(0, len(instructions), BLOCK):
            decisions += self._decide([self._encoder.encode(text) for text in instructions[start : start + BLOCK]])
        return decisions

    def _decide(self, block: list[str]) -> list[tuple[bool, float]]:
        outer = _compare(block, self._kept)
        highest = outer.max(axis=1, initial=0.0)
        known = [self._reaches(row, text, self._kept) for row, text in zip(outer, block, strict=True)]
        inner, new, decisions = _compare(block, block), [], []
        for index, text in enumerate(block):
            row, earlier = inner[index, new], [block[other] for other in new]
            is_new = not known[index] and not self._reaches(row, text, earlier)
            decisions.append((is_new, float(max(highest[index], row.max(initial=0.0)))))
            if is_new:
                new.append(index)
        self._kept += [block[index] for index in new]
        return decisions

    def _reaches(self, similarities: np.ndarray, text: str, others: Sequence[str]) -> bool:
        """Say whether any similarity reaches the threshold; what lies on it to the last digits is decided as `rouge_score` rounds it."""
        if (similarities >= self._threshold + TIE_SLACK).any():
            return True
        near = np.flatnonzero(similarities > self._threshold - TIE_SLACK)
        return any(_as_rouge_score(len(text), len(others[index]), similarities[index]) >= self._threshold for index in near)


def _compare(left: Sequence[str], right: Sequence[str]) -> np.ndarray:
    from rapidfuzz import process
    from rapidfuzz.distance import Indel

    if not right:
        return np.zeros((len(left), 0))
    return process.cdist(left, right, scorer=Indel.normalized_similarity, dtype=np.float64, workers=-1)


def _as_rouge_score(n_left: int, n_right: int, similarity: float) -> float:
    """Return ROUGE-L F1 by way of precision and recall, whose rounding differs from the direct quotient in the last digit."""
    common = round(similarity * (n_left + n_right) / 2)
    precision, recall = common / n_left, common / n_right
    return 2 * precision * recall / (precision + recall)
