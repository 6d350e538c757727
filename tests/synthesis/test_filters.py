"""Filters: each reason, and novelty against a plain reading of the definition."""

import random

import pytest
from rouge_score.rouge_scorer import RougeScorer

from helpers.synthesis.filters import find_fault, novelty_check
from helpers.synthesis.parsing import ParsedTask


def task(instruction="List every drug in the note", input="Aspirin.", output="aspirin, 100 mg", is_complete=True):
    return ParsedTask(4, instruction, input, output, is_complete)


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        (task(), None),
        (task(is_complete=False), "malformed"),
        (task("Summarize this"), "length"),
        (task("word " * 151), "length"),
        (task("Describe the X-ray image below"), "non-text task"),
        (task("Read the value off the graph"), "non-text task"),
        (task("Summarize the imaging report in graphic detail"), None),
        (task("Gather the four figures of the lipid panel"), None),
        (task(output="Aspirin!"), "repeats input"),
        (task(input="", output="rest"), None),
    ],
)
def test_each_task_falls_for_its_reason(given, reason):
    assert find_fault(given, 3, 150) == reason


def test_novelty_takes_the_decisions_of_rouge_score_pair_by_pair():
    draw, words = random.Random(5), "list name the each drug dose of in note report and status".split()
    texts = [" ".join(draw.choices(words, k=draw.choice([5, 10]))) for _ in range(400)]
    scorer, kept, expected = RougeScorer(["rougeL"]), [], []
    for text in texts:
        new = all(scorer.score(text, old)["rougeL"].fmeasure < 0.7 for old in kept)
        expected.append(new)
        if new:
            kept.append(text)
    is_novel = novelty_check(0.7)
    assert [is_novel(text)[0] for text in texts] == expected
    assert 10 < sum(expected) < 390


def test_a_similarity_of_exactly_the_threshold_is_not_new():
    is_novel = novelty_check(0.7)
    assert is_novel("a b c d e f g h i j")[0]
    new, similarity = is_novel("a b c d e f g x y z")
    assert similarity == pytest.approx(0.7)
    assert not new


def test_of_two_twins_the_first_stays_and_a_rejected_one_blocks_nobody():
    is_novel = novelty_check(0.7)
    decisions = [is_novel(text)[0] for text in ("a b c d e f", "a b c d e x", "a b c y z x")]
    assert decisions == [True, False, True]  # the third is near the second alone, which was not kept
