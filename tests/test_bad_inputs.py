"""What users get wrong, through the real command line: one message that says what is wrong, exit code 1, no
traceback, and nothing that nobody thought of.
"""

import json
import os
import re
import shutil
import subprocess
import sys

import pytest
from typer.testing import CliRunner

from helpers.book import parameters, profiles
from helpers.book.parameters import inspect_notebooks
from helpers.cli import app
from helpers.errors import StudyError
from helpers.jsonl import read_objects
from helpers.models.wheels import fetch_model
from helpers.paths import ROOT

# ---- parameters ------------------------------------------------------------------------------------------

WHOLE = {
    "no number": [
        "four",
        "",
        "true",
        "null",
        "~",
        "[1]",
        "{a: 1}",
        "&a 4",
        "!!int 4",
        "4 4",
        "4,5",
        "½",
        "٤",
    ],
    "another notation": ["010", "1:30", "0x10", "0b11", "0o7", "1_000", "1e3", "+4", "--4", "4.0", "4."],
    "too large": ["9" * 5000, str(2**70), str(10**18), "99999999999"],
}
WHOLE_PARAMETERS = ("n_rows", "n_seeds", "epochs", "n_requests", "lora_rank", "training_seed")
BROKEN_NUMBERS = [
    "fast",
    "",
    "nan",
    "inf",
    "-inf",
    "1e999",
    "-1",
    "1,5",
    "[1]",
    "0x1p3",
    "1:30",
    "true",
    "9" * 400,
]
NUMBER_PARAMETERS = (
    "learning_rate",
    "lora_dropout",
    "temperature",
    "novelty_threshold",
    "max_cost_usd",
    "alpha",
)
BELOW = {"n_rows": 0, "n_seeds": 0, "epochs": 0, "n_requests": 0, "lora_rank": 0, "training_seed": -1} | {
    "n_runs": 1,
    "alpha": 0,
}
ABOVE = {
    "n_seeds": 1001,
    "epochs": 10**9,
    "n_requests": 10**7,
    "training_seed": 2**32,
    "lora_dropout": 0.91,
} | {"alpha": 0.6}
CHOICES = {
    "dtype": ["float16", "int8", "FLOAT32", ""],
    "tasks": ["", ",", "medqb", "evidence_yesno,evidence_yesno", "evidence_yesno,", "all,evidence_yesno"],
    "categories": ["", "+", "qa+qa", "qa++ie", "qa:0", "qa:2+ie", "base", "q a", "qa:" + "9" * 5000],
    "lattice": ["qa", "qa+qa", "qa:4+ie:4", "all", "a+b+c+d+e+f+g", "+", "qa+"],
    "budget": ["both", "", "FIXED"],
    "controls": ["random", "all,random", "general"],
    "sizes": ["many", "12;24", "0", "-1", "1.5", "9" * 5000, "12,,x"],
    "mixtures": ["qa", "qa:4+ie", "qa:0+ie:4", "qa:4,ie", "qa:x"],
    "reply_format": ["xml", ""],
    "labeller": ["me", ""],
    "instructions": ["none.jsonl", ".", "\x00"],
    "data": ["no-such-folder", "README.md"],
    "batch": ["maybe", "1", ""],
}
NAMES = ["lora_rnak=4", "=4", "n_rows", "", "n rows=4", "é=4", "\udcff=4", "n_rows=4\udcff", "teacher=a\nb"]


def parameter_cases():
    """Yield name, value and what the message must say of each wrong parameter."""
    for name in WHOLE_PARAMETERS:
        for value in (value for values in WHOLE.values() for value in values):
            yield name, value, rf"`{name}` must be"
    for name in NUMBER_PARAMETERS:
        for value in BROKEN_NUMBERS:
            yield name, value, rf"`{name}` must be"
    for bounds, words in ((BELOW, "at least"), (ABOVE, "at most")):
        for name, value in bounds.items():
            yield name, value, rf"`{name}` must be {words}"


PARAMETERS = list(parameter_cases())


def refuse(arguments, message):
    """Run a command that must be refused in one message, and say what it said."""
    result = CliRunner().invoke(app, list(map(str, arguments)))
    assert result.exit_code == 1, result.output
    assert result.stderr.startswith("error: ")
    assert re.search(message, result.stderr, re.DOTALL), result.stderr
    assert "Traceback" not in result.output
    assert "fault of the project" not in result.output
    assert len(result.stderr) < 2000
    return result.stderr


@pytest.fixture(scope="module")
def declared():
    return inspect_notebooks()


@pytest.fixture
def plan(monkeypatch, declared, runs):
    """Read the notebooks once for all cases, and let none of them store anything."""
    monkeypatch.setattr(parameters, "inspect_notebooks", lambda: declared)
    yield
    assert not runs.exists()


@pytest.mark.parametrize(("name", "value", "message"), PARAMETERS)
def test_a_number_that_is_none_or_out_of_range_is_refused(name, value, message, plan):
    refuse(["grid", "list", "--profile", "smoke", "-p", f"{name}={value}"], message)


@pytest.mark.parametrize(("name", "value"), [(name, value) for name in CHOICES for value in CHOICES[name]])
def test_a_value_that_is_none_of_the_known_ones_is_refused(name, value, plan):
    refuse(
        ["grid", "status", "--profile", "smoke", "-p", f"{name}={value}"],
        r"`[\w]+` (must|asks|needs)|A mixture must",
    )


@pytest.mark.parametrize("assignment", NAMES)
def test_an_assignment_that_is_none_is_refused(assignment, plan):
    refuse(["grid", "list", "--profile", "smoke", "-p", assignment], "parameter|text|must be given")


def test_of_two_assignments_of_one_name_the_later_counts(declared):
    assert parameters.plan_parameters("smoke", ["n_rows=4", "n_rows=8"], declared)["n_rows"] == 8


PROFILES = {
    "number as key": (b"3: 4\n", "No notebook has a parameter `3`"),
    "null as key": (b"null: 1\n", "No notebook has a parameter `null`"),
    "no key": (b": 1\n", "not valid YAML|No notebook"),
    "odd key": ("ö: 1\n".encode(), "No notebook has a parameter"),
    "key with a line in it": (b'"a\\nb": 1\n', "No notebook has a parameter"),
    "list as key": (b"[1]: 4\n", "one plain value"),
    "repeated key": (b"n_rows: 4\nn_rows: 8\n", "`n_rows` is given twice .*:2"),
    "nested": (b"n_rows: " + b"[" * 500, "nested too deep"),
    "mapping in it": (b"n_rows: {a: 1}\n", "one plain value"),
    "list in it": (b"n_rows:\n- 1\n", "one plain value"),
    "latin-1": (b"model: caf\xe9\n", "must be UTF-8, but the byte 0xe9"),
    "utf-16": ("n_rows: 4\n".encode("utf-16"), "must be UTF-8, but the byte 0xff"),
    "binary": (bytes(range(256)), "not valid YAML|UTF-8"),
    "null bytes": (b"\0\0\0\0", "not valid YAML"),
    "empty": (b"", "must map parameters"),
    "comment alone": (b"# nothing\n", "must map parameters"),
    "list": (b"- n_rows\n", "must map parameters"),
    "text": (b"n_rows\n", "must map parameters"),
    "two documents": (b"n_rows: 4\n---\nn_rows: 8\n", "not valid YAML"),
    "tabs": (b"n_rows:\t\t4\n\tb: 2\n", "not valid YAML"),
    "broken off": (b"n_rows: [\n", "not valid YAML"),
    "an object": (b"n_rows: !!python/object/apply:os.system [ls]\n", "one plain value"),
    "alias": (b"n_rows: *a\n", "not valid YAML"),
    "merge": (b"<<: {n_rows: 4}\n", "one plain value"),
    "octal": (b"n_rows: 010\n", "`n_rows` must be int, but '010'"),
    "sixties": (b"n_rows: 1:30\n", "`n_rows` must be int, but '1:30'"),
    "5,000 digits": (b"n_rows: " + b"9" * 5000, "`n_rows` must be int"),
    "letters for a number": (b"learning_rate: fast\n", "`learning_rate` must be float"),
    "empty value": (b"n_rows:\n", "`n_rows` must be int, but ''"),
    "bombs": (b"a: &a [1,1]\nb: &b [*a,*a]\nc: [*b,*b]\n", "one plain value"),
}


@pytest.mark.parametrize("name", PROFILES)
def test_a_profile_that_is_none_is_refused(name, plan, tmp_path, monkeypatch):
    text, message = PROFILES[name]
    monkeypatch.setattr(profiles, "PROFILES", tmp_path)
    (tmp_path / "mine.yaml").write_bytes(text)
    refuse(["grid", "list", "--profile", "mine"], message)


# ---- rows ------------------------------------------------------------------------------------------------

ROW = {"instruction": "Name one drug that lowers the heart rate", "input": "", "output": "metoprolol"}
LINE = json.dumps(ROW).encode()
BAD_ROWS = {
    "no file": (None, "No file at|none lies at"),
    "empty": (b"", "has no rows"),
    "blank lines": (b"\n \n\r\n", "has no rows"),
    "a mark alone": (b"\xef\xbb\xbf", "has no rows"),
    "an empty array": (b"[]", "has no rows"),
    "no JSON": (b"hello\n", r"must be JSON.*:1\)"),
    "no JSON after a blank line": (LINE + b"\n\nhello\n", r"must be JSON.*:3\)"),
    "broken off": (LINE + b"\n" + LINE[:20], r"must be JSON.*:2\)"),
    "broken array": (b"[" + LINE, "must be JSON|must be a JSON object"),
    "deep": (b"[" * 100_000 + b"\n", "must be JSON"),
    "deep in a row": (b'{"instruction": ' + b"[" * 100_000 + b"\n", "must be JSON"),
    "5,000 digits": (b'{"id": ' + b"9" * 5000 + b"}\n", "must be JSON"),
    "a number": (b"4\n", "must be a JSON object, but 4 was found"),
    "a text": (b'"a"\n', "must be a JSON object"),
    "null": (b"null\n", "must be a JSON object, but None"),
    "an array of texts": (b'["a", "b"]', "must be a JSON object, but 'a'"),
    "an array in an array": (b"[[1]]", r"must be a JSON object, but \[1\]"),
    "latin-1": (LINE + b'\n{"instruction": "caf\xe9"}\n', r"must be UTF-8, but the byte 0xe9.*:2\)"),
    "utf-16": (LINE.decode().encode("utf-16"), "must be UTF-8"),
    "CSV": (b"instruction,input,output\na,b,c\n", r"must be JSON.*:1\)"),
    "one object over lines": (json.dumps(ROW, indent=1).encode(), r"must be JSON.*:1\)"),
    "zeros": (b"\0" * 100, "must be JSON"),
}
UNTRAINABLE = {
    "other fields": ([{"prompt": "a", "completion": "b"}], "has the fields prompt, completion. Rename"),
    "blank outputs": ([ROW | {"output": "  "}] * 2, "the first one has others. Fill them"),
    "numbers for texts": ([ROW | {"output": 4}], "instruction and an output"),
    "an input that is a list": ([ROW | {"input": ["a"]}], "instruction and an output"),
    "an id twice": ([ROW | {"id": "a"}, ROW, ROW | {"id": "a"}], r"`id` must be unique.*'a'.*:3 and .*:1"),
    "a number as id twice": ([ROW | {"id": 1}, ROW | {"id": 1.0}], "`id` must be unique, but '1'"),
}
MISLABELLED = {
    "a reserved name": ([ROW | {"category": "all"}], "`category`.*cannot be called"),
    "a name with a space": ([ROW | {"category": "q a"}], "`category`.*'q a' was found"),
    "a list": ([ROW | {"category": ["qa"]}], r"`category`.*\['qa'\] was found"),
    "a number": ([ROW | {"category": 4}], "`category`.*4 was found"),
    "a reserved name in capitals": ([ROW | {"category": "All"}], "`category`.*cannot be called"),
    "white space around it": (
        [ROW | {"category": "qa"}, ROW | {"category": "qa "}],
        r"`category`.*'qa ' was found",
    ),
    "another case": (
        [ROW | {"category": "qa"}, ROW | {"category": "QA"}],
        "more than upper and lower case, but 'qa' and 'QA' were found .*:2",
    ),
    "a long name": ([ROW | {"category": "a" * 300}], "40 letters at most, and this one has 300"),
}


def lines(rows):
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


COMMANDS = {
    "filter": lambda path, model: ["filter", path],
    "label": lambda path, model: ["label", path],
    "tune": lambda path, model: ["tune", "--model", model, "--instructions", path, "--n-rows", "1"],
}
ROW_CASES = [(command, data, message) for data, message in BAD_ROWS.values() for command in COMMANDS]
ROW_CASES += [
    (command, lines(rows), message) for rows, message in UNTRAINABLE.values() for command in ("label", "tune")
]
ROW_CASES += [("tune", lines(rows), message) for rows, message in MISLABELLED.values()]


@pytest.fixture
def seen(monkeypatch):
    """Let `study label` take every row for a question, and `study tune` stop once it has read its rows;
    returns the latter.
    """
    from helpers.synthesis import categories, filter_files
    from helpers.tuning import stage

    rows = []

    def stop(settings, given, *_):
        rows.extend(given)
        raise StudyError("rows were read")

    monkeypatch.setattr(categories, "train_labeller", lambda: lambda tasks: ["qa" for _ in tasks])
    monkeypatch.setattr(filter_files, "read_benchmark_ngrams", lambda files: frozenset())
    monkeypatch.setattr(stage, "_train", stop)
    return rows


@pytest.mark.parametrize(("command", "data", "message"), ROW_CASES)
def test_rows_that_are_none_are_refused_by_every_command_in_the_same_words(
    command, data, message, tmp_path, toy_model
):
    path = tmp_path / "rows.jsonl"
    if data is not None:
        path.write_bytes(data)
    refuse(COMMANDS[command](path, toy_model), message)


OTHER = {"instruction": "Nenne ein Mittel gegen Gicht", "input": "Bücher", "output": "アロプリノール 💊"}
BARE = [ROW, OTHER]
NAMED = [{"id": "a", "category": "qa"} | ROW, {"id": "b", "category": "ie"} | OTHER]
FORMS = {
    "JSON lines": lines(NAMED),
    "with a mark of UTF-8": b"\xef\xbb\xbf" + lines(NAMED),
    "with line ends of Windows": lines(NAMED).replace(b"\n", b"\r\n"),
    "with blank lines": b"\n" + lines(NAMED).replace(b"\n", b"\n\n \n"),
    "without a last line end": lines(NAMED).rstrip(),
    "an array": json.dumps(NAMED).encode(),
    "an indented array": json.dumps(NAMED, indent=2).encode(),
    "an array with a mark": b"\xef\xbb\xbf" + json.dumps(NAMED, ensure_ascii=False).encode(),
    "letters as they are": "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in NAMED).encode(),
    "more fields": lines([row | {"meta": {"a": [1]}, "é": None} for row in NAMED]),
    "plain Alpaca": lines(BARE),
    "no input": lines([{name: row[name] for name in ("instruction", "output")} for row in BARE]),
    "an input of null": lines([row | {"input": None} for row in BARE]),
    "an input that is no number": lines([row | {"input": float("nan")} for row in BARE]),
    "ids of null": lines([row | {"id": None} for row in BARE]),
    "empty ids": lines([row | {"id": ""} for row in BARE]),
    "ids of pandas": lines([row | {"id": float("nan")} for row in BARE]),
    "whole numbers as ids": lines([row | {"id": number} for number, row in enumerate(BARE)]),
    "floats as ids": lines([row | {"id": float(number)} for number, row in enumerate(BARE)]),
    "lists as ids": lines([row | {"id": [1]} for row in BARE]),
    "some ids": lines([ROW | {"id": "row-3"}, OTHER]),
    "the same row twice": lines([ROW, ROW]),
    "a category of null": lines([row | {"category": None} for row in BARE]),
    "an empty category": lines([row | {"category": ""} for row in BARE]),
    "other categories": lines([row | {"category": "ward-3"} for row in BARE]),
    "half a surrogate pair": lines([row | {"output": "a \ud800 b"} for row in BARE]),
    "half a pair in a nested field": lines([row | {"meta": {"a": ["\ud800"]}} for row in BARE]),
    "half a pair in a field's name": lines([row | {"\ud800": 1} for row in BARE]),
    "infinite numbers": lines([row | {"score": float("inf")} for row in BARE]),
    "blank outputs among them": lines([ROW, OTHER, ROW | {"output": " "}]),
    "odd spaces": lines([row | {"output": "a\u2028b\x85c\x00d"} for row in BARE]),
}


@pytest.mark.parametrize("name", FORMS)
def test_rows_as_people_have_them_are_read_in_one_way_by_every_command(name, tmp_path, toy_model, seen):
    path = tmp_path / "rows.jsonl"
    path.write_bytes(FORMS[name])
    filtered = CliRunner().invoke(app, ["filter", str(path), "--novelty-threshold", "1", "--min-words", "1"])
    assert filtered.exit_code == 0, filtered.output
    labelled = CliRunner().invoke(app, ["label", str(path)])
    assert labelled.exit_code == 0, labelled.output
    written = [json.loads(line) for line in (tmp_path / "rows.labelled.jsonl").read_text().split("\n")[:-1]]
    options = ["--model", toy_model, "--instructions", str(path), "--n-rows", "1"]
    assert "rows were read" in CliRunner().invoke(app, ["tune", *options]).stderr
    assert len(written) == len(seen) == 2
    assert len({row.id for row in seen}) == 2
    assert [row.id for row in seen] == [row["id"] for row in written]
    assert [row.output for row in seen] == [row["output"] for row in written]
    given = next(read_objects(path))[1]
    assert (
        given.items()
        <= (written[0] | {name: given.get(name) for name in ("id", "input", "category")}).items()
    )
    kept = next((tmp_path / "runs" / "filter").glob("*/kept.jsonl"))
    assert next(read_objects(kept))[1] == given


def test_ids_made_of_the_texts_do_not_depend_on_the_other_rows(tmp_path, toy_model, seen):
    found = []
    for rows in ([ROW, OTHER], [OTHER, {"x": 1} | ROW]):
        (tmp_path / "rows.jsonl").write_bytes(lines(rows))
        options = ["--model", toy_model, "--instructions", str(tmp_path / "rows.jsonl"), "--n-rows", "1"]
        CliRunner().invoke(app, ["tune", *options])
        found.append({row.instruction: row.id for row in seen})
        seen.clear()
    assert found[0] == found[1]


def test_categories_that_lack_are_given_by_the_classifier_and_counted(tmp_path, toy_model, monkeypatch):
    from helpers.synthesis import categories

    monkeypatch.setattr(categories, "train_labeller", lambda: lambda tasks: ["ie" for _ in tasks])
    (tmp_path / "rows.jsonl").write_bytes(
        lines(
            [ROW, ROW | {"category": "ward"}, {"instruction": "List every drug in the note", "output": "x"}]
        )
    )
    options = [
        "--model",
        toy_model,
        "--instructions",
        str(tmp_path / "rows.jsonl"),
        "--n-rows=1",
        "--lora-rank=1",
    ]
    result = CliRunner().invoke(app, ["tune", *options, "--categories=ie", "--max-tokens=64"])
    assert result.exit_code == 0, result.output
    assert "2 of 3 rows of" in result.stderr
    assert "have no category: the offline classifier gave them theirs" in result.stderr


def test_rows_left_out_are_named_by_the_file_that_was_given_whatever_was_read_before(
    tmp_path, monkeypatch, caplog
):
    from helpers.synthesis.user_rows import prepare_rows_file

    monkeypatch.delenv("STUDY_PROGRESS", raising=False)
    for name in ("one.jsonl", "two.jsonl"):
        (tmp_path / name).write_bytes(lines([ROW | {"category": "ward"}, {"instruction": "Say nothing"}]))
        prepare_rows_file(tmp_path / name)
    first, second = caplog.messages
    assert "one.jsonl:2." in first
    assert "two.jsonl:2." in second


def test_a_category_that_the_classifier_gives_differs_from_the_others_in_more_than_case(
    tmp_path, monkeypatch
):
    from helpers.synthesis import categories
    from helpers.synthesis.user_rows import prepare_rows_file

    monkeypatch.setattr(categories, "train_labeller", lambda: lambda tasks: ["qa" for _ in tasks])
    bare = {"instruction": "Say which drug helps", "output": "x"}
    (tmp_path / "rows.jsonl").write_bytes(lines([ROW | {"category": "QA"}, bare]))
    with pytest.raises(StudyError, match=r"'QA' and 'qa' were found .*rows\.jsonl:2"):
        prepare_rows_file(tmp_path / "rows.jsonl")


# ---- items of benchmarks ---------------------------------------------------------------------------------

CHOICE = {"split": "test", "context": "", "question": "Is it so?", "options": ["yes", "no"], "answer": 0}
DISEASE = {"split": "test", "text": "Gout, not asthma", "gold": [{"forms": ["Gout"]}]}
BAD_ITEMS = {
    "no JSON": ("medqa", "medqa.jsonl", "hello\n", r"must be JSON.*medqa\.jsonl:1"),
    "no rows": ("medqa", "medqa.jsonl", "", "has no rows"),
    "a list a line": ("medqa", "medqa.jsonl", "[1]\n[2]\n", "must be a JSON object"),
    "another set": ("medqa", "medqa.jsonl", '{"text": "a"}\n', "medqa.jsonl:1"),
    "options as a text": ("medqa", "medqa.jsonl", '{"question": "a", "options": "b", "answer": "c"}\n', ":1"),
    "a list": ("pubmedqa", "ori_pqal.json", "[1, 2]", "must map columns to values, but '1'"),
    "no JSON in it": ("pubmedqa", "ori_pqal.json", "{a: 1}", "cannot be read as the set's file"),
    "a number": ("pubmedqa", "ori_pqal.json", "4", "cannot be read as the set's file"),
    "null": ("pubmedqa", "ori_pqal.json", "null", "cannot be read as the set's file"),
    "empty": ("pubmedqa", "ori_pqal.json", "", "cannot be read as the set's file"),
    "deep": ("pubmedqa", "ori_pqal.json", "[" * 100_000, "cannot be read as the set's file"),
    "another set's rows": (
        "pubmedqa",
        "ori_pqal.json",
        '{"1": {"a": 1}}',
        "does not have the columns expected",
    ),
    "another answer": (
        "pubmedqa",
        "ori_pqal.json",
        '{"1": {"CONTEXTS": [], "QUESTION": "a", "final_decision": "often"}}',
        "does not have the columns expected",
    ),
    "a quote never closed": (
        "mts_dialog",
        "MTS-Dialog-TestSet-1-MEDIQA-Chat-2023.csv",
        'ID,section_header,section_text,dialogue\n1,GENHX,"never closed,Doctor: hello\n',
        "cannot be read as the set's file",
    ),
    "an empty table": (
        "mts_dialog",
        "MTS-Dialog-TestSet-1-MEDIQA-Chat-2023.csv",
        "",
        "cannot be read as the set's file",
    ),
    "another table": (
        "mts_dialog",
        "MTS-Dialog-TestSet-1-MEDIQA-Chat-2023.csv",
        "a,b\n1,2\n",
        "does not have the columns expected",
    ),
    "tokens without tags": (
        "ncbi_disease",
        "test.tsv",
        "Gout\nis\n",
        "lacks rows|No row|train|columns|needs",
    ),
    "an annotation of another form": (
        "maccrobat_medications",
        "a.ann",
        "T1 Medication 0 4 iron\n",
        "cannot be read as the set's file|No such file",
    ),
    "an item without options": ("exam_choice", "exam_choice.jsonl", [CHOICE | {"options": []}], "`options`"),
    "one option": ("exam_choice", "exam_choice.jsonl", [CHOICE | {"options": ["yes"]}], "`options`"),
    "53 options": (
        "exam_choice",
        "exam_choice.jsonl",
        [CHOICE | {"options": list(map(str, range(53)))}],
        "52",
    ),
    "equal options": ("exam_choice", "exam_choice.jsonl", [CHOICE | {"options": ["a", "a"]}], "must differ"),
    "an answer beyond": (
        "exam_choice",
        "exam_choice.jsonl",
        [CHOICE | {"answer": 2}],
        "below the number of options",
    ),
    "an answer below": ("exam_choice", "exam_choice.jsonl", [CHOICE | {"answer": -1}], "`answer`"),
    "a blank question": ("exam_choice", "exam_choice.jsonl", [CHOICE | {"question": " "}], "`question`: "),
    "an unknown field": ("exam_choice", "exam_choice.jsonl", [CHOICE | {"x": 1}], "`x`"),
    "an unknown split": ("exam_choice", "exam_choice.jsonl", [CHOICE | {"split": "dev"}], "`split`.*'dev'"),
    "one item": ("exam_choice", "exam_choice.jsonl", [CHOICE], "two test items at least"),
    "no test item": (
        "exam_choice",
        "exam_choice.jsonl",
        [CHOICE | {"split": "train"}],
        "rows with split 'test'",
    ),
    "no example": ("ncbi_disease", "ncbi_disease.jsonl", [DISEASE, DISEASE], "a row with split 'train'"),
    "a mention not in its text": (
        "ncbi_disease",
        "ncbi_disease.jsonl",
        [DISEASE | {"gold": [{"forms": ["flu"]}]}],
        "'flu' must occur in the text",
    ),
    "no mention": ("ncbi_disease", "ncbi_disease.jsonl", [DISEASE | {"gold": []}], "`gold`"),
    "a folder without the file": ("exam_choice", "else.jsonl", "x", "needs .*exam_choice.jsonl"),
}


@pytest.mark.parametrize("name", BAD_ITEMS)
def test_items_that_are_none_are_refused_before_a_model_is_loaded(name, tmp_path):
    task, file, content, message = BAD_ITEMS[name]
    (tmp_path / file).write_bytes(content.encode() if isinstance(content, str) else lines(content))
    refuse(["evaluate", "--model", "no/model", "--tasks", task, "--data", tmp_path], message)


def scores(tmp_path, toy_model, task, rows):
    """Evaluate a toy model on rows of one's own; return its table of scores."""
    (tmp_path / f"{task}.jsonl").write_bytes(lines(rows))
    options = [
        "--model",
        toy_model,
        "--tasks",
        task,
        "--data",
        str(tmp_path),
        "--output",
        str(tmp_path / "out"),
    ]
    result = CliRunner().invoke(app, ["evaluate", *options])
    assert result.exit_code == 0, result.output
    return result.output


def test_thirty_options_are_scored_by_text_and_by_letter(tmp_path, toy_model):
    rows = [
        CHOICE | {"question": f"Which {n}?", "options": [f"ward {k}" for k in range(30)]} for n in range(3)
    ]
    assert "exam_choice" in scores(tmp_path, toy_model, "exam_choice", rows)
    options = [
        "--model",
        toy_model,
        "--tasks=exam_choice",
        "--data",
        str(tmp_path),
        "--choice-scoring=letter",
    ]
    assert CliRunner().invoke(app, ["evaluate", *options]).exit_code == 0


def test_a_mention_that_is_named_twice_counts_once(tmp_path, toy_model, monkeypatch):
    from helpers.evaluation import stage

    text = "Diabetes was found; diabetes worsened and the diabetes clinic was asked."
    gold = [{"forms": ["Diabetes"]}, {"forms": ["diabetes"]}, {"forms": ["diabetes", "diabetes clinic"]}]
    rows = [{"split": split, "text": text, "gold": gold} for split in ("train", "test", "test")]
    rows = [row | {"text": f"{row['text']} {n}"} for n, row in enumerate(rows)]
    monkeypatch.setattr(stage, "answer_items", lambda *_: [{"response": "diabetes"}] * 2)
    output = scores(tmp_path, toy_model, "ncbi_disease", rows)
    assert re.search(r"ncbi_disease .* 1\.0 +1\.0 +1\.0", output), output


# ---- options and surroundings ----------------------------------------------------------------------------

OPTIONS = {
    "a seed of 30 digits": (["tune", "--training-seed", "9" * 30], 1, "`training_seed` must be at most"),
    "epochs without end": (["tune", "--epochs", "1000000000"], 1, "`epochs` must be at most 10,000"),
    "a rate that is none": (["tune", "--learning-rate", "nan"], 1, "finite"),
    "float16": (["tune", "--dtype", "float16"], 1, "`dtype` must be one of"),
    "a model that is none": (["tune", "--model", "no-such-model"], 1, "`model` must be"),
    "a rank of zero": (["tune", "--lora-rank", "0"], 1, "at least 1"),
    "5,000 digits": (["tune", "--n-rows", "9" * 5000], 2, "Invalid value|not a valid"),
    "a word for a number": (["tune", "--n-rows", "many"], 2, "valid integer"),
    "an unknown option": (["tune", "--n-row", "4"], 2, "No such option"),
    "no items": (["evaluate", "--n-items", "0"], 1, "`n_items` must be at least"),
    "2**70 items": (["evaluate", "--n-items", str(2**70)], 1, "`n_items` must be at most"),
    "a task twice": (
        ["evaluate", "--tasks", "evidence_yesno,evidence_yesno"],
        1,
        "'evidence_yesno' was found twice",
    ),
    "a scoring that is none": (["evaluate", "--choice-scoring", "x"], 1, "`choice_scoring` must be"),
    "orders without a list": (["evaluate", "--permute-options"], 1, "`permute_options` has no effect"),
    "no such folder": (["evaluate", "--data", "nowhere", "--tasks", "medqa"], 1, "needs"),
    "a threshold in percent": (["filter", "FILE", "--novelty-threshold", "70"], 1, "at most 1"),
    "words below zero": (["filter", "FILE", "--min-words", "-1"], 1, "at least 1"),
    "no such benchmark": (["filter", "FILE", "--against", "nowhere.jsonl"], 1, "No file at"),
    "no such field": (["label", "FILE", "--compare", "label"], 1, "in the field 'label'"),
    "a file without a name": (["label", ""], 1, "No file at"),
    "rows written over themselves": (
        ["label", "FILE", "--output", "FILE"],
        1,
        "would be lost if written over",
    ),
    "counts written over the rows": (
        ["filter", "FILE", "--counts", "FILE"],
        1,
        "would be lost if written over",
    ),
    "agreement written over the rows": (
        ["label", "FILE", "--compare", "category", "--agreement", "FILE"],
        1,
        "would be lost if written over",
    ),
    "a folder that is a file": (["evaluate", "--output", "FILE"], 2, "Invalid value"),
    "a book that is a file": (["run", "--book", "FILE"], 2, "Invalid value"),
    "figures in a file": (["figures", "--folder", "FILE"], 2, "Invalid value"),
    "a name that no file can have": (
        ["label", "FILE", "--output", "a" * 300],
        1,
        "File name too long.*Check the path",
    ),
    "a folder to write to": (["label", "FILE", "--output", "FOLDER"], 1, "Is a directory.*Check the path"),
    "no name to write to": (["label", "FILE", "--output", ""], 1, "must have a name"),
    "no name for the counts": (["filter", "FILE", "--counts", ""], 1, "must have a name"),
    "no command": (["tuna"], 2, "No such command"),
    "no such cell": (["grid", "run", "--profile", "smoke", "--cell", "x"], 1, "`cell` must be one of"),
    "no such profile": (["grid", "list", "--profile", "../smoke/x"], 1, "`profile` must be one of"),
}


@pytest.mark.parametrize("name", OPTIONS)
def test_an_option_that_is_wrong_is_refused(name, tmp_path):
    arguments, code, message = OPTIONS[name]
    (tmp_path / "rows.jsonl").write_bytes(lines(BARE))
    file = str(tmp_path / "rows.jsonl")
    if arguments[0] == "tune":
        arguments = [*arguments, "--instructions", file]
    places = {"FILE": file, "FOLDER": str(tmp_path)}
    result = CliRunner().invoke(app, [places.get(argument, argument) for argument in arguments])
    assert result.exit_code == code, result.output
    assert re.search(message, result.stderr), result.stderr
    assert "Traceback" not in result.output
    assert "fault of the project" not in result.output


def test_an_error_that_nobody_thought_of_is_one_message_and_a_file_without_secrets(
    monkeypatch, runs, tmp_path
):
    from helpers.synthesis import filter_files

    def fail(*_):
        raise ZeroDivisionError("no http://user:secret@host/v1 for sk-a-key-that-is-long")

    (tmp_path / "rows.jsonl").write_bytes(lines(BARE))
    monkeypatch.setenv("OPENAI_API_KEY", "sk-a-key-that-is-long")
    monkeypatch.setattr(filter_files, "decide", fail)
    result = CliRunner().invoke(app, ["filter", str(tmp_path / "rows.jsonl")])
    assert result.exit_code == 1
    assert "ZeroDivisionError: no http://<hidden>@host/v1 for <OPENAI_API_KEY>" in result.stderr
    assert "Traceback" not in result.output
    [kept] = (runs / "errors").iterdir()
    assert kept.name in result.stderr
    assert "in fail" in kept.read_text()
    assert "secret" not in kept.read_text()
    assert "sk-a-key" not in kept.read_text()


def test_a_gpu_that_is_full_is_one_message_and_no_fault(monkeypatch, runs, tmp_path):
    from torch import OutOfMemoryError

    from helpers.synthesis import filter_files

    def fail(*_):
        raise OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB")

    (tmp_path / "rows.jsonl").write_bytes(lines(BARE))
    monkeypatch.setattr(filter_files, "decide", fail)
    result = CliRunner().invoke(app, ["filter", str(tmp_path / "rows.jsonl")])
    assert result.exit_code == 1
    assert "The GPU's memory is full" in result.stderr
    assert not (runs / "errors").exists()


WRITERS = {
    "student": lambda folder, model: ["student", "--folder", folder],
    "label": lambda folder, model: [
        "label",
        folder / "rows.jsonl",
        "--output",
        folder / "out" / "labelled.jsonl",
    ],
    "filter": lambda folder, model: ["filter", folder / "rows.jsonl", "--counts", folder / "counts.csv"],
    "export-harness": lambda folder, model: [
        "export-harness",
        folder / "out",
        "--model",
        model,
        "--tasks=evidence_yesno",
    ],
}


@pytest.mark.parametrize("name", WRITERS)
def test_a_full_disk_is_one_message_with_the_file_in_every_command(
    name, tmp_path, toy_model, seen, file_limit
):
    rows = [ROW | {"output": "metoprolol " * 20}] * 40
    (tmp_path / "rows.jsonl").write_bytes(lines(rows))
    with file_limit(500):
        refuse(WRITERS[name](tmp_path, toy_model), f"limit is reached: {tmp_path}.* could not be written")


@pytest.mark.parametrize(("name", "command"), [("STUDY_RUNS", "filter"), ("STUDY_CACHE", "fetch")])
def test_a_place_in_the_home_of_nobody_is_refused(name, command, monkeypatch, tmp_path):
    (tmp_path / "rows.jsonl").write_bytes(lines(BARE))
    fetch_model.cache_clear()
    monkeypatch.setenv(name, "~no-such-user/study")
    arguments = [tmp_path / "rows.jsonl"] if command == "filter" else []
    refuse(
        [command, *arguments],
        f"{name} must name a folder, but nobody knows the home in '~no-such-user/study'",
    )


def test_a_home_in_which_nothing_can_be_written_says_what_to_set(monkeypatch):
    fetch_model.cache_clear()
    for name in ("STUDY_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", "/proc/nowhere")
    refuse(["fetch"], "kept in /proc/nowhere.* cannot be made .*Let STUDY_CACHE name")


@pytest.fixture
def odd_place(tmp_path):
    """Copy the project into a folder with a space and an accent; return a function that starts its command
    line from another folder, without a home, in the locale C.
    """
    clone, elsewhere = tmp_path / "a clone é", tmp_path / "elsewhere"
    elsewhere.mkdir()
    for name in ("src", "seeds", "notebooks"):
        shutil.copytree(ROOT / name, clone / name, ignore=shutil.ignore_patterns("__pycache__"))
    (clone / "study.py").write_text("from helpers.cli import main\nmain()\n")
    home = {"HOME": "/proc", "XDG_CACHE_HOME": "/proc/cache", "LC_ALL": "C", "PYTHONPATH": str(clone / "src")}

    def start(*arguments, **environment):
        return subprocess.Popen(
            [sys.executable, clone / "study.py", *arguments],
            cwd=elsewhere,
            env={"PATH": os.environ["PATH"]} | home | environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            encoding="utf-8",
        )

    start.clone, start.elsewhere = clone, elsewhere
    return start


@pytest.mark.slow  # six processes of the real command line
def test_a_clone_with_a_space_another_folder_no_home_and_the_locale_c_change_nothing(odd_place):
    (odd_place.elsewhere / "rows é.jsonl").write_text(
        json.dumps(OTHER, ensure_ascii=False) + "\n", encoding="utf-8"
    )
    for runs, place in (({}, "runs"), ({"STUDY_RUNS": " "}, "runs"), ({"STUDY_RUNS": "my runs"}, "my runs")):
        process = odd_place("filter", "rows é.jsonl", **runs)
        output, errors = process.communicate()
        assert process.returncode == 0, errors
        assert f"in {place}/filter/" in output
        assert list((odd_place.clone / place / "filter").glob("*/kept.jsonl"))
    assert not [path for path in odd_place.elsewhere.iterdir() if path.name != "rows é.jsonl"]
    process = odd_place("filter", "rows é.jsonl", STUDY_RUNS="/proc/version/runs")
    _, errors = process.communicate()
    assert process.returncode == 1
    assert "STUDY_RUNS" in errors
    assert "Traceback" not in errors


@pytest.mark.slow  # two processes of the real command line
def test_the_same_command_twice_at_once_ends_well_twice(odd_place):
    processes = [odd_place("synthesize", "--profile", "smoke") for _ in range(2)]
    for process in processes:
        _, errors = process.communicate()
        assert process.returncode == 0, errors


def test_how_many_bad_inputs_there_are(capsys):
    tables = (PARAMETERS, *CHOICES.values(), NAMES, PROFILES, ROW_CASES, BAD_ITEMS, OPTIONS)
    n_cases = sum(map(len, tables))
    with capsys.disabled():
        print(f" {n_cases} bad inputs through the command line ", end="")  # noqa: T201
    assert n_cases >= 300
