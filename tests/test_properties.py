"""Properties that hold for any text, any order and any damage, on examples that are drawn the same way each
time: no reply, file or parameter is too odd to be read or refused in words.
"""

import dataclasses
import json
import math
import shutil
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from helpers import store
from helpers.analysis.published.tables import AuditSettings
from helpers.book.parameters import GRID_ONLY, check_parameters, inspect_notebooks, parse_assignments
from helpers.errors import StudyError
from helpers.files import write_text
from helpers.jsonl import read_rows, read_values
from helpers.provider.journal import Completion, Journal, RemoteModel
from helpers.provider.ledger import Ledger, ProviderLimits
from helpers.records import Instruction, SeedTask, TeacherReply, Usage
from helpers.settings import MOST_CHARACTERS, build_settings
from helpers.study.study import Study
from helpers.synthesis.filters import find_fault
from helpers.synthesis.label_parsing import parse_labels
from helpers.synthesis.parsing import FIELDS, parse_json_reply, parse_reply
from helpers.synthesis.requests import LIST, format_task
from helpers.synthesis.teacher import parse_teacher_reply
from helpers.synthesis.user_rows import read_trainable_rows

bounded = settings(derandomize=True, max_examples=50, deadline=None, database=None)

# ---- replies ---------------------------------------------------------------------------------------------

PIECES = st.sampled_from(
    [
        "4. ",
        "5) ",
        "Task 6:",
        "Instruction:",
        "**Input:** ",
        "output: ",
        "\n",
        "\n\n",
        "---",
        "# ",
        "> ",
        "```",
        "```json\n",
        "<think>",
        "</think>",
        "[THINK]",
        "<|channel|>final<|message|>",
        "None",
        "{",
        "}",
        "[",
        "]",
        '"tasks": [',
        '{"instruction": "Name it", "input": null, "output": "x", "category": "qa"},',
        "qa",
        "4: ie",
        "Let me know if you want more tasks.",
        "\r\n",
        "\u2028",
        "�",
        "\x00",
        "9" * 40,
        "٤. ",
        "é",
    ]
)
REPLIES = st.one_of(st.text(max_size=80), st.lists(PIECES | st.text(max_size=8), max_size=30).map("".join))
REASONS = st.sampled_from(["stop", "length", "content_filter", "other"])


@bounded
@given(REPLIES, REASONS)
def test_no_reply_is_too_odd_to_be_read_and_no_kept_task_lacks_a_text(text, reason):
    for tasks in (
        parse_reply(text, reason),
        parse_json_reply(text, 4)[0],
        parse_teacher_reply(text, reason, LIST),
    ):
        for task in tasks:
            if task.is_complete and find_fault(task, 1, 10**6, ()) is None:
                assert task.instruction.strip()
                assert task.output.strip()
                assert task.input is not None
    assert set(parse_labels(text, [4, 5]).values()) <= {"qa", "ie", "gen", "other"}


@st.composite
def lists(draw):
    """Tasks with odd texts, as a list in one of the usual forms."""
    text = st.lists(PIECES | st.text(max_size=8), min_size=1, max_size=4).map("".join)
    form = draw(st.sampled_from(["{n}. {name}: ", "**{n}) {name}:** ", "### {n}. {name}:\n", "{name} {n}: "]))
    items = draw(st.lists(st.tuples(text, text, text), min_size=1, max_size=3))
    return "\n".join(
        form.format(n=n, name=name) + value
        for n, values in enumerate(items, 4)
        for name, value in zip(("Instruction", "Input", "Output"), values, strict=True)
    )


@bounded
@given(lists())
def test_a_reply_written_anew_from_what_was_read_gives_the_same(text):
    tasks = [task for task in parse_reply(text) if task.is_complete]
    numbered = [dataclasses.replace(task, number=n, is_trimmed=False) for n, task in enumerate(tasks, 4)]
    written = "\n".join(format_task(t.number, t.instruction, t.input, t.output) for t in numbered)
    assert [dataclasses.replace(task, is_trimmed=False) for task in parse_reply(written)] == numbered


# ---- parameters ------------------------------------------------------------------------------------------

TEXTS = st.text(max_size=30) | st.sampled_from(
    ["1", "-1", "1e999", "nan", "true", "null", "[1]", "9" * 5000, "1_0"]
)
DECLARED = GRID_ONLY | {name: each for found in inspect_notebooks().values() for name, each in found.items()}


@bounded
@given(data=st.data())
def test_any_text_as_a_parameter_is_a_value_or_an_error_in_words(data):
    name = data.draw(st.sampled_from(sorted(DECLARED)))
    text = data.draw(TEXTS)
    try:
        value = check_parameters(parse_assignments([f"{name}={text}"]), DECLARED)[name]
        Study.from_parameters({name: value})
        build_settings(AuditSettings, {name: value})
    except StudyError as error:
        assert str(error)
        return
    assert type(value) in (str, int, float, bool)
    assert not isinstance(value, float) or math.isfinite(value)
    assert not isinstance(value, str) or len(value) <= MOST_CHARACTERS


# ---- rows of people --------------------------------------------------------------------------------------

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(codec=None), max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)
NAMES = st.sampled_from([*FIELDS, "id", "category", "more"])
ROWS = st.lists(st.dictionaries(NAMES, VALUES, max_size=6), max_size=4)
DATA = st.one_of(
    st.binary(max_size=60),
    st.text(max_size=60).map(str.encode),
    ROWS.map(lambda rows: json.dumps(rows).encode()),
    ROWS.map(lambda rows: "\n".join(map(json.dumps, rows)).encode()),
    ROWS.map(lambda rows: b"\xef\xbb\xbf" + "\r\n".join(map(json.dumps, rows)).encode()),
)


@pytest.fixture(scope="module")
def rows_file(tmp_path_factory):
    return tmp_path_factory.mktemp("rows") / "rows.jsonl"


@bounded
@given(data=DATA)
def test_any_file_of_rows_is_read_or_refused_in_words_that_name_it(rows_file, data):
    rows_file.write_bytes(data)
    try:
        rows, left_out = read_trainable_rows(rows_file)
        assert (
            len({row["id"] for _, row in rows})
            == len(rows)
            == len(list(read_values(rows_file))) - len(left_out)
        )
        assert all(row["instruction"].strip() and row["output"].strip() for _, row in rows)
        json.dumps([row for _, row in rows], ensure_ascii=False, allow_nan=False).encode()
    except StudyError as error:
        assert rows_file.name in str(error)
    for schema in (Instruction, SeedTask, TeacherReply):
        try:
            assert read_rows(rows_file, schema)
        except StudyError as error:
            assert rows_file.name in str(error)


# ---- journal and ledger ----------------------------------------------------------------------------------

LIMITS = ProviderLimits(max_cost_tokens=3_000)
MODEL = RemoteModel("teacher", "toy", "http://localhost/v1")
COUNTS = st.integers(0, 400)


class Account(RuleBasedStateMachine):
    """A model that is asked by processes that die at any time, with a last line broken off anywhere: the
    account says the same as a sum kept beside it, and the cap holds.
    """

    def __init__(self):
        super().__init__()
        self.place = TemporaryDirectory()
        self.patch = pytest.MonkeyPatch()
        self.patch.setenv("STUDY_RUNS", self.place.name)
        self.under_way, self.lost, self.settled, self.n_asked = {}, 0, 0, 0
        self.kept = {}
        self.start()

    def start(self):
        self.journal = Journal(MODEL)
        self.ledger = Ledger(self.journal, LIMITS)

    def teardown(self):
        self.patch.undo()
        self.place.cleanup()

    @rule(n_input=COUNTS, n_output=COUNTS)
    def ask(self, n_input, n_output):
        body = {"model": "toy", "seed": self.n_asked}
        spent = self.settled + self.lost + sum(most for most, _ in self.under_way.values())
        reservation = self.ledger.reserve(self.journal.hash_request(body), n_input, n_output)
        assert (reservation is None) == (spent + n_input + n_output > LIMITS.max_cost_tokens)
        if reservation:
            self.n_asked += 1
            self.under_way[reservation] = (n_input + n_output, body)

    @precondition(lambda self: self.under_way)
    @rule(data=st.data(), is_counted=st.booleans(), share=st.floats(0, 1), text=st.text(max_size=9))
    def answer(self, data, is_counted, share, text):
        reservation = data.draw(st.sampled_from(sorted(self.under_way)))
        most, body = self.under_way.pop(reservation)
        billed = int(share * most)
        usage = Usage(input_tokens=billed, output_tokens=0) if is_counted else None
        text = text.encode("utf-8", "replace").decode()
        answer = Completion(model="toy", finish_reason="stop", text=text, usage=usage)
        self.journal.keep(self.journal.hash_request(body), answer)
        self.kept[body["seed"]] = answer
        self.ledger.settle(reservation, usage)
        self.ledger.settle(reservation, usage)  # as a kill makes it happen; booked once
        self.settled += billed if is_counted else most

    @precondition(lambda self: self.under_way)
    @rule(data=st.data())
    def refuse(self, data):
        reservation = data.draw(st.sampled_from(sorted(self.under_way)))
        self.under_way.pop(reservation)
        self.ledger.release(reservation)

    @rule(torn=st.binary(max_size=20).filter(lambda data: b"\n" not in data))
    def die(self, torn):
        """What is under way has no answer, and may have been billed."""
        self.lost += sum(most for most, _ in self.under_way.values())
        self.under_way.clear()
        path = self.journal.folder / "ledger.jsonl"
        if path.is_file():
            with path.open("ab") as file:
                file.write(torn)
        self.start()

    @invariant()
    def the_account_is_the_sum(self):
        under_way = sum(most for most, _ in self.under_way.values())
        for ledger in (self.ledger, Ledger(self.journal, LIMITS)):
            assert ledger.spent.tokens == self.settled + self.lost + under_way <= LIMITS.max_cost_tokens
        assert all(self.journal.find({"model": "toy", "seed": n}) == self.kept[n] for n in self.kept)


TestAccount = Account.TestCase
TestAccount.settings = settings(bounded, max_examples=20, stateful_step_count=15)


@bounded
@given(data=st.binary(max_size=60) | st.text(max_size=60).map(str.encode), number=st.integers(0, 2))
def test_any_damage_of_an_account_is_found_and_left_as_it_is(data, number):
    with TemporaryDirectory() as place, pytest.MonkeyPatch.context() as patch:
        patch.setenv("STUDY_RUNS", place)
        ledger = Ledger(Journal(MODEL), LIMITS)
        for n in range(3):
            ledger.settle(ledger.reserve(str(n), 10, 10), Usage(input_tokens=1, output_tokens=n))
        [path] = Path(place).rglob("ledger.jsonl")
        lines = path.read_bytes().splitlines(keepends=True)
        lines[2 * number] = data.replace(b"\n", b"") + b"\n"
        path.write_bytes(b"".join(lines))
        with pytest.raises(StudyError, match="damaged"):
            Ledger(Journal(MODEL), LIMITS)
        assert path.read_bytes() == b"".join(lines)


# ---- store -----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def sealed(tmp_path_factory):
    """Seal a result of three files; return its folder."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("STUDY_RUNS", str(tmp_path_factory.mktemp("sealed")))
        return make_result().path


def make_result():
    def compute(folder):
        for name in ("a.jsonl", "part/b.csv", "c"):
            write_text(folder / name, f"{name}\n" * 3)
        return {"n": 3}

    return store.run_stage("toy", {"a": 1}, {}, 1, compute)


@bounded
@given(data=st.data())
def test_any_damage_of_one_file_of_a_sealed_result_is_found_or_made_again(sealed, data):
    with TemporaryDirectory() as place, pytest.MonkeyPatch.context() as patch:
        patch.setenv("STUDY_RUNS", place)
        folder = Path(place) / "toy" / sealed.name
        shutil.copytree(sealed, folder)
        name = data.draw(st.sampled_from(["a.jsonl", "part/b.csv", "c", store.MANIFEST]))
        whole = (folder / name).read_bytes()
        start, end = sorted((data.draw(st.integers(0, len(whole))), data.draw(st.integers(0, len(whole)))))
        kind = data.draw(st.sampled_from(["missing", "cut", "changed", "added"]))
        if kind == "missing":
            (folder / name).unlink()
        else:
            put = b"" if kind == "cut" else data.draw(st.binary(min_size=1, max_size=20))
            (folder / name).write_bytes(
                whole[:start] + put + (whole[start:] if kind == "added" else whole[end:])
            )
        try:
            found = make_result()
        except StudyError as error:
            assert "missing or was altered" in str(error)
            return
        assert all(
            found.file(n).read_bytes() == (sealed / n).read_bytes() for n in ("a.jsonl", "part/b.csv", "c")
        )
        assert found.manifest["facts"] == {"n": 3}
