"""ROUGE-L: the library's values, and tokens that it would lose."""

import random
import sys
import unicodedata

import numpy as np
import pytest

from helpers import rouge
from helpers.errors import StudyError
from helpers.rouge import rouge_l, similarity_matrix, tokenize


def test_values_equal_rouge_score_on_ascii_text():
    from rouge_score.rouge_scorer import RougeScorer

    scorer, draw = RougeScorer(["rougeL"], use_stemmer=False), random.Random(3)
    words = "list the drugs in note, and_then give each dose: 5mg X-ray".split()
    for _ in range(200):
        left, right = (" ".join(draw.choices(words, k=draw.randint(1, 12))) for _ in range(2))
        assert rouge_l(left, right) == pytest.approx(scorer.score(left, right)["rougeL"].fmeasure, abs=1e-12)


def test_more_distinct_words_than_there_are_numbers_for_are_one_message(monkeypatch):
    monkeypatch.setattr(rouge, "FIRST_CODE_POINT", sys.maxunicode - 1)
    codes = rouge.TokenCodes()
    assert len(codes.encode("fever cough fever")) == 3
    with pytest.raises(StudyError, match="at most 2 distinct words in all"):
        codes.encode("fever and cough")


def test_greek_letters_and_accents_stay_in_their_words():
    assert tokenize("TNF-α in Sjögren's naïve B_cells") == [
        "tnf",
        "α",
        "in",
        "sjögren",
        "s",
        "naïve",
        "b",
        "cells",
    ]


def test_an_accent_behind_its_letter_is_the_letter_with_it():
    text = "Sjögren naïve TNF-α"
    assert tokenize(unicodedata.normalize("NFD", text)) == tokenize(text) == ["sjögren", "naïve", "tnf", "α"]


def test_a_hand_computed_value():
    assert rouge_l("the left knee", "the swollen left knee") == pytest.approx(2 * 3 / (3 + 4))


def test_empty_texts_score_zero():
    assert rouge_l("", "") == 0 == rouge_l("a", "?!")


def test_the_matrix_holds_the_same_values_as_single_pairs():
    texts = ["List the drugs", "List the doses of the drugs", "Who is ill?"]
    matrix = similarity_matrix(texts)
    assert np.allclose(matrix, [[rouge_l(left, right) for right in texts] for left in texts], atol=1e-12)
