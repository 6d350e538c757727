"""The public rows of the paper's data that carry a category: 5,541 of 25,005, from a project that sorted some
of them, and 1,616 without one, held out.

Two public repositories hold parts of the rows. The first one keeps a file a category (TASA, by the names qa,
ie and tg); the second one (Data-Whisperer) sorts nothing, so that its own rows serve as a test of the same
kind. Nothing of them is stored in this project.
"""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from helpers.errors import StudyError
from helpers.jsonl import dump_rows, read_any_lines, scrub_text
from helpers.paths import shown
from helpers.records import Instruction
from helpers.store import Run, run_stage, sha256_file, sha256_text, write_text

PUBLIC = "public"
MIRROR = "bioinstruct_public_subset.jsonl"
TRAINING, HELD_OUT = "instructions.jsonl", "held_out.jsonl"
VERSION = 1
REPOSITORIES = {
    "TASA": "https://raw.githubusercontent.com/tirant35/TASA/e3463092ba017596b8d40546cb4e490efc99b1e7/",
    "Data-Whisperer": "https://raw.githubusercontent.com/gszfwsb/Data-Whisperer/4e59bf60fc0e94db656973c2a2398ee3735b148b/",
}
SORTED = {
    f"data/data_adapters/med/{name}/train.json": category
    for name, category in {"qa": "qa", "ie": "ie", "tg": "gen"}.items()
}
OTHERS = (
    *(f"data/data_adapters/med/{name}/test.json" for name in ("qa", "ie", "tg")),
    "data/test/test_exp2_265.json",
    "data/test/test_exp2_500.json",
)
UNSORTED = "data/bioinstruct/test.json"

RawRow = dict[str, Any]
Rows = dict[str, list[Instruction]]


def load_public_rows(data: Path | None) -> Run:
    """Load the public rows of the paper's data.

    Args:
        data: folder that holds, itself or one below, `bioinstruct_public_subset.jsonl`: the rows of both
            repositories, each with its `sources`; None to fetch the repositories' files.

    Returns:
        A run with `instructions.jsonl` (rows of three categories) and `held_out.jsonl` (the second
        repository's own, category 'other').

    Raises:
        StudyError: the folder holds no such file, or the repositories cannot be reached.
    """
    mirror = find_mirror(data) if data else None
    inputs = {"mirror": sha256_file(mirror)} if mirror else REPOSITORIES

    def compute(folder: Path) -> dict[str, Any]:
        rows = split_mirror(read_any_lines(mirror)) if mirror else fetch_rows()
        for name, found in rows.items():
            write_text(folder / name, dump_rows(found))
        return {name.split(".")[0]: len(found) for name, found in rows.items()}

    return run_stage("public_rows", {}, inputs, VERSION, compute)


def find_mirror(data: Path) -> Path:
    """Return the file of both repositories' rows in a folder or one below."""
    found = sorted([*data.glob(MIRROR), *data.glob(f"*/{MIRROR}")])
    if not found:
        raise StudyError(
            f"`instructions: {PUBLIC}` needs {MIRROR} in the folder of `data` or one below, but "
            f"{shown(data)} has none. Leave `data` empty to fetch it."
        )
    return found[0]


def split_mirror(rows: Iterable[RawRow]) -> Rows:
    """Return training and held-out rows of the mirror, told apart by the files that each row was found in."""
    training, held_out = [], []
    for row in rows:
        places = [source.split(":", 1) for source in row["sources"]]
        categories = [SORTED[path] for owner, path in places if owner == "TASA" and path in SORTED]
        if categories:
            training.append((row, categories[0]))
        elif {owner for owner, _ in places} == {"Data-Whisperer"}:
            held_out.append((row, "other"))
    return {TRAINING: build_rows(training), HELD_OUT: build_rows(held_out)}


def fetch_rows() -> Rows:
    """Return training and held-out rows from the repositories themselves."""
    training = [
        (row, category) for path, category in SORTED.items() for row in _fetch(REPOSITORIES["TASA"] + path)
    ]
    known = {identify_row(row) for row, _ in training} | {
        identify_row(row) for path in OTHERS for row in _fetch(REPOSITORIES["TASA"] + path)
    }
    held_out = [
        (row, "other")
        for row in _fetch(REPOSITORIES["Data-Whisperer"] + UNSORTED)
        if identify_row(row) not in known
    ]
    return {TRAINING: build_rows(training), HELD_OUT: build_rows(held_out)}


def _fetch(url: str) -> list[RawRow]:
    try:
        with urllib.request.urlopen(url, timeout=60) as reply:  # noqa: S310 (addresses stand above)
            return json.load(reply)
    except (urllib.error.URLError, TimeoutError) as error:
        raise StudyError(
            f"{url} cannot be fetched ({error}). Go online, or name a folder with {MIRROR} as `data`."
        ) from None


def identify_row(row: RawRow) -> str:
    """Return a row's id, made of its text, so that it is the same from whichever file: 'bi-' and twelve hex
    digits.
    """
    texts = [_clean(row, name) for name in ("instruction", "input", "output")]
    return f"bi-{sha256_text(json.dumps(texts))[:12]}"


def _clean(row: RawRow, name: str) -> str:
    return scrub_text(row.get(name) or "").strip()


def build_rows(labelled: Sequence[tuple[RawRow, str]]) -> list[Instruction]:
    """Return rows with an instruction and a response, each once, sorted by id."""
    rows = {}
    for row, category in labelled:
        texts = {name: _clean(row, name) for name in ("instruction", "input", "output")}
        if texts["instruction"] and texts["output"]:
            rows.setdefault(identify_row(row), Instruction(id=identify_row(row), category=category, **texts))
    return [rows[row_id] for row_id in sorted(rows)]
