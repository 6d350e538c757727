"""Parsers of written answers, strict: a line that is not in the form that was asked for counts as none."""

from __future__ import annotations

import re
import unicodedata

from helpers.rouge import tokenize

MEDICATION_LINE = re.compile(
    r"^[-*\s]*(?P<name>(?:[^:]|(?<=\d):(?=\d))+):[\s*_]*(?P<status>active|discontinued|neither)\W*$",
    re.IGNORECASE,
)
EMPHASIS = "*_` "  # around a name, as chat models set it
BULLET = re.compile(r"^\s*(?:[-*•]|\d+[.)](?!\d))?\s*")  # "0.9 % saline" keeps its number
# a word of its own before another: the A of "A-T" is not an article
ARTICLE = re.compile(r"^[\W_]*(?:an?|the|his|her|their)\s+(?=\w)", re.IGNORECASE)
MAX_MENTION_WORDS = 15  # a longer line is prose; the longest disease name of the NCBI corpus has 14 tokens
NO_MENTION = "none"  # the answer where a text names none


def first_part(response: str) -> str:
    """Return a response up to where the model begins a new heading of its own, as Alpaca's form invites it
    to; in a chat a heading is part of the answer.
    """
    return response.split("\n###", 1)[0].strip()


def parse_medications(response: str) -> list[tuple[str, str]]:
    """Return the (name, status) pairs of a response, lower-cased; a line that is not `name: status`, numbered
    or not, counts as none.
    """
    matches = [MEDICATION_LINE.match(BULLET.sub("", line)) for line in response.splitlines()]
    named = [(normalize_medication(match["name"]), match["status"].lower()) for match in matches if match]
    return [(name, status) for name, status in named if name]


def normalize_medication(text: str) -> str:
    """Return a name in lower case, its accents composed (NFC), its words one space apart, without marks of
    emphasis around it.
    """
    return " ".join(unicodedata.normalize("NFC", text).split()).strip(EMPHASIS).lower()


def parse_mentions(response: str) -> list[str]:
    """Return the mentions of a response, one per line, as `normalize_mention` leaves them; a line of more
    than 15 words is prose and counts as none.
    """
    mentions = [normalize_mention(BULLET.sub("", line)) for line in response.splitlines()]
    return [mention for mention in mentions if mention and len(mention.split()) <= MAX_MENTION_WORDS]


def normalize_mention(text: str) -> str:
    """Return a mention as lower-case words without a leading article or possessive."""
    return " ".join(tokenize(ARTICLE.sub("", text)))
