"""Novelty: which instructions are unlike all that were kept before, with the decisions of `rouge_score` at a
small part of its cost.
"""

from __future__ import annotations

from array import array
from collections import Counter, defaultdict
from collections.abc import Iterable

import numpy as np

from helpers.rouge import TIE_SLACK, TokenCodes

LEFT_OUT = (
    0.9  # of the words that the shortest text could share: fewer make long lists, more many comparisons
)


class NoveltyIndex:
    """The instructions kept so far; says of each new one whether its ROUGE-L F1 against every KEPT one lies
    below a threshold.

    Only kept ones count, so the first of two near-duplicates stays. Two savings, both exact. First,
    texts of a and b words reach a threshold t only with t (a + b) / 2 words in common, whatever their order.
    An inverted index counts common words. It leaves out the commonest words of each text and lowers the
    number needed by as many (prefix filter; Chaudhuri et al., ICDE 2006). What cannot reach the threshold is
    not compared. Second, what is left is compared by bit-parallel arithmetic.
    """

    def __init__(self, threshold: float) -> None:
        self._threshold = threshold
        # what reaches a threshold t has t n / (2 - t) words at least, and so many are in common at least
        self._left_out = LEFT_OUT * threshold / (2 - threshold)
        self._encoder = TokenCodes()
        self._numbers: dict[tuple[str, int], int] = {}
        self._kept: list[str] = []
        self._lengths = array("i")
        self._postings: defaultdict[int, array[int]] = defaultdict(lambda: array("i"))

    def add(self, instructions: Iterable[str]) -> list[tuple[bool, float | None]]:
        """Decide on instructions in order and remember the new ones.

        Returns:
            For each, whether it is new; and if it is not, its highest ROUGE-L F1 (0..1) against those kept
            before.
        """
        return [self._decide(self._encoder.encode(text)) for text in instructions]

    def _decide(self, text: str) -> tuple[bool, float | None]:
        rare = self._list_rare_words(text)
        others = [self._kept[index] for index in self._find_candidates(rare, len(text))]
        if others and (highest := self._compare(text, others)) is not None:
            return False, highest
        for word in rare:
            self._postings[word].append(len(self._kept))
        self._kept.append(text)
        self._lengths.append(len(text))
        return True, None

    def _list_rare_words(self, text: str) -> list[int]:
        """Return the numbers of all words of an encoded text but its commonest; the second time that a word
        comes counts as another word.

        The order must be the same for all texts. Words that were seen first count as the commonest.
        """
        times: Counter[str] = Counter()
        numbers = []
        for word in text:
            times[word] += 1
            numbers.append(self._numbers.setdefault((word, times[word]), len(self._numbers)))
        return sorted(numbers)[int(self._left_out * len(numbers)) :]

    def _find_candidates(self, rare: list[int], n_words: int) -> np.ndarray:
        """Return the indices of all kept texts that may reach the threshold, and of few others."""
        if self._threshold <= 0:
            return np.arange(len(self._kept))  # texts without a common word reach it too
        postings = [np.frombuffer(self._postings[word], np.intc) for word in rare if word in self._postings]
        if not postings:
            return np.empty(0, dtype=int)
        found, common = np.unique_counts(np.concatenate(postings))
        lengths = np.frombuffer(self._lengths, np.intc)[found]
        left_out = np.floor(self._left_out * np.maximum(lengths, n_words))
        needed = self._threshold / 2 * (n_words + lengths) - left_out
        return found[common >= needed - TIE_SLACK]

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
    if not common:
        return 0.0
    precision, recall = common / n_left, common / n_right
    return 2 * precision * recall / (precision + recall)
