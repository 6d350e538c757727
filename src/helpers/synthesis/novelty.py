"""Novelty: which instructions are unlike all that were kept before, with the decisions of `rouge_score` at a
small part of its cost.
"""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Iterable

import numpy as np

from helpers.rouge import TIE_SLACK, TokenCodes


class NoveltyIndex:
    """The instructions kept so far; says of each new one whether its ROUGE-L F1 against every KEPT one lies
    below a threshold.

    Only kept ones count, so the first of two near-duplicates stays. Two savings, both exact. First,
    texts of a and b words reach a threshold t only with t (a + b) / 2 words in common, whatever their order:
    an inverted index counts common words. It leaves out the n commonest words of the new text and lowers the
    number needed by n (as prefix filters do; Chaudhuri et al., ICDE 2006). What cannot reach the threshold is
    not compared. Second, what is left is compared by bit-parallel arithmetic.
    """

    def __init__(self, threshold: float) -> None:
        self._threshold = threshold
        self._encoder = TokenCodes()
        self._kept: list[str] = []
        self._lengths = array("i")
        self._postings: dict[tuple[str, int], array[int]] = {}

    def add(self, instructions: Iterable[str]) -> list[tuple[bool, float | None]]:
        """Decide on instructions in order and remember the new ones.

        Returns:
            For each, whether it is new; and if it is not, its highest ROUGE-L F1 (0..1) against those kept
            before.
        """
        return [self._decide(self._encoder.encode(text)) for text in instructions]

    def _decide(self, text: str) -> tuple[bool, float | None]:
        words = _number_words(text)
        others = [self._kept[index] for index in self._find_candidates(words)]
        if others and (highest := self._compare(text, others)) is not None:
            return False, highest
        for word in words:
            self._postings.setdefault(word, array("i")).append(len(self._kept))
        self._kept.append(text)
        self._lengths.append(len(text))
        return True, None

    def _find_candidates(self, words: list[tuple[str, int]]) -> np.ndarray:
        """Return the indices of all kept texts that may reach the threshold, and of few others."""
        postings = sorted((self._postings[word] for word in words if word in self._postings), key=len)
        n_left_out = min(int(self._threshold * len(words) / 4), len(postings))
        counted = postings[: len(postings) - n_left_out]
        if not counted:
            return np.empty(0, dtype=int)
        common = np.bincount(
            np.concatenate([np.frombuffer(posting, dtype=np.intc) for posting in counted]),
            minlength=len(self._kept),
        )
        needed = self._threshold / 2 * (len(words) + np.frombuffer(self._lengths, dtype=np.intc)) - n_left_out
        return np.flatnonzero(common >= needed - TIE_SLACK)

    def _compare(self, text: str, others: list[str]) -> float | None:
        """Return the highest similarity if it reaches the threshold; what lies on it to the last digits is
        decided as `rouge_score` rounds it.
        """
        from rapidfuzz import process
        from rapidfuzz.distance import Indel

        similarities = process.cdist([text], others, scorer=Indel.normalized_similarity, dtype=np.float64)[0]
        highest = float(similarities.max())
        if highest >= self._threshold + TIE_SLACK:
            return highest
        near = np.flatnonzero(similarities > self._threshold - TIE_SLACK)
        return (
            highest
            if any(
                _as_rouge_score(len(text), len(others[index]), similarities[index]) >= self._threshold
                for index in near
            )
            else None
        )


def _as_rouge_score(n_left: int, n_right: int, similarity: float) -> float:
    """Return ROUGE-L F1 by way of precision and recall, whose rounding differs from the direct quotient in
    the last digit.
    """
    common = round(similarity * (n_left + n_right) / 2)
    precision, recall = common / n_left, common / n_right
    return 2 * precision * recall / (precision + recall)


def _number_words(text: str) -> list[tuple[str, int]]:
    """Return the words of an encoded text; the second time that a word comes counts as another word."""
    times: Counter[str] = Counter()
    words = []
    for word in text:
        times[word] += 1
        words.append((word, times[word]))
    return words
