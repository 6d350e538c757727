"""Novelty against a plain reading of its definition, and against `rouge_score`."""

import random

import pytest
from rouge_score.rouge_scorer import RougeScorer

from helpers.synthesis.novelty import NoveltyIndex


def decide(texts, threshold=0.7):
    return [new for new, _ in NoveltyIndex(threshold).add(texts)]


def decide_plainly(texts, threshold=0.7):
    scorer, kept, decisions = RougeScorer(["rougeL"]), [], []
    for text in texts:
        new = all(scorer.score(old, text)["rougeL"].fmeasure < threshold for old in kept)
        decisions.append(new)
        if new:
            kept.append(text)
    return decisions


@pytest.mark.parametrize("threshold", [0.3, 0.5, 0.7, 0.9])
def test_novelty_takes_the_decisions_of_rouge_score_pair_by_pair(threshold):
    draw, words = random.Random(5), "list name the each drug dose of in note report and status".split()
    texts = [" ".join(draw.choices(words, k=draw.choice([3, 5, 10]))) for _ in range(400)]
    expected = decide_plainly(texts, threshold)
    assert decide(texts, threshold) == expected
    assert 4 < sum(expected) < 400


@pytest.mark.parametrize(("threshold", "n_common"), [(0.4, 40), (0.7, 16)])
def test_texts_of_other_lengths_that_share_common_words_alone_are_found(threshold, n_common):
    """The shared words are the first of all and thus the commonest; each text has rare words of its own."""
    draw, common = random.Random(6), [f"c{i}" for i in range(n_common)]
    texts = [" ".join(common)]
    for number in range(300):
        shared = sorted(draw.sample(common, draw.randint(2, 15)), key=common.index)
        texts.append(" ".join(shared + [f"r{number}-{i}" for i in range(draw.randint(0, 6))]))
    expected = decide_plainly(texts, threshold)
    assert decide(texts, threshold) == expected
    assert 20 < sum(expected) < 280


def test_at_exact_ties_the_rounding_of_rouge_score_decides():
    """Every pair of lengths whose F1 can be exactly 0.7: the quotient and the way over precision and recall
    differ in the last digit.
    """
    decisions = []
    for n_left in range(1, 60):
        for n_right in range(1, 60):
            common, rest = divmod(7 * (n_left + n_right), 20)
            if rest == 0 and common <= min(n_left, n_right):
                shared = [f"s{i}" for i in range(common)]
                texts = [
                    " ".join(shared + [f"{side}{i}" for i in range(n - common)])
                    for side, n in (("l", n_left), ("r", n_right))
                ]
                decisions.append((decide(texts), decide_plainly(texts)))
    assert all(ours == theirs for ours, theirs in decisions)
    assert {tuple(ours) for ours, _ in decisions} == {(True, False), (True, True)}


def test_at_the_threshold_zero_only_the_first_text_is_new():
    assert NoveltyIndex(0.0).add(["a b c", "d e f", "a x y z"]) == [
        (True, None),
        (False, 0.0),
        (False, 2 / 7),
    ]
    assert decide(["a b c", "d e f"], 1e-9) == [True, True]


def test_of_two_twins_the_first_stays_and_a_rejected_one_blocks_nobody():
    assert decide(["a b c d e f", "a b c d e x", "a b c y z x"]) == [
        True,
        False,
        True,
    ]  # the third is near the second alone, which was not kept


def test_one_rejected_for_its_likeness_names_its_highest_similarity():
    assert NoveltyIndex(0.7).add(["a b c d", "a b c e", "a b c d e f"]) == [
        (True, None),
        (False, 0.75),
        (False, 0.8),
    ]


def test_instructions_of_one_word_are_compared_too():
    assert decide(["stop", "stop", "start", "stop stop"]) == [True, False, True, True]


def test_greek_letters_and_accents_tell_instructions_apart():
    assert decide(["measure TNF-α now", "measure TNF-β now"], threshold=0.9) == [True, True]
