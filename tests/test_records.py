"""Schemas of rows, and what they refuse."""

import unicodedata

import pytest

from helpers.errors import StudyError
from helpers.jsonl import dump_rows, read_rows
from helpers.records import ChoiceItem, Instruction, MedicationItem, PronounItem, order_categories

CHOICE = {
    "id": "c-1",
    "split": "test",
    "difficulty": "easy",
    "context": "",
    "question": "Which?",
    "options": ["yes", "no"],
    "answer": 1,
}


def write(tmp_path, *rows):
    path = tmp_path / "rows.jsonl"
    path.write_text(dump_rows(rows))
    return path


def test_fields_of_foreign_instruction_files_are_left_aside(tmp_path):
    row = {"id": "1", "category": "ie", "instruction": "List", "input": "", "output": "x", "tasa_label": "ie"}
    assert not hasattr(read_rows(write(tmp_path, row), Instruction)[0], "tasa_label")


@pytest.mark.parametrize(
    ("change", "message"),
    [({"answer": 2}, "below the number of options"), ({"options": ["yes", "yes"]}, "differ")],
)
def test_options_and_answer_must_fit(tmp_path, change, message):
    with pytest.raises(StudyError, match=message):
        read_rows(write(tmp_path, CHOICE | change), ChoiceItem)


def test_gold_spans_must_stand_in_the_text(tmp_path):
    item = {
        "id": "m",
        "split": "test",
        "difficulty": "easy",
        "text": "Takes Aspirin.",
        "gold": [{"forms": ["aspirin"], "status": "active"}],
    }
    assert read_rows(write(tmp_path, item), MedicationItem)
    with pytest.raises(StudyError, match="must occur in the text"):
        read_rows(write(tmp_path, item | {"text": "Takes nothing."}), MedicationItem)
    pronoun = {
        "id": "p",
        "split": "test",
        "difficulty": "easy",
        "text": "The knee hurts.",
        "pronoun": "it",
        "gold": {"forms": ["The knee"]},
    }
    with pytest.raises(StudyError, match="'it' must occur"):
        read_rows(write(tmp_path, pronoun), PronounItem)


@pytest.mark.parametrize("name", ["a+b", "qa:1", "two words", "", "base", "shuffled", "a/b", "../up"])
def test_a_category_whose_name_cannot_stand_in_a_cell_is_refused(tmp_path, name):
    row = {"id": "1", "category": name, "instruction": "List", "input": "", "output": "x"}
    with pytest.raises(StudyError, match="`category`"):
        read_rows(write(tmp_path, row), Instruction)


def test_categories_of_the_study_come_first_and_others_by_name():
    assert order_categories(["zoster", "gen", "Ödem", "qa", "gen"]) == ("qa", "gen", "zoster", "Ödem")


def test_a_categorys_name_is_the_same_however_its_letters_are_composed(tmp_path):
    row = {"instruction": "List", "output": "x"}
    names = [unicodedata.normalize(form, "qualité") for form in ("NFC", "NFD")]
    rows = [row | {"id": str(place), "category": name} for place, name in enumerate(names)]
    assert {row.category for row in read_rows(write(tmp_path, *rows), Instruction)} == {names[0]}


@pytest.mark.parametrize("name", ["q\u200da", "qa\n", " qa", "q a", "a:b", "a+b", "", "x" * 41])
def test_a_category_that_no_cell_could_name_is_refused_by_its_line(tmp_path, name):
    row = {"id": "1", "category": name, "instruction": "List", "output": "x"}
    with pytest.raises(StudyError, match=r"`category`.*rows\.jsonl:1"):
        read_rows(write(tmp_path, row), Instruction)


@pytest.mark.parametrize("answer", [True, False])
def test_true_or_false_is_no_number_of_an_option(answer, tmp_path):
    """As a number, true would be the second option: 'no' where the options are yes and no."""
    with pytest.raises(StudyError, match="counted from 0, and not true or false"):
        read_rows(write(tmp_path, CHOICE | {"answer": answer}), ChoiceItem)


def test_white_space_around_an_option_is_no_part_of_it():
    assert ChoiceItem(**CHOICE | {"options": [" yes", "no\n"]}).options == ["yes", "no"]
    with pytest.raises(ValueError, match="must differ"):
        ChoiceItem(**CHOICE | {"options": ["yes", "yes "]})
