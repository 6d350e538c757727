"""Items that are not embedded: the user's own files, files of the public releases, the hub."""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from helpers.errors import StudyError
from helpers.evaluation.converters import read_bio, read_brat
from helpers.evaluation.sources import Convert, Source
from helpers.jsonl import read_objects, read_rows
from helpers.models.hub import check_hub_address, first_line
from helpers.paths import shown
from helpers.records import BenchmarkItem

if TYPE_CHECKING:
    from helpers.evaluation.task_prompts import Task

RawItem = dict[str, Any]
# of another kind of file
READING_ERRORS = (KeyError, ValueError, TypeError, AttributeError, IndexError, RecursionError)


def load_rows(task: Task, data: Path | None) -> list[BenchmarkItem]:
    """Return a task's rows in the embedded format.

    Args:
        task: the task.
        data: folder with `<task>.jsonl` in the embedded format, or with files of the public release; None for
            the hub.

    Raises:
        StudyError: there is no such file or hub copy, or no row of it can be used; says what would do.
    """
    if data is None:
        return build_items(task, read_hub(task))
    own = data / f"{task.name}.jsonl"
    if own.is_file() and (task.source is None or is_embedded(own, task)):
        return read_rows(own, task.schema)
    found = list(read_release(task.source, data)) if task.source else []
    if not found:
        names = [name for split in task.source.files.values() for name in split] if task.source else []
        release = (
            f", or files of the public release ({', '.join(names)}; {task.source.url})" if task.source else ""
        )
        raise StudyError(
            f"Task {task.name!r} needs {shown(own)} in the embedded format ({task.schema.__name__} in "
            f"src/helpers/records.py){release}."
        )
    return build_items(task, found)


def is_embedded(path: Path, task: Task) -> bool:
    """Say whether a file is to be read as the embedded format: its first row fits, or does not fit the public
    release either.
    """
    first = next(read_objects(path))[1]
    try:
        task.schema.model_validate(first | {"id": "x"})
    except ValidationError:
        return not _converts(task.source.convert, first)
    return True


def _converts(convert: Convert, row: RawItem) -> bool:
    try:
        convert(row)
    except READING_ERRORS:
        return False
    return True


def build_items(task: Task, rows: Iterable[RawItem]) -> list[BenchmarkItem]:
    """Return the items of converted rows, each id once a split; further rows of an id, and rows that break a
    rule of the schema (options must differ), are left out with a warning that counts them.
    """
    items: dict[tuple[str, str], BenchmarkItem] = {}
    broken: list[str] = []
    again: list[str] = []
    for row in rows:
        try:
            item = task.schema.model_validate(row)
        except ValidationError as error:
            broken.append(f"{row['id']}: {error.errors()[0]['msg']}")
            continue
        if items.setdefault((item.split, item.id), item) is not item:
            again.append(f"{item.id}: an earlier row of its split has this id")
    if broken and not items:
        raise StudyError(
            f"No row of {task.name!r} can be used; the first one is {broken[0]} Check that the file is the "
            "set's own."
        )
    n_rows = len(items) + len(broken) + len(again)
    for left_out in filter(None, (broken, again)):
        warnings.warn(
            f"{task.name}: {len(left_out)} of {n_rows} rows are left out, first {left_out[0]}", stacklevel=2
        )
    return list(items.values())


def find_release(source: Source, data: Path) -> dict[str, list[Path]]:
    """Return the first known file of each split (several for a pattern) that lies in a folder
    or one below.

    Raises:
        StudyError: files of such a name lie in several folders; those of another set could be among them.
    """
    release = {
        split: next(
            (found for name in names if (found := sorted([*data.glob(name), *data.glob(f"*/{name}")]))), []
        )
        for split, names in source.files.items()
    }
    for found in release.values():
        folders = sorted({path.parent for path in found})
        if len(folders) > 1:
            raise StudyError(
                f"Files of one set must lie in one folder, but {found[0].name} and the like were found in "
                f"{shown(folders[0])} and in {shown(folders[1])}. Name the folder of the set as `data`."
            )
    return release


def read_release(source: Source, data: Path) -> Iterator[RawItem]:
    """Yield the converted rows of a release's files in a folder."""
    for split, paths in find_release(source, data).items():
        for path in paths:
            try:
                rows = list(read_file(path))
            except READING_ERRORS as error:
                raise StudyError(
                    f"{shown(path)} cannot be read as the set's file: {describe(error)}. Take it "
                    f"anew from {source.url}, or rename it if it is another file."
                ) from None
            yield from convert_rows(
                rows, source.convert_file.get(path.name, source.convert), split, shown(path)
            )


def describe(error: Exception) -> str:
    """Return the kind of an error and the first line of its message, at most 120 characters."""
    return f"{type(error).__name__}: {error}".splitlines()[0][:120]


def convert_rows(rows: Iterable[RawItem], convert: Convert, split: str, location: str) -> Iterator[RawItem]:
    """Yield the items of raw rows; those that name no split of their own get `split`.

    Raises:
        StudyError: a row lacks a column.
    """
    for number, row in enumerate(rows, 1):
        if not isinstance(row, Mapping):
            raise StudyError(
                f"Row {number} of {location} must map columns to values, but {str(row)[:40]!r} was found."
            )
        try:
            found = convert(row)
        except READING_ERRORS as error:
            raise StudyError(
                f"Row {number} of {location} does not have the columns expected ({describe(error)}). It has "
                f"{', '.join(map(str, row))[:200]}."
            ) from None
        yield from ({"split": split} | item for item in found)


def read_file(path: Path) -> Iterator[RawItem]:
    """Yield the rows of a file by its ending: JSON lines, a JSON list or mapping by id, CSV, tokens with
    tags, brat.
    """
    text = path.read_text(encoding="utf-8-sig")
    if path.suffix == ".csv":
        import pandas as pd

        yield from pd.read_csv(path, dtype=str, keep_default_na=False).to_dict("records")
    elif path.suffix == ".tsv":
        yield from read_bio(text)
    elif path.suffix == ".ann":
        yield read_brat(path.stem, path.with_suffix(".txt").read_text(encoding="utf-8"), text)
    elif path.suffix == ".json":
        yield from read_json(text)
    else:
        yield from (row for _, row in read_objects(path))


def read_json(text: str) -> Iterator[RawItem]:
    """Yield the rows of a JSON file: a list, a mapping from id to row, or one row per line."""
    try:
        whole = json.loads(text)
    except json.JSONDecodeError as error:
        if error.msg != "Extra data":  # of a second row
            raise
        whole = [json.loads(line) for line in text.split("\n") if line.strip()]
    if isinstance(whole, dict):
        is_mapping = all(isinstance(row, dict) for row in whole.values())
        whole = [{"id": key} | row for key, row in whole.items()] if is_mapping else [whole]
    yield from whole


def read_hub(task: Task) -> Iterator[RawItem]:
    """Yield the converted rows of a public set from the hub or its cache.

    Raises:
        StudyError: the hub has no copy, or cannot be reached.
    """
    source = task.source
    if source is None or not source.hub:
        raise StudyError(
            f"Task {task.name!r} cannot be downloaded. Name a folder that holds {task.name}.jsonl in the "
            "embedded format as `data`."
        )
    from datasets import load_dataset

    check_hub_address()
    for split, theirs in source.splits.items():
        try:
            rows = load_dataset(**source.hub, split=theirs)
        except (
            Exception
        ) as error:  # the library raises many kinds where network, access or the set itself is missing
            remedy = f"Go online, or name a folder with its files as `data` ({source.url})."
            raise StudyError(
                f"{task.name!r} could not be loaded from the hub ({source.hub['path']}): "
                f"{first_line(error)} {remedy}"
            ) from None
        yield from convert_rows(rows, source.convert, split, source.hub["path"])
