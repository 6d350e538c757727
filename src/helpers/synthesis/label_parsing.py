"""From a teacher's reply to the categories of tasks, in the shapes in which models give them."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from typing import Any

from helpers.provider.text_cleaning import cut_reasoning

NAMES = {
    "qa": "qa",
    "question answering": "qa",
    "question-answering": "qa",
    "ie": "ie",
    "information extraction": "ie",
    "extraction": "ie",
    "gen": "gen",
    "generation": "gen",
    "text generation": "gen",
    "other": "other",
    "others": "other",
}
NAME = "|".join(sorted(NAMES, key=len, reverse=True))
KEY = re.compile(r"[\W_]*(?:task|item|no)?[\W_]*(\d{1,3})[\W_]*", re.IGNORECASE)
LINE = re.compile(
    rf"(?:^|[,;])[^\w\n]{{0,9}}(?:(?:task|item|no)\b[^\w\n]{{0,9}})?(?P<number>\d{{1,3}})\b[^\w\n]{{1,9}}"
    rf"(?:category[^\w\n]{{1,9}})?(?P<label>{NAME})(?=[^\w\n]{{0,9}}$|[ \t]?[(,;:]|[ \t][–—-][ \t])",
    re.IGNORECASE | re.MULTILINE,
)
NUMBER_FIELDS = ("number", "task", "id", "no", "index", "n")
LABEL_FIELDS = ("category", "label", "class", "type")
DEPTH = 4


def parse_labels(text: str, numbers: Sequence[int] = ()) -> dict[int, str]:
    """Return the categories of a reply by number of the task; what is not a known category is left out.

    Four shapes are read: an object that maps numbers to categories (as asked), alone or within another one; a
    list of objects that hold both; lines such as `4. qa`; and a list of bare categories, one for each task.

    Args:
        text: the reply.
        numbers: of the tasks that were shown, in their order.
    """
    text = cut_reasoning(text)
    if len(numbers) == 1 and (label := read_label(text)):
        return {numbers[0]: label}
    read = (_read(value, numbers, DEPTH) for value in _find_json(text))
    lines = {int(match["number"]): NAMES[match["label"].lower()] for match in LINE.finditer(text)}
    return _match_numbers(next(filter(None, read), lines), numbers)


def _match_numbers(labels: dict[int, str], numbers: Sequence[int]) -> dict[int, str]:
    """Return labels by the numbers that the tasks were shown with, also where a reply has counted all of them
    anew from 1; none where it has counted in a way that cannot be told.
    """
    if not labels or not numbers or min(labels) >= min(numbers) or set(numbers) <= set(labels):
        return labels
    is_whole = sorted(labels) == list(range(1, len(numbers) + 1))
    return {number: labels[place] for place, number in enumerate(numbers, 1)} if is_whole else {}


def read_label(value: Any) -> str | None:
    """Return the category that a value names, None if it names none."""
    if isinstance(value, list) and len(value) == 1:
        value = value[0]
    return NAMES.get(value.strip().strip(".*_`'\"").lower()) if isinstance(value, str) else None


def _find_json(text: str) -> Iterator[Any]:
    """Yield the JSON values of a reply, other words around them aside."""
    for opening, closing in sorted(
        ("{}", "[]"), key=lambda pair: (text.find(pair[0]) < 0, text.find(pair[0]))
    ):
        try:
            yield json.loads(text[text.find(opening) : text.rfind(closing) + 1])
        except (ValueError, RecursionError):
            continue


def _read(value: Any, numbers: Sequence[int], depth: int) -> dict[int, str]:
    if isinstance(value, list) and depth:
        return _read_list(value, numbers, depth - 1)
    if not isinstance(value, dict) or not depth:
        return {}
    labels = {
        int(key[1]): label
        for name, given in value.items()
        if (key := KEY.fullmatch(name))
        and (label := read_label(given) or (_read_entry(given) if isinstance(given, dict) else None))
    }
    inner = (_read(given, numbers, depth - 1) for given in value.values() if isinstance(given, list | dict))
    return labels or next(filter(None, inner), {})


def _read_list(entries: list[Any], numbers: Sequence[int], depth: int) -> dict[int, str]:
    labels = {}
    for entry in entries:
        named = entry if isinstance(entry, dict) else {}
        number = next((named[name] for name in NUMBER_FIELDS if name in named), "")
        key = KEY.fullmatch(str(number)) if isinstance(number, int | str) else None
        if key and (label := _read_entry(entry)):
            labels[int(key[1])] = label
        elif not key:
            labels |= _read(named, (), depth)
    bare = [read_label(entry) for entry in entries]
    if not labels and len(bare) == len(numbers):
        labels = {number: label for number, label in zip(numbers, bare, strict=True) if label}
    return labels


def _read_entry(entry: dict[str, Any]) -> str | None:
    return next(filter(None, (read_label(entry.get(name)) for name in LABEL_FIELDS)), None)
