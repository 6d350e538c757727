"""The same filters and labels for any file of instructions."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from helpers.errors import StudyError
from helpers.files import sha256_file, write_text
from helpers.jsonl import dump_row, dump_rows, read_objects
from helpers.paths import show_name, shown
from helpers.rouge import TIE_SLACK
from helpers.settings import check_settings
from helpers.store import Run, run_stage
from helpers.synthesis.categories import measure_agreement, train_labeller
from helpers.synthesis.filters import REASONS, find_fault, read_benchmark_ngrams
from helpers.synthesis.novelty import NoveltyIndex
from helpers.synthesis.pipeline import BENCHMARK_FILES
from helpers.synthesis.settings import FilterSettings
from helpers.synthesis.user_rows import (
    UserRow,
    classify_rows,
    explain_unusable_rows,
    read_task,
    read_trainable_rows,
)

if TYPE_CHECKING:
    import pandas as pd

VERSION = 5
WHY = ("filter_reason", "filter_similarity")
KEPT_FILE, REJECTED_FILE, COUNTS_FILE = "kept.jsonl", "rejected.jsonl", "counts.csv"
FOREIGN_LABELS = {"tg": "gen", "ot": "other"}  # in a public mirror of the paper's rows


def filter_file(path: Path, settings: FilterSettings, against: Sequence[Path] = ()) -> Run:
    """Filter the rows of a JSONL file as the synthesis filters its tasks; rows keep all their fields.

    Args:
        path: rows with instruction, input (optional) and output.
        settings: the filters.
        against: benchmark files (JSONL, any schema) whose texts no kept row may share eight words in a row
            with, beside the embedded benchmark.

    Returns:
        A run with `kept.jsonl`, `rejected.jsonl` (each row with `filter_reason` and `filter_similarity`) and
        `counts.csv` (outcome, n, and how many of them have a similarity of exactly the threshold).

    Raises:
        StudyError: no row has an instruction and an output, or a file is missing.
    """
    check_settings(settings)
    benchmark = [*BENCHMARK_FILES, *against]

    def compute(folder: Path) -> dict[str, Any]:
        counts: Counter[str] = Counter()
        at_threshold: Counter[str] = Counter()
        ngrams = read_benchmark_ngrams(benchmark)
        with (
            (folder / KEPT_FILE).open("w", encoding="utf-8") as kept,
            (folder / REJECTED_FILE).open("w", encoding="utf-8") as rejected,
        ):
            for row, reason, similarity in decide((row for _, row in read_objects(path)), settings, ngrams):
                counts[reason or "kept"] += 1
                at_threshold[reason or "kept"] += (
                    similarity is not None and abs(similarity - settings.novelty_threshold) < TIE_SLACK
                )
                why = dict(zip(WHY, (reason, similarity), strict=True)) if reason else {}
                bare = {name: value for name, value in row.items() if name not in WHY}  # of an earlier filter
                (rejected if reason else kept).write(dump_row(bare | why))
        if counts["malformed"] == counts.total():
            raise explain_unusable_rows(path)
        lines = [
            f"{reason},{counts[reason]},{at_threshold[reason]}\n"
            for reason in ("kept", *REASONS)
            if reason != "unlabelled"
        ]
        (folder / COUNTS_FILE).write_text("outcome,n,at_threshold\n" + "".join(lines), encoding="utf-8")
        return {"n_rows": counts.total(), "n_kept": counts["kept"]}

    if missing := [file for file in (path, *against) if not file.is_file()]:
        raise StudyError(f"No file at {shown(missing[0])}. Name a JSONL file.")
    inputs = {f"{number} {file.name}": sha256_file(file) for number, file in enumerate([path, *benchmark])}
    return run_stage("filter", settings, inputs, VERSION, compute)


def decide(
    rows: Iterable[UserRow], settings: FilterSettings, benchmark_ngrams: frozenset[str]
) -> Iterator[tuple[UserRow, str | None, float | None]]:
    """Yield each row with the reason for which it is rejected (None: it is kept) and, where it is not novel,
    its similarity to an earlier kept one.
    """
    index = NoveltyIndex(settings.novelty_threshold)
    for row in rows:
        fault = find_fault(read_task(row), settings.min_words, settings.max_words, benchmark_ngrams)
        if fault:
            yield row, fault, None
        else:
            [(is_new, similarity)] = index.add([row["instruction"]])
            yield row, None if is_new else "not novel", similarity


def check_target(target: Path, read: Iterable[Path]) -> None:
    """Raise StudyError where what is to be written would replace a file that it is made from."""
    for path in read:
        if target.exists() and path.exists() and target.samefile(path):
            raise StudyError(f"{shown(path)} is read, and would be lost if written over. Name another file.")


def label_file(path: Path, target: Path) -> tuple[int, int]:
    """Write the rows of a file with the category that the offline classifier gives them, fit for training; a
    row keeps all its fields.

    Returns:
        How many rows were written, and how many were left out, since they have no instruction or no output.

    Raises:
        StudyError: no row has both, or the rows would be written over the file itself.
    """
    check_target(target, [path])
    rows, left_out = read_trainable_rows(path)
    labelled = classify_rows([row for _, row in rows])
    write_text(target, dump_rows(labelled))
    return len(labelled), len(left_out)


def compare_file(path: Path, field: str) -> pd.DataFrame:
    """Return how far the offline classifier agrees with labels that a file brings along.

    Args:
        path: JSONL rows.
        field: name of the field that holds the label, or a list with one label; rows with none, several or an
            unknown one are left out.

    Returns:
        One row: comparison, sha256 of the file, n, accuracy, kappa and alpha with intervals.

    Raises:
        StudyError: no row has a known label in that field.
    """
    import pandas as pd

    known = [
        (task, label)
        for _, row in read_objects(path)
        if (label := translate_label(row.get(field))) and (task := read_task(row)).is_complete
    ]
    if not known:
        raise StudyError(
            f"No row of {shown(path)} has one of qa, ie, gen, other in the field {field!r}. Name the field "
            "that holds the labels."
        )
    tasks, labels = zip(*known, strict=True)
    given = train_labeller()(tasks)
    return pd.DataFrame(
        [
            {
                "comparison": f"classifier and {field}",
                "file": show_name(path.name),
                "sha256": sha256_file(path),
            }
            | measure_agreement(labels, given)
        ]
    )


def translate_label(value: Any) -> str | None:
    """Return the category that a foreign label names, None if it names none or more than one."""
    if isinstance(value, list):
        value = value[0] if len(value) == 1 else None
    label = FOREIGN_LABELS.get(value, value) if isinstance(value, str) else None
    return label if label in ("qa", "ie", "gen", "other") else None
