"""JSONL, and what is said of a bad row."""

import time

import pytest

from helpers.errors import StudyError
from helpers.jsonl import assign_ids, dump_rows, read_rows, read_values, read_whole_lines
from helpers.records import SeedTask

SEED = {
    "id": "seed-001",
    "category": "qa",
    "skill": "dose arithmetic",
    "specialty": "pediatrics",
    "difficulty": "easy",
    "instruction": "Work out the dose.",
    "input": "20 kg, 15 mg/kg",
    "output": "300 mg",
    "note": "20 times 15.",
}


def write(tmp_path, *rows):
    path = tmp_path / "rows.jsonl"
    path.write_text(dump_rows(rows))
    return path


def test_rows_come_back_as_they_were_written(tmp_path):
    seed = SeedTask(**SEED)
    assert read_rows(write(tmp_path, seed), SeedTask) == [seed]


def test_letters_beyond_ascii_are_kept_readable(tmp_path):
    path = write(tmp_path, SEED | {"output": "TNF-α rises to 3 µg"})
    assert "TNF-α rises to 3 µg" in path.read_text()


def test_a_bad_row_names_file_line_field_and_what_was_found(tmp_path):
    path = write(tmp_path, SEED, SEED | {"id": "seed-002", "category": "QA"})
    with pytest.raises(
        StudyError, match=r"`category`.*'qa', 'ie', 'gen' or 'other'.*'QA' was found \(.*rows\.jsonl:2\)"
    ):
        read_rows(path, SeedTask)


def test_an_unknown_field_is_a_mistake(tmp_path):
    with pytest.raises(StudyError, match="`specialities`"):
        read_rows(write(tmp_path, SEED | {"specialities": "x"}), SeedTask)


def test_a_line_that_is_no_json_is_named(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_text('{"id": \n')
    with pytest.raises(StudyError, match=r"rows\.jsonl:1"):
        read_rows(path, SeedTask)


def test_the_same_id_twice_is_refused_with_both_lines(tmp_path):
    with pytest.raises(StudyError, match=r"'seed-001' was found twice \(.*:2 and .*:1\)"):
        read_rows(write(tmp_path, SEED, SEED), SeedTask)


def test_a_missing_file_says_what_to_do(tmp_path):
    with pytest.raises(StudyError, match="git checkout"):
        read_rows(tmp_path / "none.jsonl", SeedTask)


def test_an_empty_file_is_refused(tmp_path):
    (tmp_path / "rows.jsonl").write_text("")
    with pytest.raises(StudyError, match="has no rows"):
        read_rows(tmp_path / "rows.jsonl", SeedTask)


def test_a_file_that_is_not_utf8_names_the_line(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_bytes(dump_rows([SEED]).encode() + b'{"id": "\xe9"}\n')
    with pytest.raises(StudyError, match=r"UTF-8.*0xe9.*rows\.jsonl:2"):
        read_rows(path, SeedTask)


def test_only_line_feeds_end_a_row(tmp_path):
    seed = SeedTask(**SEED | {"output": "a\u2028b\u0085c"})
    assert read_rows(write(tmp_path, seed), SeedTask) == [seed]


def test_an_id_is_one_line_so_that_a_table_has_one_row_for_it():
    texts = ["a\rb", " a\nc ", "a\u0000", "\r\n", "é 7"]
    names = [row["id"] for _, row in assign_ids([("", {"id": text, "output": "x"}) for text in texts])]
    assert names[:3] + names[4:] == ["a b", "a c", "a", "é 7"]
    assert names[3].startswith("row-")


def test_equal_rows_count_up_past_ids_that_are_taken_and_twenty_thousand_of_them_take_no_time():
    row = {"instruction": "Name a drug", "output": "iron"}
    [(_, first)] = assign_ids([("", row)])
    name = first["id"]
    rows = [row, row, {"id": f"{name}-3"} | row, row]
    assert [named["id"] for _, named in assign_ids([("", each) for each in rows])] == [
        name,
        f"{name}-2",
        f"{name}-3",
        f"{name}-4",
    ]
    started = time.process_time()
    named = assign_ids([(str(n), row) for n in range(20_000)])
    assert [each["id"] for _, each in named[1:]] == [f"{name}-{n}" for n in range(2, 20_001)]
    assert time.process_time() - started < 5


def test_a_line_that_a_kill_broke_off_is_left_out_and_no_other(tmp_path):
    path = tmp_path / "rows.jsonl"
    assert read_whole_lines(path) == ([], 0)
    path.write_text('{"a": 1}\n[2]\n{"b')
    assert read_whole_lines(path) == ([{"a": 1}, [2]], 13)


def test_other_peoples_lines_may_be_empty_but_must_be_json(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_text('{"a": 1}\n\n[2]\nno\n')
    lines = read_values(path)
    assert [next(lines)[1], next(lines)[1]] == [{"a": 1}, [2]]
    with pytest.raises(StudyError, match=r"must be JSON.*rows\.jsonl:4"):
        next(lines)
