"""Scores of written answers, computed by hand."""

import pytest

from helpers.evaluation.metrics import parse_medications, score_medications, score_mention, score_text
from helpers.records import MedicationItem, PronounItem, QuestionItem

NOTE = MedicationItem(
    id="m",
    split="test",
    difficulty="easy",
    text="Takes aspirin. Warfarin was stopped.",
    gold=[{"forms": ["aspirin", "ASA"], "status": "active"}, {"forms": ["Warfarin"], "status": "discontinued"}],
)
PRONOUN = PronounItem(id="p", split="test", difficulty="easy", text="The left knee is red; it hurts.", pronoun="it", gold={"forms": ["The left knee", "knee"]})
QUESTION = QuestionItem(id="q", split="test", difficulty="easy", text="Is it bad?", references=["see a doctor today", "rest"])


@pytest.mark.parametrize(
    ("response", "score", "parsed"),
    [
        ("aspirin: active\nwarfarin: discontinued", 1.0, True),
        ("- ASA: active\n* Warfarin: Discontinued.", 1.0, True),
        ("aspirin: active", 2 / 3, True),
        ("aspirin: active\naspirin: active\nwarfarin: discontinued", 4 / 5, True),
        ("aspirin: discontinued\nwarfarin: discontinued", 0.5, True),
        ("aspirin: active\n\n### Input:\nwarfarin: discontinued", 2 / 3, True),
        ("aspirin is active", 0.0, False),
        ("aspirin: maybe", 0.0, False),
        ("", 0.0, False),
    ],
)
def test_medications_are_scored_by_f1_of_name_and_status(response, score, parsed):
    found = score_medications(response, NOTE)
    assert found == (pytest.approx(score), parsed)


def test_lines_that_are_not_name_and_status_count_as_none():
    assert parse_medications("The drugs are:\naspirin : ACTIVE\nnone") == [("aspirin", "active")]


@pytest.mark.parametrize(
    ("response", "score"),
    [("the left knee", 1), ("Left knee.", 1), ("his knee", 1), ("knee\nbecause it is red", 1), ("the knee joint", 0), ("left", 0), ("", 0)],
)
def test_a_mention_must_match_a_form_articles_aside(response, score):
    assert score_mention(response, PRONOUN)[0] == score


def test_an_empty_mention_is_unparsed():
    assert score_mention("...", PRONOUN) == (0.0, False)


def test_a_text_is_scored_against_its_best_reference():
    assert score_text("see a doctor", QUESTION) == (pytest.approx(2 * 3 / 7), True)
    assert score_text("rest", QUESTION)[0] == 1
    assert score_text("", QUESTION) == (0.0, False)
