"""Filters and labels for files of other people."""

import json
import os
import sys

import pandas as pd
import pytest
from typer.testing import CliRunner

from helpers.cli import app
from helpers.errors import StudyError
from helpers.synthesis.filter_files import (
    COUNTS_FILE,
    KEPT_FILE,
    REJECTED_FILE,
    compare_file,
    filter_file,
    label_file,
    translate_label,
)
from helpers.synthesis.settings import FilterSettings

SETTINGS = FilterSettings(0.7, 3, 150)
ROWS = [
    {
        "instruction": "List every drug in the note",
        "input": "Aspirin 100 mg",
        "output": "aspirin",
        "extra": [1],
    },
    {"instruction": "List every drug in this note", "input": "Iron", "output": "iron tablets"},
    {"instruction": "Name one sign of heart failure", "output": "oedema"},
    {"instruction": "Explain", "input": "", "output": "x"},
    {"instruction": "What is shown?", "input": None, "output": ""},
]


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    return path


def test_kept_rows_keep_all_fields_and_rejected_ones_gain_a_reason(file):
    run = filter_file(file, SETTINGS)
    kept, rejected = (
        [json.loads(line) for line in run.file(name).read_text().splitlines()]
        for name in (KEPT_FILE, REJECTED_FILE)
    )
    assert kept == [ROWS[0], ROWS[2]]
    assert [row["filter_reason"] for row in rejected] == ["not novel", "length", "malformed"]
    counts = pd.read_csv(run.file(COUNTS_FILE)).set_index("outcome")["n"]
    assert counts["kept"] == 2
    assert counts.sum() == len(ROWS)


def test_rows_that_a_looser_filter_keeps_lose_the_reason_of_the_stricter_one(file):
    rejected = filter_file(file, SETTINGS).file(REJECTED_FILE)
    kept = filter_file(rejected, SETTINGS).file(KEPT_FILE)
    assert [json.loads(line) for line in kept.read_text().splitlines()] == [ROWS[1]]


def test_a_reason_of_the_users_own_stays(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_text(json.dumps(ROWS[3] | {"reason": "asked by a nurse"}) + "\n" + json.dumps(ROWS[0]) + "\n")
    rejected = json.loads(filter_file(path, SETTINGS).file(REJECTED_FILE).read_text())
    assert (rejected["reason"], rejected["filter_reason"]) == ("asked by a nurse", "length")


def test_a_file_without_a_row_that_could_be_filtered_is_refused(tmp_path):
    path = tmp_path / "rows.json"
    path.write_text(json.dumps({"data": ROWS}))
    with pytest.raises(StudyError, match="Rename the fields to instruction, input and output"):
        filter_file(path, SETTINGS)


def test_rows_that_overlap_a_benchmark_of_the_users_own_fall(file, tmp_path):
    benchmark = tmp_path / "benchmark.jsonl"
    benchmark.write_text('{"q": "Please list every drug in the note aspirin hundred"}\n')
    long = tmp_path / "long.jsonl"
    long.write_text('{"instruction": "List every drug in the note, aspirin hundred", "output": "x"}\n')
    assert filter_file(long, SETTINGS, [benchmark]).manifest["facts"]["n_kept"] == 0
    assert filter_file(long, SETTINGS).manifest["facts"]["n_kept"] == 1


@pytest.mark.parametrize(
    ("text", "message"),
    [("\n{oops\n", "rows.jsonl:2"), ("[1]\n", "must be a JSON object"), (b"\xff\n", "must be UTF-8")],
)
def test_a_line_that_is_no_object_is_named(tmp_path, text, message):
    path = tmp_path / "rows.jsonl"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(StudyError, match=message):
        filter_file(path, SETTINGS)


def test_labelled_rows_can_be_trained_on_and_keep_every_field(file, tmp_path):
    from helpers.jsonl import read_json_lines, read_rows
    from helpers.records import Instruction

    assert label_file(file, tmp_path / "out.jsonl") == (4, 1)
    rows = read_rows(tmp_path / "out.jsonl", Instruction)
    assert len({row.id for row in rows}) == 4
    written = read_json_lines(tmp_path / "out.jsonl")
    assert written[0]["extra"] == [1]
    assert [row["instruction"] for row in written] == [row["instruction"] for row in ROWS[:4]]


def test_foreign_labels_are_compared_where_they_are_clear(tmp_path):
    path = tmp_path / "rows.jsonl"
    texts = ("List every drug in the note", "x", "y", "Write a letter to the patient")
    labels = (["ie"], ["ie", "qa"], [], "tg")
    labelled = [
        {"instruction": text, "input": "n", "output": "x", "label": label}
        for text, label in zip(texts, labels, strict=True)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in labelled))
    row = compare_file(path, "label").iloc[0]
    assert (row["n"], row["accuracy"]) == (2, 1.0)
    with pytest.raises(StudyError, match="field 'other'"):
        compare_file(path, "other")


@pytest.mark.skipif(sys.platform != "linux", reason="the file system takes UTF-8 alone")
def test_a_table_names_a_file_whose_name_is_no_utf_8_by_its_codes(tmp_path):
    path = tmp_path / "rows\udcff.jsonl"
    rows = [ROWS[0] | {"output": "x", "label": label} for label in ("qa", "ie")]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert compare_file(path, "label")["file"].tolist() == [r"rows\xff.jsonl"]


@pytest.mark.parametrize(
    ("value", "label"),
    [("tg", "gen"), (["ot"], "other"), ("qa", "qa"), (["qa", "ot"], None), (None, None), ("x", None)],
)
def test_foreign_names_of_categories_are_read(value, label):
    assert translate_label(value) == label


def test_two_files_of_one_name_are_two_inputs(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    rows, benchmark = tmp_path / "a" / "rows.jsonl", tmp_path / "b" / "rows.jsonl"
    benchmark.write_text('{"q": "nothing of interest"}\n')
    rows.write_text('{"instruction": "List every drug in the note", "output": "x"}\n')
    first = filter_file(rows, SETTINGS, [benchmark])
    rows.write_text('{"instruction": "Name every sign in the note", "output": "x"}\n')
    assert filter_file(rows, SETTINGS, [benchmark]).fingerprint != first.fingerprint


def test_a_file_whose_name_is_no_utf8_can_be_counted(file, tmp_path):
    odd = file.rename(tmp_path / os.fsdecode(b"rows\xe9.jsonl"))
    done = CliRunner().invoke(app, ["filter", str(odd), "--counts", str(tmp_path / "counts.csv")])
    assert done.exit_code == 0, done.output
    assert set(pd.read_csv(tmp_path / "counts.csv")["file"]) == {"rows\\xe9.jsonl"}


def test_a_threshold_in_percent_is_refused(file):
    with pytest.raises(StudyError, match="at most 1"):
        filter_file(file, FilterSettings(70.0, 3, 150))
