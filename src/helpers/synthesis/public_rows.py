"""The public rows of the paper's data that carry a category, from a project that sorted some of them (TASA,
by the names qa, ie and tg): its training files to tune on, its test files held out. Nothing of them is
stored in this project.
"""

from __future__ import annotations

import http.client
import json
import urllib.request
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from helpers.errors import StudyError
from helpers.files import sha256_file, sha256_text, write_text
from helpers.jsonl import dump_rows, read_objects, scrub_text
from helpers.models.hub import first_line
from helpers.paths import shown
from helpers.progress import tell
from helpers.records import Instruction
from helpers.store import Run, run_stage
from helpers.synthesis.split import HELD_OUT_FILE, TEXTS, TRAINING_FILE

PUBLIC = "public"
MIRROR = "bioinstruct_public_subset.jsonl"
REPOSITORY = "https://raw.githubusercontent.com/tirant35/TASA/e3463092ba017596b8d40546cb4e490efc99b1e7/"
OWNER = "TASA"  # of the files among the sources of the mirror's rows
VERSION = 2
CATEGORY_FOLDERS = {"qa": "qa", "ie": "ie", "tg": "gen"}
FILES = {
    part: {
        f"data/data_adapters/med/{name}/{file}.json": category for name, category in CATEGORY_FOLDERS.items()
    }
    for part, file in ((TRAINING_FILE, "train"), (HELD_OUT_FILE, "test"))
}

RawRow = dict[str, Any]
Rows = dict[str, list[Instruction]]


def load_public_rows(data: Path | None) -> Run:
    """Load the public rows of the paper's data.

    Args:
        data: folder that holds, itself or one below, `bioinstruct_public_subset.jsonl`: the repository's
            rows, each with its `sources`; None to fetch the repository's files.

    Returns:
        A run with `training.jsonl` and `held_out.jsonl`, rows of three categories each; no row is in both.

    Raises:
        StudyError: the folder holds no such file or one of another form, or the repository cannot be reached.
    """
    mirror = find_mirror(data) if data else None
    inputs = {"mirror": sha256_file(mirror)} if mirror else {"repository": REPOSITORY}

    def compute(folder: Path) -> dict[str, Any]:
        rows = split_mirror(read_mirror(mirror)) if mirror else fetch_rows()
        for name, found in rows.items():
            write_text(folder / name, dump_rows(found))
        return {name.split(".")[0]: len(found) for name, found in rows.items()}

    return run_stage("public_rows", {}, inputs, VERSION, compute)


def find_mirror(data: Path) -> Path:
    """Return the file of the repository's rows in a folder or one below."""
    found = sorted([*data.glob(MIRROR), *data.glob(f"*/{MIRROR}")])
    if not found:
        raise StudyError(
            f"`instructions: {PUBLIC}` needs {MIRROR} in the folder of `data` or one below, but "
            f"{shown(data)} has none. Leave `data` empty to fetch it."
        )
    return found[0]


def read_mirror(path: Path) -> Iterator[RawRow]:
    """Yield the rows of the mirror.

    Raises:
        StudyError: a row has no list of sources, its texts are none, or no row is of the repository.
    """
    found: set[str] = set()
    for location, row in read_objects(path):
        sources = row.get("sources")
        texts = [row.get(name) or "" for name in TEXTS]
        if not isinstance(sources, list) or not all(isinstance(text, str) for text in [*texts, *sources]):
            raise StudyError(
                f"A public row must have texts, and a list of texts as `sources` ({location}). Take the file "
                "anew, or leave `data` empty to fetch the rows."
            )
        found.update(sources)
        yield row
    for part, files in FILES.items():
        if not any(f"{OWNER}:{path}" in found for path in files):
            raise StudyError(
                f"No row of {shown(path)} names one of the {part.split('.')[0]} files among its `sources`, "
                f"such as {OWNER}:{next(iter(files))}. Take the file anew, or leave `data` empty to fetch "
                "the rows."
            )


def split_mirror(rows: Iterable[RawRow]) -> Rows:
    """Return training and held-out rows of the mirror, by the files that each row was found in."""
    parts: dict[str, list[tuple[RawRow, str]]] = {part: [] for part in FILES}
    for row in rows:
        paths = [
            path for owner, _, path in (source.partition(":") for source in row["sources"]) if owner == OWNER
        ]
        for part, files in FILES.items():
            parts[part] += [(row, files[path]) for path in paths if path in files][:1]
    return separate_rows(parts)


def fetch_rows() -> Rows:
    """Return training and held-out rows from the repository itself."""
    return separate_rows(
        {
            part: [(row, category) for path, category in files.items() for row in _fetch(REPOSITORY + path)]
            for part, files in FILES.items()
        }
    )


def separate_rows(labelled: Mapping[str, Sequence[tuple[RawRow, str]]]) -> Rows:
    """Return the rows of each part; a row that is to tune on is not held out."""
    training = build_rows(labelled[TRAINING_FILE])
    known = {row.id for row in training}
    held_out = [row for row in build_rows(labelled[HELD_OUT_FILE]) if row.id not in known]
    n_given, n_kept = sum(map(len, labelled.values())), len(training) + len(held_out)
    if n_kept < n_given:
        tell(
            f"{n_given - n_kept} of {n_given:,} public rows are left out: they have no instruction or no "
            "output, or the same texts as an earlier row, or, to be held out, as one to tune on."
        )
    return {TRAINING_FILE: training, HELD_OUT_FILE: held_out}


def _fetch(url: str) -> list[RawRow]:
    try:
        with urllib.request.urlopen(url, timeout=60) as reply:  # noqa: S310 (addresses stand above)
            return json.load(reply)
    except (OSError, http.client.HTTPException, ValueError, RecursionError) as error:  # the last two of JSON
        raise StudyError(
            f"{url} cannot be fetched ({first_line(error)}). Go online, or name a folder with {MIRROR} as "
            "`data`."
        ) from None


def identify_row(row: RawRow) -> str:
    """Return a row's id, made of its text, so that it is the same from whichever file: 'bi-' and twelve hex
    digits.
    """
    texts = [_clean(row, name) for name in TEXTS]
    return f"bi-{sha256_text(json.dumps(texts))[:12]}"


def _clean(row: RawRow, name: str) -> str:
    return scrub_text(row.get(name) or "").strip()


def build_rows(labelled: Sequence[tuple[RawRow, str]]) -> list[Instruction]:
    """Return rows with an instruction and a response, each once, sorted by id."""
    rows = {}
    for row, category in labelled:
        texts = {name: _clean(row, name) for name in TEXTS}
        if texts["instruction"] and texts["output"]:
            rows.setdefault(identify_row(row), Instruction(id=identify_row(row), category=category, **texts))
    return [rows[row_id] for row_id in sorted(rows)]
