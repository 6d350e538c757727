"""Files of JSON rows: rows checked against a schema, files that the study wrote itself, files of other
people; a bad row is named by file and line.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from helpers.errors import StudyError
from helpers.paths import shown
from helpers.settings import is_printable, shorten

AnyRow = TypeVar("AnyRow", bound=BaseModel)


def read_rows(path: Path, schema: type[AnyRow]) -> list[AnyRow]:
    """Read a file of JSON rows, as `read_values` takes it, into rows of `schema`; a row that needs an id and
    has none gets one of its text.

    Raises:
        StudyError: the file is missing or empty, or a row does not fit; names the file, the line, the field
            and what was found.
    """
    rows = list(read_objects(path))
    if "id" in schema.model_fields:
        rows = assign_ids(rows)
    elif "request" in schema.model_fields:
        _check_unique("request", [(location, row.get("request")) for location, row in rows])
    return [validate_row(location, row, schema) for location, row in rows]


def scrub_text(text: str) -> str:
    """Return a text that can be written as UTF-8: half a surrogate pair, which JSON of a model may hold,
    becomes a question mark.
    """
    return text.encode("utf-8", "replace").decode()


def find_json_object(text: str) -> dict[str, Any]:
    """Return the one JSON object that a model's reply holds, other words around it aside; an empty one where
    there is none.
    """
    try:
        return json.loads(text[text.find("{") : text.rfind("}") + 1])
    except (ValueError, RecursionError):
        return {}


def read_json_lines(path: Path) -> list[dict[str, Any]]:
    """Read a JSONL file that the study has written itself."""
    return [json.loads(line) for line in _read_lines(path)]


def read_whole_lines(path: Path) -> tuple[list[Any], int]:
    """Read a JSONL file that grows line by line: its rows and the bytes that they take, without a last line
    that a kill broke off.

    Raises:
        StudyError: another line is damaged; names file and line.
    """
    data = path.read_bytes() if path.is_file() else b""
    whole = data[: data.rfind(b"\n") + 1]
    rows = []
    for number, line in enumerate(whole.splitlines(), 1):
        try:
            rows.append(json.loads(line))
        except (ValueError, RecursionError):
            raise StudyError(f"Line {number} of {shown(path)} is damaged.") from None
    return rows, len(whole)


def read_values(path: Path) -> Iterator[tuple[str, Any]]:
    """Yield location and value of each row of a file of JSON lines, or of one JSON array, that other people
    wrote.

    Line ends, a mark of UTF-8 at the beginning and empty lines do not matter; a number that is none (NaN,
    Infinity) becomes null, half a surrogate pair a question mark.

    Raises:
        StudyError: the file is missing or is not UTF-8, or a row is not JSON; names file and line.
    """
    if not path.is_file():
        raise StudyError(
            f"No file at {shown(path)}. Check the path; the project's own files come with `git checkout -- "
            f"{shown(path)}`."
        )
    text = _read_text(path)
    if text.lstrip().startswith("["):
        try:
            whole = _parse(text)
        except StudyError:
            whole = None  # not one array but a list per line, or damaged
        if isinstance(whole, list):
            yield from ((f"row {number} of {shown(path)}", value) for number, value in enumerate(whole, 1))
            return
    for number, line in enumerate(text.split("\n"), 1):
        if line.strip():
            try:
                value = _parse(line)
            except StudyError as error:
                raise StudyError(f"A row must be JSON, but {error} ({shown(path)}:{number}).") from None
            yield f"{shown(path)}:{number}", value


def read_objects(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield location and fields of each row of a file, as `read_values` takes it.

    Raises:
        StudyError: besides, a row is not an object, or the file has no rows.
    """
    location = ""
    for location, row in read_values(path):
        if not isinstance(row, dict):
            raise StudyError(f"A row must be a JSON object, but {shorten(row)} was found ({location}).")
        yield location, row
    if not location:
        raise StudyError(f"{shown(path)} has no rows. Restore the file or name another one.")


def _parse(text: str) -> Any:
    """Return the value of a JSON text, fit to be written again.

    Raises:
        StudyError: it is none; says why.
    """
    try:
        value = json.loads(text, parse_constant=lambda _: None, parse_float=_finite)
        if "\\ud" in text.lower():
            value = json.loads(scrub_text(json.dumps(value, ensure_ascii=False)))
    except (ValueError, RecursionError) as error:
        raise StudyError(str(error).splitlines()[0]) from None
    return value


def _finite(number: str) -> float | None:
    value = float(number)
    return value if math.isfinite(value) else None


def assign_ids(rows: Sequence[tuple[str, dict[str, Any]]]) -> list[tuple[str, dict[str, Any]]]:
    """Return rows with their locations and an id each: their own where it is a text or a whole number, else
    one made of their text, so that it does not depend on the other rows; the second of equal rows gets a 2
    behind it.

    Raises:
        StudyError: an id of their own comes twice.
    """
    own = [_own_id(row.get("id")) for _, row in rows]
    _check_unique("id", [(location, name) for (location, _), name in zip(rows, own, strict=True)])
    taken, numbers, named = set(own), Counter[str](), []
    for name, (location, row) in zip(own, rows, strict=True):
        new = name or _make_id(row, taken, numbers)
        taken.add(new)
        named.append((location, {"id": new} | row | {"id": new}))
    return named


def _check_unique(field: str, values: Iterable[tuple[str, Any]]) -> None:
    locations: dict[Any, str] = {}
    for location, value in values:
        if value is None:
            continue
        key = json.dumps(value)
        if key in locations:
            raise StudyError(
                f"`{field}` must be unique, but {shorten(value)} was found twice ({location} and "
                f"{locations[key]}). Rename one, or leave the field out in all rows: ids are then made of "
                "their texts."
            )
        locations[key] = location


def _own_id(value: Any) -> str | None:
    if isinstance(value, float) and value.is_integer():
        value = int(value)  # as pandas writes a column of numbers that has gaps
    is_name = isinstance(value, str | int) and not isinstance(value, bool)
    line = "".join(letter if is_printable(letter) else " " for letter in str(value))  # ids are table cells
    return line.strip() or None if is_name else None


def _make_id(row: dict[str, Any], taken: set[str | None], numbers: Counter[str]) -> str:
    """Return an id made of a row's text that no other row has; `numbers` says how far earlier equal rows have
    counted.
    """
    texts = [row.get(name) or "" for name in ("instruction", "input", "output")]
    text = texts if any(texts) else {name: value for name, value in row.items() if name != "id"}
    name = f"row-{hashlib.sha256(json.dumps(text, sort_keys=True).encode()).hexdigest()[:12]}"
    while True:
        numbers[name] += 1
        new = name if numbers[name] == 1 else f"{name}-{numbers[name]}"
        if new not in taken:
            return new


def validate_row(location: str, row: dict[str, Any], schema: type[AnyRow]) -> AnyRow:
    """Return the fields of a row as a row of `schema`.

    Raises:
        StudyError: they do not fit; names the location, the field and what was found.
    """
    try:
        return schema.model_validate(row)
    except ValidationError as error:
        raise StudyError(_explain(error, location)) from None


def _read_lines(path: Path) -> list[str]:
    """Split at line feeds alone: texts of models may hold other characters that count as the end of a line
    elsewhere.
    """
    text = _read_text(path)
    return text.removesuffix("\n").split("\n") if text else []


def _read_text(path: Path) -> str:
    data = path.read_bytes()
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise StudyError(
            f"A row must be UTF-8, but the byte {data[error.start]:#x} was found ({shown(path)}:{line}). "
            "Save it as UTF-8."
        ) from None


def _explain(error: ValidationError, location: str) -> str:
    first = error.errors()[0]
    field = ".".join(map(str, first["loc"])) or "the row"
    found = (
        "" if first["type"] in ("missing", "json_invalid") else f", but {shorten(first['input'])} was found"
    )
    more = f" ({error.error_count() - 1} more in this row)" if error.error_count() > 1 else ""
    return (
        f"`{field}`: {first['msg']}{found} ({location}).{more} Fix that line; {error.title} in "
        "src/helpers/records.py lists the fields."
    )


def dump_row(row: BaseModel | dict) -> str:
    """Return a row as one line of JSON, characters kept as they are."""
    data = row.model_dump(mode="json") if isinstance(row, BaseModel) else row
    return json.dumps(data, ensure_ascii=False) + "\n"


def dump_rows(rows: Iterable[BaseModel | dict]) -> str:
    """Return rows as the text of a JSONL file."""
    return "".join(map(dump_row, rows))
