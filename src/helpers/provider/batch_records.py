"""Batches on record: what was sent in each, on disk until its answers are collected."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated

from pydantic import ConfigDict, Field, ValidationError

from helpers.provider.journal import Body
from helpers.records import StrictRecord


class BatchRecord(StrictRecord):
    """A batch: its name at the provider, None until that is known, and the ledger's reservation for each
    request by the request's name in the journal. The requests themselves lie in the file of the same name in
    `.jsonl`.
    """

    model_config = ConfigDict(validate_by_name=True, serialize_by_alias=True)

    id: str | None
    reservations: Annotated[dict[str, str], Field(alias="tickets")]  # so files on disk name them


def list_records(folder: Path) -> list[Path]:
    """Return the records that lie beside the replies in a journal's folder."""
    return sorted((folder / "batches").glob("*.json"))


def read_record(path: Path) -> BatchRecord | None:
    """Return a record; None where it is damaged."""
    try:
        return BatchRecord.model_validate_json(path.read_bytes())
    except ValidationError:
        return None


def list_batched(folder: Path, reserved: Iterable[str]) -> set[str]:
    """Return the names of the requests that batches on record hold, of those that the ledger reserves for
    batches: all of these where a record is damaged.
    """
    records = [read_record(path) for path in list_records(folder)]
    held = {name for record in records if record for name in record.reservations}
    return set(reserved) if None in records else held.intersection(reserved)


def read_sent(path: Path) -> dict[str, Body]:
    """Return the bodies that were sent for a record, by name; none where one of them cannot be read."""
    file = path.with_suffix(".jsonl")
    try:
        lines = [json.loads(line) for line in file.read_bytes().splitlines()] if file.is_file() else []
        bodies = {line["custom_id"]: line["body"] for line in lines}
    except (ValueError, RecursionError, KeyError, TypeError):
        return {}
    is_whole = all(isinstance(name, str) and isinstance(body, dict) for name, body in bodies.items())
    return bodies if is_whole else {}


def remove_record(path: Path) -> None:
    """Forget a batch that is settled, or that was never sent."""
    path.unlink()
    path.with_suffix(".jsonl").unlink(missing_ok=True)
