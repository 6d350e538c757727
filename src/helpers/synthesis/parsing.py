"""From a teacher's reply to numbered tasks, complete or not."""

from __future__ import annotations

import dataclasses
import json
import re
from typing import Any

from helpers.jsonl import find_json_object, scrub_text
from helpers.records import CATEGORIES

FIELD = re.compile(
    r"^\*{0,2}(?P<number>\d{1,3})\.[ \t]*\*{0,2}(?P<field>Instruction|Input|Output):\*{0,2}[ \t]*",
    re.MULTILINE | re.IGNORECASE,
)
NO_INPUT = "<noinput>"
LABEL_NUMBER = re.compile(r"[0-9]{1,3}")


@dataclasses.dataclass(frozen=True)
class ParsedTask:
    """An item of a reply; a field that the reply lacks is None, and `is_complete` says whether anything is
    missing or broken off.
    """

    number: int
    instruction: str | None
    input: str | None
    output: str | None
    is_complete: bool


def parse_reply(text: str, finish_reason: str = "stop") -> list[ParsedTask]:
    """Split a reply into its items, in order.

    A field runs from its heading (`7. Input:`) to the next one. An item is complete with all three fields
    filled; the last item of a reply that did not end by itself is not, whatever it holds. A number that comes
    twice starts a second item.
    """
    headings = list(FIELD.finditer(text))
    items: list[tuple[int, dict[str, str]]] = []
    ends = [*(heading.start() for heading in headings[1:]), len(text)]
    for heading, end in zip(headings, ends, strict=False):
        number, field = int(heading["number"]), heading["field"].lower()
        value = text[heading.end() : end].strip()
        if not items or items[-1][0] != number or field in items[-1][1]:
            items.append((number, {}))
        items[-1][1][field] = value
    cut = finish_reason != "stop"
    return [
        _build_task(number, fields, is_cut=cut and index == len(items) - 1)
        for index, (number, fields) in enumerate(items)
    ]


def parse_json_reply(text: str, first_number: int) -> tuple[list[ParsedTask], dict[int, str]]:
    """Return the items of a reply in JSON, and their categories by number; of a reply that breaks off, the
    items before the break.

    Args:
        text: an object whose `tasks` is a list of objects with instruction, input, output and category.
        first_number: number of the first item.
    """
    tasks, labels = [], {}
    for number, item in enumerate(_read_objects(text), first_number):
        fields = {
            name: scrub_text(item[name]).strip()
            for name in ("instruction", "input", "output")
            if isinstance(item.get(name), str)
        }
        tasks.append(_build_task(number, fields, is_cut=False))
        if isinstance(item.get("category"), str) and item["category"] in CATEGORIES:
            labels[number] = item["category"]
    return tasks, labels


def _read_objects(text: str) -> list[dict[str, Any]]:
    decoder, items, position = json.JSONDecoder(), [], text.find("[") + 1
    while position and (start := text.find("{", position)) >= 0:
        try:
            item, position = decoder.raw_decode(text, start)
        except (ValueError, RecursionError):
            break
        items.append(item)
    return items


def parse_labels(text: str) -> dict[int, str]:
    """Return the labels of a reply that holds one JSON object; what is not a known category is left out."""
    labels = find_json_object(text)
    return {
        int(number): label
        for number, label in labels.items()
        if LABEL_NUMBER.fullmatch(number) and isinstance(label, str) and label in CATEGORIES
    }


def _build_task(number: int, fields: dict[str, str], is_cut: bool) -> ParsedTask:
    complete = bool(fields.get("instruction") and fields.get("output") and "input" in fields) and not is_cut
    given = fields.get("input")
    return ParsedTask(
        number,
        fields.get("instruction"),
        "" if given and given.lower().rstrip(".") == NO_INPUT else given,
        fields.get("output"),
        complete,
    )
