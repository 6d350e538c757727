"""Scores of written answers, computed by hand."""

import math
import unicodedata

import pytest

from helpers.evaluation.answer_parsing import normalize_mention, parse_medications
from helpers.evaluation.concepts import LEXICON, concept_f1, find_concepts, split_words
from helpers.evaluation.metrics import (
    score_antecedent,
    score_choice,
    score_medications,
    score_mentions,
    score_optional_mentions,
    score_text,
)
from helpers.evaluation.task_prompts import write_reference_medications, write_reference_mentions
from helpers.paths import SEEDS
from helpers.records import (
    ChoiceItem,
    MedicationItem,
    MentionsItem,
    OptionalMentionsItem,
    PronounItem,
    QuestionItem,
)

NOTE = MedicationItem(
    id="m",
    split="test",
    difficulty="easy",
    text="Takes aspirin. Warfarin was stopped.",
    gold=[
        {"forms": ["aspirin", "ASA"], "status": "active"},
        {"forms": ["Warfarin"], "status": "discontinued"},
    ],
)
PRONOUN = PronounItem(
    id="p",
    split="test",
    difficulty="easy",
    text="The left knee is red; it hurts.",
    pronoun="it",
    gold={"forms": ["The left knee", "knee"]},
)
QUESTION = QuestionItem(
    id="q", split="test", difficulty="easy", text="Is it bad?", references=["see a doctor today", "rest"]
)


@pytest.mark.parametrize(
    ("response", "score", "parsed"),
    [
        ("aspirin: active\nwarfarin: discontinued", 1.0, True),
        ("- ASA: active\n* Warfarin: Discontinued.", 1.0, True),
        ("aspirin: active", 2 / 3, True),
        ("aspirin: active\naspirin: active\nwarfarin: discontinued", 4 / 5, True),
        ("aspirin: discontinued\nwarfarin: discontinued", 0.5, True),
        ("aspirin is active", 0.0, False),
        ("aspirin: maybe", 0.0, False),
        ("", 0.0, False),
    ],
)
def test_medications_are_scored_by_f1_of_name_and_status(response, score, parsed):
    found = score_medications(response, NOTE)
    assert (found["score"], found["parsed"]) == (pytest.approx(score), parsed)


def test_lines_that_are_not_name_and_status_count_as_none():
    assert parse_medications("The drugs are:\naspirin : ACTIVE\nnone") == [("aspirin", "active")]


@pytest.mark.parametrize(
    ("line", "name"),
    [
        ("1. aspirin: active", "aspirin"),
        ("2) aspirin: active", "aspirin"),
        ("- aspirin: active", "aspirin"),
        ("0.9 % saline: active", "0.9 % saline"),
        ("**Aspirin**: active", "aspirin"),
        ("- **Aspirin:** Active", "aspirin"),
        ("1. _Aspirin_: **active**", "aspirin"),
        ("adrenaline 1:1000: active", "adrenaline 1:1000"),
        ("folic  acid: active", "folic acid"),
    ],
)
def test_a_line_may_be_numbered_or_stressed_and_a_dose_is_part_of_the_name(line, name):
    assert parse_medications(line) == [(name, "active")]


@pytest.mark.parametrize("form", ["aspirin ", "insulin 30:70", "*aspirin*"])
def test_the_medication_as_a_note_has_it_is_found_again_in_the_reference_answer(form):
    item = MedicationItem(
        id="x", split="test", text=f"Takes {form} now.", gold=[{"forms": [form], "status": "active"}]
    )
    assert score_medications(write_reference_medications(item), item)["score"] == 1


@pytest.mark.parametrize(
    ("mention", "words"),
    [
        ("A-T", "a t"),
        ("The ataxia", "ataxia"),
        ("'an ulcer'", "ulcer"),
        ("his", "his"),
        ("anaemia", "anaemia"),
        ("A", "a"),
    ],
)
def test_only_a_word_of_its_own_before_another_is_an_article(mention, words):
    assert normalize_mention(mention) == words


@pytest.mark.parametrize(
    ("response", "score"),
    [
        ("the left knee", 1),
        ("Left knee.", 1),
        ("his knee", 1),
        ("knee\nbecause it is red", 1),
        ("the knee joint", 0),
        ("left", 0),
        ("", 0),
    ],
)
def test_a_mention_must_match_a_form_articles_aside(response, score):
    assert score_antecedent(response, PRONOUN)["score"] == score


def test_an_accent_behind_its_letter_hides_no_name():
    text = unicodedata.normalize("NFD", "Takes époétine for Sjögren syndrome")
    _, drug, _, *disease = text.split(" ")
    about = {"id": "x", "split": "test", "text": text}
    note = MedicationItem(**about, gold=[{"forms": [drug], "status": "active"}])
    named = MentionsItem(**about, gold=[{"forms": [" ".join(disease)]}])
    assert score_medications("époétine: active", note)["score"] == 1
    assert score_mentions("Sjögren syndrome", named)["score"] == 1


def test_an_empty_mention_is_unparsed():
    assert score_antecedent("...", PRONOUN) == {"score": 0.0, "parsed": False}
    sign = PRONOUN.model_copy(update={"gold": PRONOUN.gold.model_copy(update={"forms": ["+"]})})
    assert score_antecedent("...", sign) == {"score": 0.0, "parsed": False}


def test_a_text_is_scored_against_its_best_reference():
    assert score_text("see a doctor", QUESTION)["score"] == pytest.approx(2 * 3 / 7)
    assert score_text("rest", QUESTION)["score"] == 1
    empty = {"score": 0.0, "parsed": False, "concept_f1": 0.0, "rouge_at_length": 0.0}
    assert score_text("", QUESTION) == empty


@pytest.mark.parametrize(
    ("response", "precision", "recall", "conditional"),
    [
        ("aspirin: active\nwarfarin: active", 1 / 2, 1 / 2, 1 / 2),
        ("ASA: active\ninsulin: active\nzinc: neither", 1 / 3, 1 / 2, 1.0),
        ("insulin: active", 0.0, 0.0, None),
        ("nothing", 0.0, 0.0, None),
    ],
)
def test_conditional_accuracy_counts_the_medications_found_alone(response, precision, recall, conditional):
    found = score_medications(response, NOTE)
    assert (found["precision"], found["recall"], found["conditional"]) == (
        pytest.approx(precision),
        recall,
        conditional,
    )


@pytest.mark.parametrize(
    ("response", "score", "precision", "recall", "parsed"),
    [
        ("breast cancer\nataxia", 1.0, 1.0, 1.0, True),
        ("- The breast cancer.\n2. Ataxia", 1.0, 1.0, 1.0, True),
        ("breast cancer", 2 / 3, 1.0, 1 / 2, True),
        ("cancer\nataxia\ngout", 2 / 5, 1 / 3, 1 / 2, True),
        ("breast cancer, ataxia", 0.0, 0.0, 0.0, True),
        (
            "the sentence names a number of diseases that are all of them rather hard to treat at home",
            0.0,
            0.0,
            0.0,
            False,
        ),
        ("", 0.0, 0.0, 0.0, False),
    ],
)
def test_lists_of_mentions_are_scored_by_f1_of_whole_mentions(response, score, precision, recall, parsed):
    item = MentionsItem(
        id="d",
        split="test",
        text="Breast cancer or ataxia?",
        gold=[{"forms": ["Breast cancer"]}, {"forms": ["ataxia"]}],
    )
    expected = {
        "score": pytest.approx(score),
        "parsed": parsed,
        "precision": pytest.approx(precision),
        "recall": recall,
    }
    found = score_mentions(response, item)
    assert {name: found[name] for name in expected} == expected


def choice(answer):
    return ChoiceItem(
        id="c", split="test", context="", question="Which?", options=["a", "b", "c"], answer=answer
    )


def test_a_choice_is_the_most_likely_option_with_margin_and_brier_score():
    found = score_choice([[math.log(0.5), math.log(0.3), math.log(0.2)]], choice(1))
    assert (found["score"], found["response"], found["letters"], found["right_letters"]) == (
        0.0,
        "a",
        "A",
        "B",
    )
    assert found["margin"] == pytest.approx(math.log(0.3 / 0.5))
    assert found["brier"] == pytest.approx(0.5**2 + 0.7**2 + 0.2**2)
    assert score_choice([[-1.0, -2.0, -3.0]], choice(0))["margin"] == pytest.approx(1.0)


def test_orders_are_averaged_and_each_names_the_position_it_chose():
    shares = [[0.6, 0.3, 0.1], [0.1, 0.8, 0.1], [0.1, 0.2, 0.7]]  # whoever stands first is liked best
    found = score_choice([[math.log(share) for share in order] for order in shares], choice(1))
    assert (found["letters"], found["right_letters"]) == ("AAA", "BAC")
    assert (found["score"], found["response"]) == (1.0, "b")
    assert found["margin"] == pytest.approx(math.log((1.3 / 3) / (0.9 / 3)))


def test_equal_options_are_settled_by_their_order_and_extreme_ones_stay_finite():
    assert score_choice([[-1.0, -1.0, -1.0]], choice(0))["score"] == 1
    assert math.isfinite(score_choice([[-1e4, 0.0, -1e4]], choice(0))["margin"])


def test_concepts_are_found_by_any_spelling_the_longest_first():
    assert find_concepts("Short of breath, with HIGH blood pressure.") == {
        "shortness of breath",
        "hypertension",
    }
    assert find_concepts("His kidneys and ankles") == {"kidney", "ankle"}
    assert concept_f1("Fever and a cough", "a cough, dyspnea") == pytest.approx(1 / 2)
    assert concept_f1("Fever", "nothing of note") is None


def test_every_concept_of_the_lexicon_stands_in_the_projects_own_texts_and_no_spelling_means_two():
    lines = [line.split("|") for line in LEXICON.read_text(encoding="utf-8").splitlines()]
    texts = " ".join(path.read_text(encoding="utf-8") for path in sorted(SEEDS.rglob("*.jsonl")))
    assert {line[0] for line in lines} == find_concepts(texts)
    owners = {}
    for line in lines:
        for spelling in line:
            assert owners.setdefault(split_words(spelling), line[0]) == line[0], spelling


def test_lenient_recall_counts_mentions_that_share_a_word_and_counts_add_up_to_micro_f1():
    item = MentionsItem(
        id="a",
        split="test",
        text="type 2 diabetes, gout",
        gold=[{"forms": ["type 2 diabetes"]}, {"forms": ["gout"]}],
    )
    measures = score_mentions("diabetes\nasthma", item)
    assert (measures["recall"], measures["lenient_recall"]) == (0.0, 0.5)
    assert (measures["n_right"], measures["n_answers"], measures["n_gold"]) == (0, 2, 2)


def test_a_text_cut_to_the_references_length_gains_nothing_by_going_on():
    item = QuestionItem(id="a", split="test", text="Why?", references=["rest and drink water"])
    short = score_text("rest and drink water", item)
    long = score_text("rest and drink water, then call a doctor at once", item)
    assert short["rouge_at_length"] == long["rouge_at_length"] == 1.0
    assert long["score"] < short["score"]


@pytest.mark.parametrize(
    ("gold", "response", "score", "counts"),
    [
        ([], "none", 1.0, (0, 0, 0)),
        ([], "None.", 1.0, (0, 0, 0)),
        ([], "gout", 0.0, (0, 1, 0)),
        ([], "", 0.0, (0, 0, 0)),  # no answer is no right answer
        (["gout"], "gout", 1.0, (1, 1, 1)),
        (["gout"], "none", 0.0, (0, 0, 1)),
    ],
)
def test_where_a_text_may_name_none_the_answer_none_is_right_there_alone(gold, response, score, counts):
    item = OptionalMentionsItem(
        id="a", split="test", text="She has gout.", gold=[{"forms": [form]} for form in gold]
    )
    measures = score_optional_mentions(response, item)
    assert measures["score"] == score
    assert tuple(measures[name] for name in ("n_right", "n_answers", "n_gold")) == counts
    assert measures["parsed"] == bool(response)
    assert write_reference_mentions(item) == (gold[0] if gold else "none")
