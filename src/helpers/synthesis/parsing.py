"""From a teacher's reply to numbered tasks, complete or not, in the forms in which models write lists."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Iterator
from typing import Any

from helpers.jsonl import scrub_text
from helpers.provider.text_cleaning import cut_reasoning
from helpers.synthesis.label_parsing import read_label

FIRST_NUMBER = 4  # of a task without one: what the request asks to go on with
MARKS = r"[ \t]*(?:>[ \t]*)?(?:[-*+•][ \t]+)?(?:#{1,6}[ \t]*)?[*_]{0,3}"
NUMBER = r"(?:(?:task|item|example)[ \t]*)?[#(]?(?P<number>\d{1,3})(?:[.):]|[ \t]*[-–])?[*_]{0,3}[ \t]*"
FIELD = (
    r"[*_]{0,3}(?P<field>instruction|input|output)(?:[ \t]*\#?(?P<after>\d{1,3}))?[*_]{0,3}"
    r"[ \t]*:[*_]{0,3}[ \t]*"
)
HEADING = re.compile(rf"^{MARKS}(?:{NUMBER})?{FIELD}", re.MULTILINE | re.IGNORECASE)
TASK_LINE = re.compile(
    rf"{MARKS}(?:(?:task|item|example)[ \t]*\#?(?P<named>\d{{1,3}})\b.*|"
    r"[#(]?(?P<bare>\d{1,3})[.):][*_]*)[ \t]*",
    re.IGNORECASE,
)
Heading = tuple[re.Match[str], int | None, str]  # with number and field
FIELDS = ("instruction", "input", "output")
FOLLOWED_BY = {field: FIELDS[index:] for index, field in enumerate(FIELDS)}
LONGEST_NO_INPUT = 60  # characters
FENCE = re.compile(r"[ \t]*(?:```|~~~)[\w-]*[ \t]*")
PLAIN_FENCE = re.compile(r"\A(```|~~~)(?:text|markdown|md|plaintext)?\n(.*)\n\1\Z", re.DOTALL)
RULE = re.compile(r"[ \t]*(?:[-*_=][ \t]*){3,}")
AFTERWORD = re.compile(r"\n[ \t]*\n[ \t]*(?:[-*_][ \t]*){3,}\n\s*(?:(?!\n[ \t]*\n).){1,400}\Z", re.DOTALL)
TITLE = re.compile(r"[ \t]*#{1,6}[ \t].*")
ABOUT_TASKS = "tasks?|lists?|items|examples?|instructions|anything else"
CLOSING = re.compile(
    r"\n[ \t]*(?:(?:[-*_=][ \t]*){3,})?\n[ \t]*(?:\*\*|_|\()?"
    rf"(?:(?=[^\n]*\b(?:{ABOUT_TASKS}|more|adjust\w*|changes)\b)"
    r"(?:(?:please )?let me know|i hope|hope th|feel free|would you like|do you want)|"
    rf"(?=[^\n]*\b(?:{ABOUT_TASKS})\b)"
    r"(?:if you(?:'d| would| want| need)|"
    r"th(?:is|ese|at) (?:\w+ )?(?:\w+ )?(?:completes?|concludes?|cover|are|list|makes?)|"
    r"(?:all|the) (?:\w+ )?(?:tasks|list)|(?:note|end)\b))[^\n]*\s*\Z",
    re.IGNORECASE,
)
NO_INPUT = re.compile(
    r"[\W_]*(?:no ?input(?: (?:is )?(?:needed|required|provided|given|necessary))?|"
    r"none(?: (?:needed|required|provided))?|n/?a|not applicable|null|nil|empty)?[\W_]*",
    re.IGNORECASE,
)


@dataclasses.dataclass(frozen=True)
class ParsedTask:
    """A task of a reply; a field that the reply lacks is None, `is_complete` says whether anything is
    missing or broken off, and `is_trimmed` whether anything that belongs to no field was cut away.
    """

    number: int
    instruction: str | None
    input: str | None
    output: str | None
    is_complete: bool
    is_trimmed: bool = False


def parse_reply(text: str, finish_reason: str = "stop") -> list[ParsedTask]:
    """Split a reply into its tasks, in order.

    A field runs from its heading (`7. Input:`) to the next one. A task is complete with all three fields
    filled; the last task of a reply that did not end by itself is not, whatever it holds. A number that comes
    twice starts a second task. Headings may be bold, indented, in a list or a title, and numbered in other
    ways (`7)`, `Task 7:`); a task's fields may go without the number where it has no numbered ones. Thinking
    blocks, rules, titles, fences around the list and closing words are not part of a field.
    """
    numbered = list(_split_tasks(cut_reasoning(text).replace("\r\n", "\n")))
    tasks = []
    for index, (number, fields) in enumerate(numbered):
        following, next_fields = numbered[index + 1] if index + 1 < len(numbered) else (None, {})
        is_torn = following is not None and "instruction" not in next_fields  # by an item like a heading
        cleaned = {name: _clean(value, following) for name, value in fields.items()}
        is_trimmed = any(cleaned[name] != fields[name].strip() for name in fields)
        is_broken_off = is_torn or (finish_reason != "stop" and following is None)
        tasks.append(_build_task(number, cleaned, is_broken_off, is_trimmed))
    return tasks


def _split_tasks(text: str) -> Iterator[tuple[int, dict[str, str]]]:
    """Yield number and fields of each task."""
    headings = _find_headings(text)
    ends = [*(start for start, *_ in headings[1:]), len(text)]
    task: tuple[int, dict[str, str]] | None = None
    for (_, start, number, field), end in zip(headings, ends, strict=False):
        if task is None or task[0] != number or field in task[1] or field == "instruction":
            if task is not None:
                yield task
            task = (number, {})
        task[1][field] = text[start:end]
    if task is not None:
        yield task


def _find_headings(text: str) -> list[tuple[int, int, int, str]]:
    """Return start, end, number and field of each heading; those without a number take it from the task
    around them, unless that has a numbered one for the field, in which case they are a part of its text.
    """
    found = [(match, *_read_heading(match)) for match in HEADING.finditer(text)]
    has_numbers = any(number and field == "instruction" for _, number, field in found)
    if has_numbers:
        found = _drop_list_items(found)
    numbered = {(number, field) for _, number, field in found if number}
    headings: list[tuple[int, int, int, str]] = []
    number, seen = FIRST_NUMBER - 1, set(FIELDS)
    for match, given, field in found:
        begins = field == "instruction" if given is None else given != number or field in seen
        start = match.start()
        if given is not None:
            number = given
        elif begins and not has_numbers:
            start, number = _find_announcement(text[:start], number + 1)
        elif begins or (number, field) in numbered or seen & set(FOLLOWED_BY[field]):
            continue  # a line of the text that looks like a heading
        seen = {field} if begins else seen | {field}
        headings.append((start, match.end(), number, field))
    return headings


def _drop_list_items(found: list[Heading]) -> list[Heading]:
    """Leave out items of lists within the text, such as `2. Output: 1,650 mL`, of a reply that numbers its
    instructions: there an output bears the number of its task, and no input goes back.
    """
    kept: list[Heading] = []
    own: int | None = None  # number of the task around the heading
    for heading in found:
        _, number, field = heading
        goes_on = own is None or number is None or number == own or (field == "input" and number > own)
        if goes_on or field == "instruction":
            own = own if number is None else number
            kept.append(heading)
    return kept


def _read_heading(match: re.Match[str]) -> tuple[int | None, str]:
    number = match["number"] or match["after"]
    return int(number) if number else None, match["field"].lower()


def _find_announcement(text: str, expected: int) -> tuple[int, int]:
    """Return where the last line of a text begins if it announces a task, the text's end if not, and the
    number of the task; a bare number counts only where it is the expected one.
    """
    stripped = text.rstrip()
    start = stripped.rfind("\n") + 1
    match = TASK_LINE.fullmatch(stripped, start)
    if match and (match["named"] or int(match["bare"]) == expected):
        return start, int(match["named"] or expected)
    return len(text), expected


def _clean(value: str, following: int | None) -> str:
    """Return the text of a field without what stands around it.

    Args:
        value: the text up to the next heading.
        following: number of the next task; None for the last one, after which the teacher may say goodbye.
    """
    value = value.strip()
    if following is None:
        value = CLOSING.sub("", AFTERWORD.sub("", value))
    lines = value.split("\n")
    while lines and _is_around(lines, following):
        lines.pop()
    value = "\n".join(lines).strip()
    fenced = PLAIN_FENCE.match(value)
    return fenced[2].strip() if fenced and fenced[1] not in fenced[2] else value


def _is_around(lines: list[str], following: int | None) -> bool:
    """Say whether the last line of a field is blank, a rule, a title, the name of the next task, or a fence
    that closes nothing.
    """
    last = lines[-1]
    if FENCE.fullmatch(last):
        before = next((line for line in reversed(lines[:-1]) if line.strip()), "")
        return bool(FENCE.fullmatch(before)) or sum(bool(FENCE.fullmatch(line)) for line in lines) % 2 == 1
    if not last.strip():
        return True
    announced = TASK_LINE.fullmatch(last)
    is_announced = announced and announced["named"] and int(announced["named"]) == following
    return len(lines) > 1 and bool(RULE.fullmatch(last) or TITLE.fullmatch(last) or is_announced)


def parse_json_reply(text: str, first_number: int) -> tuple[list[ParsedTask], dict[int, str]]:
    """Return the tasks of a reply in JSON, and their categories by number; where the reply breaks off, the
    tasks before the break.

    Args:
        text: an object whose `tasks` is a list of objects with instruction, input, output and category.
        first_number: number of the first task.
    """
    tasks, labels = [], {}
    for number, value in enumerate(_read_objects(cut_reasoning(text)), first_number):
        named = {str(name).lower(): value for name, value in value.items()}
        if "input" in named and named["input"] is None:
            named["input"] = ""
        fields = {
            name: scrub_text(named[name]).strip() for name in FIELDS if isinstance(named.get(name), str)
        }
        tasks.append(_build_task(number, fields, is_cut=False))
        if label := read_label(named.get("category")):
            labels[number] = label
    return tasks, labels


def _read_objects(text: str) -> list[dict[str, Any]]:
    decoder, objects, position = json.JSONDecoder(), [], text.find("[") + 1
    while position and (start := text.find("{", position)) >= 0:
        try:
            value, position = decoder.raw_decode(text, start)
        except (ValueError, RecursionError):
            break
        objects.append(value)
    return objects


def _build_task(number: int, fields: dict[str, str], is_cut: bool, is_trimmed: bool = False) -> ParsedTask:
    complete = bool(fields.get("instruction") and fields.get("output") and "input" in fields) and not is_cut
    given = fields.get("input")
    return ParsedTask(
        number,
        fields.get("instruction"),
        "" if given and len(given) < LONGEST_NO_INPUT and NO_INPUT.fullmatch(given) else given,
        fields.get("output"),
        complete,
        is_trimmed,
    )
