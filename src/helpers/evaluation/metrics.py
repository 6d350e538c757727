"""Scores of written answers: strict parsers, each score in 0..1, what cannot be parsed counts as wrong."""

from __future__ import annotations

import re

from helpers.records import DialogueItem, MedicationItem, PronounItem, QuestionItem
from helpers.rouge import rouge_l, tokenize

MEDICATION_LINE = re.compile(r"^[-*\s]*(?P<name>[^:]+?)\s*:\s*(?P<status>active|discontinued|neither)\W*$", re.IGNORECASE)
ARTICLES = {"a", "an", "the", "his", "her", "their"}


def first_part(response: str) -> str:
    """Return a response up to where the model begins a new heading of its own."""
    return response.split("\n###", 1)[0].strip()


def parse_medications(response: str) -> list[tuple[str, str]]:
    """Return the (name, status) pairs of a response, lower-cased; a line that is not `name: status` counts as none."""
    matches = [MEDICATION_LINE.match(line) for line in first_part(response).splitlines()]
    return [(match["name"].lower(), match["status"].lower()) for match in matches if match]


def score_medications(response: str, item: MedicationItem) -> tuple[float, bool]:
    """Return the F1 of (medication, status) pairs and whether any line could be parsed.

    A gold medication is found by any of its forms; naming it twice counts once as right and once as wrong.
    """
    answers = parse_medications(response)
    if not answers:
        return 0.0, False
    right = sum(any((form.lower(), medication.status) in answers for form in medication.forms) for medication in item.gold)
    return 2 * right / (len(answers) + len(item.gold)), True


def normalize_mention(text: str) -> str:
    """Return a mention as lower-case words without a leading article or possessive."""
    words = tokenize(text)
    return " ".join(words[1:] if words and words[0] in ARTICLES else words)


def score_mention(response: str, item: PronounItem) -> tuple[float, bool]:
    """Return 1 if the first line of the response is one of the item's forms, articles and punctuation aside."""
    lines = first_part(response).splitlines()
    answer = normalize_mention(lines[0]) if lines else ""
    return float(answer in {normalize_mention(form) for form in item.gold.forms}), bool(answer)


def score_text(response: str, item: DialogueItem | QuestionItem) -> tuple[float, bool]:
    """Return the highest ROUGE-L F1 against the references, and whether there is any text."""
    text = first_part(response)
    return max(rouge_l(text, reference) for reference in item.references), bool(text)
