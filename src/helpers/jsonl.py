"""JSONL: rows checked against a schema, files that the study wrote itself, files of other people; a bad row
is named by file and line.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from helpers.errors import StudyError
from helpers.paths import shown

AnyRow = TypeVar("AnyRow", bound=BaseModel)


def read_rows(path: Path, schema: type[AnyRow]) -> list[AnyRow]:
    """Read a JSONL file into rows of `schema`.

    Raises:
        StudyError: the file is missing or empty, or a row does not fit; names the file, the line, the field
            and what was found.
    """
    if not path.is_file():
        raise StudyError(
            f"No file at {shown(path)}. Check the path; the project's own files come with `git checkout -- "
            f"{shown(path)}`."
        )
    rows: list[AnyRow] = []
    lines_by_id: dict[str, int] = {}
    for number, line in enumerate(_read_lines(path), 1):
        place = f"{shown(path)}:{number}"
        try:
            row = schema.model_validate_json(line)
        except ValidationError as error:
            raise StudyError(_explain(error, place)) from None
        row_id = getattr(row, "id", None) or str(getattr(row, "request", number))
        if row_id in lines_by_id:
            raise StudyError(
                f"`id` must be unique, but {row_id!r} was found twice ({place} and line "
                f"{lines_by_id[row_id]}). Rename one."
            )
        lines_by_id[row_id] = number
        rows.append(row)
    if not rows:
        raise StudyError(f"{shown(path)} has no rows. Restore the file or name another one.")
    return rows


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
    """
    data = path.read_bytes() if path.is_file() else b""
    whole = data[: data.rfind(b"\n") + 1]
    return [json.loads(line) for line in whole.splitlines()], len(whole)


def read_any_lines(path: Path) -> Iterator[Any]:
    """Yield the values of a JSONL file that other people wrote, empty lines aside.

    Raises:
        StudyError: the file is missing or is not UTF-8, or a line is no JSON; names file and line.
    """
    if not path.is_file():
        raise StudyError(f"No file at {shown(path)}. Name a JSONL file.")
    for number, line in enumerate(_read_lines(path), 1):
        if line.strip():
            try:
                yield json.loads(line)
            except (ValueError, RecursionError) as error:
                raise StudyError(f"A row must be JSON, but {error} ({shown(path)}:{number}).") from None


def _read_lines(path: Path) -> list[str]:
    """Split at line feeds alone: texts of models may hold other characters that count as the end of a line
    elsewhere.
    """
    try:
        text = path.read_bytes().decode("utf-8")
    except UnicodeDecodeError as error:
        line = path.read_bytes()[: error.start].count(b"\n") + 1
        raise StudyError(
            f"A row must be UTF-8, but the byte {error.object[error.start]:#x} was found "
            f"({shown(path)}:{line}). Save it as UTF-8."
        ) from None
    return text.removesuffix("\n").split("\n") if text else []


def _explain(error: ValidationError, place: str) -> str:
    first = error.errors()[0]
    field = ".".join(map(str, first["loc"])) or "the row"
    found = (
        "" if first["type"] in ("missing", "json_invalid") else f", but {_short(first['input'])} was found"
    )
    more = f" ({error.error_count() - 1} more in this row)" if error.error_count() > 1 else ""
    return (
        f"`{field}`: {first['msg']}{found} ({place}).{more} Fix that line; {error.title} in "
        "src/helpers/records.py lists the fields."
    )


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."


def dump_row(row: BaseModel | dict) -> str:
    """Return a row as one line of JSON, letters kept as they are."""
    data = row.model_dump(mode="json") if isinstance(row, BaseModel) else row
    return json.dumps(data, ensure_ascii=False) + "\n"


def dump_rows(rows: Iterable[BaseModel | dict]) -> str:
    """Return rows as the text of a JSONL file."""
    return "".join(map(dump_row, rows))
