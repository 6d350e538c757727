"""Rows that are held out are rows that no model is tuned on."""

from helpers.jsonl import dump_rows, read_json_lines
from helpers.synthesis.split import HELD_OUT_FILE, TRAINING_FILE, hold_out, read_groups


def split(tmp_path, rows, share=0.3):
    path = tmp_path / "rows.jsonl"
    path.write_text(dump_rows(rows))
    run = hold_out(path, share)
    return [read_json_lines(run.file(name)) for name in (TRAINING_FILE, HELD_OUT_FILE)]


def make_row(number, **others):
    return {"category": "qa", "instruction": f"Say {number}.", "input": "", "output": "Yes."} | others


def test_copies_of_a_row_are_held_out_together_or_not_at_all(tmp_path):
    rows = [make_row(number) for number in range(10)]
    copies = [make_row(number, id=f"copy-{number}", input=None, output=" Yes.\n") for number in range(10)]
    training, held_out = split(tmp_path, [*rows, *copies])
    said = [{row["instruction"] for row in part} for part in (training, held_out)]
    assert not said[0] & said[1]
    assert (len(training), len(held_out)) == (14, 6)


def test_a_copy_in_another_request_follows_the_first(tmp_path):
    rows = [make_row(number, request=number // 2) for number in range(20)]
    copies = [make_row(number, request=100 + number) for number in range(20)]
    training, held_out = split(tmp_path, [*rows, *copies], 0.5)
    assert len(held_out) == 20
    assert not {row["instruction"] for row in training} & {row["instruction"] for row in held_out}


def test_rows_of_one_request_stay_together(tmp_path):
    training, held_out = split(tmp_path, [make_row(number, request=number // 2) for number in range(20)])
    assert len(held_out) == 6
    assert not {row["request"] for row in training} & {row["request"] for row in held_out}


def test_groups_are_requests_whatever_the_ids_look_like(tmp_path):
    path = tmp_path / "rows.jsonl"
    asked = [make_row(number, id=f"ward-{number}", request=number // 2) for number in range(4)]
    single = [make_row(number) for number in (7, 8)]
    copy = make_row(0, id="other-0", request=9)
    path.write_text(dump_rows([*asked, *single, copy]))
    groups = read_groups(path)
    assert groups["ward-0"] == groups["ward-1"] == groups["other-0"] != groups["ward-2"] == groups["ward-3"]
    assert len(groups) == 7
    assert len(set(groups.values())) == 4


def test_rows_whose_request_is_blank_are_held_out_one_by_one(tmp_path):
    training, held_out = split(tmp_path, [make_row(number, request="") for number in range(20)], 0.25)
    assert (len(training), len(held_out)) == (15, 5)
