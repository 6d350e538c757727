"""Scores of answers: each in 0..1; an answer that `answer_parsing` cannot read counts as wrong.

Every scorer of a written answer returns `score`, `parsed` and what else it measures; a measure that an item
does not have is None.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Hashable, Sequence
from string import ascii_lowercase, ascii_uppercase
from typing import Any, TypeVar

from helpers.evaluation.answer_parsing import (
    NO_MENTION,
    normalize_medication,
    normalize_mention,
    parse_medications,
    parse_mentions,
)
from helpers.evaluation.concepts import concept_f1
from helpers.records import (
    ChoiceItem,
    DialogueItem,
    MedicationItem,
    MentionsItem,
    OptionalMentionsItem,
    PronounItem,
    QuestionItem,
)
from helpers.rouge import rouge_l, tokenize

LETTERS = ascii_uppercase + ascii_lowercase

Measures = dict[str, Any]
MEASURES = (
    "margin",
    "brier",
    "precision",
    "recall",
    "lenient_recall",
    "conditional",  # the accuracy of status among the medications found
    "n_words",
    "rouge_at_length",  # ROUGE-L of the text cut to the length of the reference
)
MEASURES += ("concept_f1",)  # what scorers keep of an item beside its score
MENTION_COUNTS = ("n_right", "n_answers", "n_gold")  # of mentions: right, given in ONE answer, to be found
Spelling = TypeVar("Spelling", bound=Hashable)


def score_choice(log_likelihoods: Sequence[Sequence[float]], item: ChoiceItem) -> Measures:
    """Score a choice from the log-likelihoods of its options.

    Probabilities are the softmax over the options; where the options were shown in several orders, they are
    the mean over the orders (Zheng et al., 2024).

    Args:
        log_likelihoods: nats, one list for each order shown: option k of an item stands k - n places along
            (cyclically) in order n.
        item: the item.

    Returns:
        score (1 if the right option is the most likely, the first of equals counting), parsed (always),
        response (its text), margin (log-odds of the right option against the best wrong one, nats), brier
        (sum of squared errors of the probabilities, 0..2; Brier, 1950), letters and right_letters (positions
        chosen and right in each order, A being the first).
    """
    from scipy.special import softmax

    shares = [softmax(order).tolist() for order in log_likelihoods]
    means = [sum(column) / len(shares) for column in zip(*shares, strict=True)]
    chosen = argmax_first(means)
    wrong = max(value for index, value in enumerate(means) if index != item.answer)
    return {
        "score": float(chosen == item.answer),
        "parsed": True,
        "response": item.options[chosen],
        "margin": log(means[item.answer]) - log(wrong),
        "brier": sum((value - (index == item.answer)) ** 2 for index, value in enumerate(means)),
        "letters": name_positions([argmax_first(order) for order in log_likelihoods], len(means)),
        "right_letters": name_positions([item.answer for _ in log_likelihoods], len(means)),
    }


def name_positions(indices: Sequence[int], n_options: int) -> str:
    """Return the letter of each option's position, where the k-th entry stands in an order
    rotated by k.
    """
    return "".join(LETTERS[(index - rotation) % n_options] for rotation, index in enumerate(indices))


def log(probability: float) -> float:
    """Return a natural logarithm that stays finite where a probability has vanished."""
    return math.log(max(probability, 1e-300))


def argmax_first(values: Sequence[float]) -> int:
    """Return the index of the highest value, the first of equals."""
    return max(range(len(values)), key=values.__getitem__)


def score_medications(response: str, item: MedicationItem) -> Measures:
    """Score (medication, status) pairs by F1, with precision, recall and conditional accuracy.

    A gold medication is found by any of its forms; naming it twice counts once as right and once as wrong.
    Conditional accuracy is the paper's: the share of the medications found whose status is right as well;
    None where none was found.
    """
    answers = parse_medications(response)
    names = {name for name, _ in answers}
    gold = merge_spellings(
        [
            {(normalize_medication(form), medication.status) for form in medication.forms}
            for medication in item.gold
        ]
    )
    found = [pairs for pairs in gold if names & {name for name, _ in pairs}]
    right = sum(not pairs.isdisjoint(answers) for pairs in found)
    spellings = [{name for name, _ in pairs} for pairs in gold]
    return compare_sets(right, len(answers), len(gold)) | {
        "conditional": right / len(found) if found else None,
        "lenient_recall": lenient_recall(sorted(names), spellings),
    }


def merge_spellings(gold: Sequence[set[Spelling]]) -> list[set[Spelling]]:
    """Return the spellings of each mention, those of one that is named more than once together, so that an
    answer is right once.
    """
    merged: list[set[Spelling]] = []
    for spellings in gold:
        same = [other for other in merged if not other.isdisjoint(spellings)]
        merged = [other for other in merged if other not in same] + [spellings.union(*same)]
    return merged


def score_mentions(response: str, item: MentionsItem) -> Measures:
    """Score a list of mentions by F1, with precision and recall; a mention must match a form whole, articles
    and punctuation aside.
    """
    return compare_mentions(parse_mentions(response), item)


def score_optional_mentions(response: str, item: OptionalMentionsItem) -> Measures:
    """Score a list of mentions where a text may name none: the answer `none` is right there, gives no mention
    elsewhere, and an answer without any line is wrong. Where there is none to find, precision and recall have
    no value; a mention given counts in the field's micro-F1 as a wrong one.
    """
    lines = parse_mentions(response)
    answers = [line for line in lines if line != NO_MENTION]
    if item.gold:
        return compare_mentions(answers, item) | {"parsed": bool(lines)}
    unknown = dict.fromkeys(("precision", "recall", "lenient_recall"))
    counts = {"n_right": 0, "n_answers": len(answers), "n_gold": 0}
    return {"score": float(bool(lines) and not answers), "parsed": bool(lines)} | unknown | counts


def compare_mentions(answers: Sequence[str], item: MentionsItem) -> Measures:
    """Return the measures of the mentions that an answer gives, at least one of which is to be found."""
    gold = merge_spellings([{normalize_mention(form) for form in mention.forms} for mention in item.gold])
    right = sum(not spellings.isdisjoint(answers) for spellings in gold)
    return compare_sets(right, len(answers), len(gold)) | {"lenient_recall": lenient_recall(answers, gold)}


def compare_sets(n_right: int, n_given: int, n_gold: int) -> Measures:
    """Return F1 as the score, whether the answer gives any mention, precision and recall, all 0 where it
    gives none; and the counts, from which micro-F1 is formed over all items.
    """
    return {
        "score": 2 * n_right / (n_given + n_gold),
        "parsed": n_given > 0,
        "precision": n_right / n_given if n_given else 0.0,
        "recall": n_right / n_gold,
        "n_right": n_right,
        "n_answers": n_given,
        "n_gold": n_gold,
    }


def lenient_recall(answers: Sequence[str], gold: Sequence[Collection[str]]) -> float:
    """Return the lenient recall: the share of gold mentions of which any spelling shares a word with an
    answer, 0..1.
    """
    words = set(tokenize(" ".join(answers)))
    return sum(not words.isdisjoint(tokenize(" ".join(spellings))) for spellings in gold) / len(gold)


def score_antecedent(response: str, item: PronounItem) -> Measures:
    """Return 1 if the first line of the response is one of the item's forms, articles and
    punctuation aside.
    """
    lines = response.splitlines()
    answer = normalize_mention(lines[0]) if lines else ""
    return {
        "score": float(bool(answer) and answer in {normalize_mention(form) for form in item.gold.forms}),
        "parsed": bool(answer),
    }


def score_text(response: str, item: DialogueItem | QuestionItem) -> Measures:
    """Score a text by its highest ROUGE-L F1 against the references, with its highest Concept F1; no text
    counts as unparsed. ROUGE-L rises with length, so the same is measured of the text cut to as many words
    as the reference has (`rouge_at_length`).
    """
    concepts = [
        value for reference in item.references if (value := concept_f1(response, reference)) is not None
    ]
    return {
        "score": max(rouge_l(response, reference) for reference in item.references),
        "parsed": bool(response),
        "concept_f1": max(concepts, default=None),
        "rouge_at_length": max(
            rouge_l(cut_words(response, reference), reference) for reference in item.references
        ),
    }


def cut_words(text: str, reference: str) -> str:
    """Return a text cut to as many words as a reference has."""
    return " ".join(text.split()[: len(reference.split())])
