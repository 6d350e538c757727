"""From a teacher's reply to numbered tasks, complete or not."""

from __future__ import annotations

import dataclasses
import re

FIELD = re.compile(r"^(?P<number>\d{1,3})\.[ \t]*(?P<field>Instruction|Input|Output):[ \t]*", re.MULTILINE)
NO_INPUT = "<noinput>"


@dataclasses.dataclass(frozen=True)
class ParsedTask:
    """An item of a reply; a field that the reply lacks is None, and `is_complete` says whether anything is missing or broken off."""

    number: int
    instruction: str | None
    input: str | None
    output: str | None
    is_complete: bool


def parse_reply(text: str, finish_reason: str = "stop") -> list[ParsedTask]:
    """Split a reply into its items, in order.

    A field runs from its heading (`7. Input:`) to the next one. An item is complete with all three fields filled; the last item of a reply that
    did not end by itself is not, whatever it holds. A number that comes twice starts a second item.
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
    return [_build_task(number, fields, is_cut=cut and index == len(items) - 1) for index, (number, fields) in enumerate(items)]


def _build_task(number: int, fields: dict[str, str], is_cut: bool) -> ParsedTask:
    complete = bool(fields.get("instruction") and fields.get("output") and "input" in fields) and not is_cut
    given = fields.get("input")
    return ParsedTask(number, fields.get("instruction"), "" if given == NO_INPUT else given, fields.get("output"), complete)
