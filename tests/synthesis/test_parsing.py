"""From replies to tasks."""

import random
import time

import pytest

from helpers.records import CATEGORIES
from helpers.synthesis.label_parsing import parse_labels
from helpers.synthesis.parsing import parse_json_reply, parse_reply
from helpers.synthesis.requests import format_task
from helpers.synthesis.teacher import parse_teacher_reply

REPLY = """4. Instruction: List the drugs.
4. Input: Aspirin 100 mg.
Second line of the note.
4. Output: aspirin
5. Instruction: Name the vitamin.
5. Input: <noinput>
5. Output: C
"""


def test_fields_run_to_the_next_heading():
    first, second = parse_reply(REPLY)
    assert (first.number, first.instruction, first.output) == (4, "List the drugs.", "aspirin")
    assert first.input == "Aspirin 100 mg.\nSecond line of the note."
    assert (second.input, second.is_complete) == ("", True)


def test_a_task_as_a_request_shows_it_is_read_as_it_was():
    for given in ("", "Aspirin 100 mg."):
        [task] = parse_reply(format_task(4, "Name the drug.", given, "aspirin"))
        assert (task.instruction, task.input, task.output) == ("Name the drug.", given, "aspirin")
    assert format_task(4, "Name the drug.", "", "aspirin").splitlines()[1] == "4. Input: <noinput>"


def test_a_task_without_output_is_incomplete():
    tasks = parse_reply("4. Instruction: A\n4. Input: b\n5. Instruction: C\n5. Input: d\n5. Output: e")
    assert [task.is_complete for task in tasks] == [False, True]


@pytest.mark.parametrize("finish_reason", ["length", "content_filter", "other"])
def test_the_last_task_of_a_cut_reply_is_incomplete_whatever_it_holds(finish_reason):
    assert [task.is_complete for task in parse_reply(REPLY, finish_reason)] == [True, False]


def test_a_number_that_comes_twice_starts_a_second_task():
    tasks = parse_reply(REPLY + REPLY)
    assert [task.number for task in tasks] == [4, 5, 4, 5]


def test_numbered_lists_inside_an_output_stay_inside():
    [task] = parse_reply("4. Instruction: A\n4. Input: b\n4. Output: 1. rest\n2. fluids")
    assert task.output == "1. rest\n2. fluids"


def test_garbage_has_no_tasks():
    assert parse_reply("I cannot help with that.") == []


def clean(text, finish_reason="stop"):
    return [
        (task.number, task.instruction, task.input, task.output)
        for task in parse_reply(text, finish_reason)
        if task.is_complete
    ]


TWO = [(4, "List the drugs.", "Aspirin.", "aspirin"), (5, "Name the vitamin.", "", "C")]


@pytest.mark.parametrize(
    "form",
    [
        "{n}. Instruction: {a}\n{n}. Input: {b}\n{n}. Output: {c}\n",
        "{n}. **Instruction**: {a}\n{n}. **Input**: {b}\n{n}. **Output**: {c}\n",
        "{n}. **Instruction:** {a}\n   **Input:** {b}\n   **Output:** {c}\n\n",
        "**{n}. Instruction:** {a}\n**{n}. Input:** {b}\n**{n}. Output:** {c}\n",
        "**{n}.** **Instruction:** {a}\n**Input:** {b}\n**Output:** {c}\n",
        "{n}) Instruction: {a}\n{n}) Input: {b}\n{n}) Output: {c}\n",
        "({n}) Instruction: {a}\n({n}) Input: {b}\n({n}) Output: {c}\n",
        "    {n}. Instruction: {a}\n\t{n}. Input: {b}\n    {n}. Output: {c}\n",
        "- {n}. Instruction: {a}\n- {n}. Input: {b}\n- {n}. Output: {c}\n",
        "### {n}. Instruction: {a}\n### {n}. Input: {b}\n### {n}. Output: {c}\n",
        "Instruction {n}: {a}\nInput {n}: {b}\nOutput {n}: {c}\n\n",
        "Task {n} - Instruction: {a}\nTask {n} - Input: {b}\nTask {n} - Output: {c}\n",
        "### Task {n}\n**Instruction:** {a}\n**Input:** {b}\n**Output:** {c}\n\n---\n\n",
        "**Task {n}: a title**\nInstruction: {a}\nInput: {b}\nOutput: {c}\n\n",
        "{n}.\nInstruction: {a}\nInput: {b}\nOutput: {c}\n\n",
        "Instruction: {a}\nInput: {b}\nOutput: {c}\n\n",
        "{n}. instruction: {a}\r\n{n}. INPUT: {b}\r\n{n}. Output: {c}\r\n",
        "```\n{n}. Instruction: {a}\n{n}. Input: {b}\n{n}. Output: {c}\n```\n",
    ],
)
def test_items_are_read_in_the_forms_in_which_models_write_them(form):
    reply = "".join(
        form.format(n=n, a=instruction, b=given or "None", c=output) for n, instruction, given, output in TWO
    )
    assert clean(reply) == TWO
    assert clean(f"Here are the tasks:\n\n{reply}\n\nLet me know if you would like more tasks!") == TWO


@pytest.mark.parametrize(
    "nothing", ["None", "none.", "N/A", "<noinput>", "(no input)", "No input needed.", "-", '""']
)
def test_an_input_that_says_there_is_none_is_none(nothing):
    assert clean(f"4. Instruction: A\n4. Input: {nothing}\n4. Output: None") == [(4, "A", "", "None")]


@pytest.mark.parametrize(
    "given", ["None of the above applies", "No input was lost in the transfer", "NA 138 mmol/l"]
)
def test_an_input_that_begins_like_none_is_an_input(given):
    assert clean(f"4. Instruction: A\n4. Input: {given}\n4. Output: b") == [(4, "A", given, "b")]


DRAFT = "<think>\n4. Instruction: Draft\n4. Input: d\n4. Output: e\n</think>\n"


@pytest.mark.parametrize(
    "around",
    [
        (DRAFT, ""),
        (DRAFT.removeprefix("<think>"), ""),
        ("Sure! Here is the rest of the list.\n\n", ""),
        ("```text\n", "\n```"),
        ("", "\n\n---\n"),
        ("", "\n\n---\nThat completes the list of 20 tasks."),
        ("", "\n\nI hope these tasks are helpful for your model!"),
        ("", "\n\nLet me know if you need anything else."),
        ("", "\n\n### End of list"),
        ("", "\n```\n\nThese 17 tasks cover four categories."),
        (DRAFT + "```\n", "\n```"),
    ],
)
def test_what_stands_around_the_items_is_no_part_of_them(around):
    before, after = around
    assert clean(before + REPLY.rstrip() + after) == clean(REPLY)


@pytest.mark.parametrize(
    "output",
    [
        "Dear patient,\n\nplease call us if you need anything.\n\nYours, the team",
        "Item 9: 2 points\nItem 10: 1 point",
        "1. rest\n2. fluids\n3. aspirin",
        "| drug | dose |\n|---|---|\n| aspirin | 100 mg |",
        'Findings:\n```json\n{"a": 1}\n```',
        "Instruction: take one tablet\nInput: none\nOutput: none",
        "5",
        "# 1 priority: airway",
        "Output: 300 ml of urine",
        "Fluid balance, 24 h:\n1. Intake: 2,400 mL\n2. Output: 1,650 mL\nBalance: +750 mL",
        "Example 1 Input: a note\nExample 1 Output: a list",
        "Take 1 g every 6 hours.\n\nNote: take no more than 4 g, and ask before any changes.",
        "Rest.\n\nIf you need more than this, call us.",
        "<drug>aspirin</drug><reason>stroke prevention</reason>",
    ],
)
def test_an_output_keeps_what_only_looks_like_something_else(output):
    items = [("4", "A", "b"), ("5", "C", "d")]
    reply = "\n".join(
        f"{n}. Instruction: {instruction}\n{n}. Input: {given}\n{n}. Output: {output}"
        for n, instruction, given in items
    )
    assert clean(reply) == [(4, "A", "b", output), (5, "C", "d", output)]


def test_a_list_in_a_later_task_takes_no_field_from_an_earlier_one():
    reply = (
        "1. Instruction: A\nInput: a\nOutput: b\n2. Instruction: C\nInput: c\nOutput: d\n"
        "3. Instruction: E\nInput: e\nOutput: Balance\n2. Output: 1,650 mL"
    )
    assert clean(reply) == [
        (1, "A", "a", "b"),
        (2, "C", "c", "d"),
        (3, "E", "e", "Balance\n2. Output: 1,650 mL"),
    ]


@pytest.mark.parametrize(
    ("chart", "kept"),
    [
        ("1. Pulse: 88\n5. Output: 1,650 mL", [4, 5]),
        ("3. Input: 2,400 mL\n8. Output: 1,650 mL", [4, 5]),
        ("3. Pulse: 88\n4. Output: 1,650 mL", [5]),  # like its own: nobody can tell which is meant
        ("4. Input: 2,400 mL\n5. Output: 1,650 mL", [5]),
        ("5. Input: 2,400 mL", []),
    ],
)
@pytest.mark.parametrize("place", ["input", "output"])
def test_items_of_a_list_give_no_task_what_is_not_its_own(chart, kept, place):
    chart = f"Chart:\n{chart}\nBalance: +750 mL"
    given, output = (chart, "Stable") if place == "input" else ("A chart", chart)
    reply = f"4. Instruction: Sum up\n4. Input: {given}\n4. Output: {output}\n" + (
        "5. Instruction: Name the vitamin\n5. Input: A note\n5. Output: C"
    )
    whole = {4: (4, "Sum up", given, output), 5: (5, "Name the vitamin", "A note", "C")}
    tasks = [task for task in parse_teacher_reply(reply, "stop", "list") if task.is_complete]
    found = [(task.number, task.instruction, task.input, task.output) for task in tasks]
    assert found == [whole[number] for number in kept]


def test_a_draft_that_was_cut_off_holds_no_items():
    assert parse_reply(f"<think>{REPLY}", "length") == []


def test_what_was_cut_away_is_said():
    [first, second] = parse_reply(REPLY.replace("5. Instr", "### Task 5\n5. Instr"))
    assert (first.is_trimmed, second.is_trimmed) == (True, False)


def test_json_is_read_with_other_names_of_fields_and_categories_and_nothing_for_no_input():
    item = '{"Instruction": "A", "Input": null, "Output": "b", "category": "QA"}'
    text = f'<think>{{"tasks": [1]}}</think>{{"tasks": [{item}]}}'
    tasks, labels = parse_json_reply(text, 4)
    assert [(task.instruction, task.input, task.output, task.is_complete) for task in tasks] == [
        ("A", "", "b", True)
    ]
    assert labels == {4: "qa"}


PIECES = (
    *(
        "4.",
        "5)",
        "Task 6",
        "**",
        "###",
        "---",
        "```",
        "\n",
        "\r\n",
        " ",
        "\t",
        "- ",
        "> ",
        "|",
        "<think>",
        "</think>",
    ),
    *(
        "Instruction",
        "Input",
        "Output",
        ":",
        "Instruction:",
        "\n4. Instruction:",
        "\n4. Input:",
        "\n4. Output:",
    ),
    *(
        "None",
        "qa",
        '{"4": "qa"}',
        "[",
        "]",
        "{",
        "}",
        '"',
        ",",
        "9" * 400,
        "\ud800",
        "\x00",
        "x" * 50,
        "Let me know",
    ),
    *(
        '{"tasks": [{"instruction": "a", "input": "b", "output": "c", "category": ["qa"]}',
        "\u2028",
        "İ",
        "tasks",
    ),
)


def test_no_reply_is_too_odd_to_be_read():
    draw = random.Random(3)
    n_tasks = 0
    for _ in range(4_000):
        text = "".join(draw.choices(PIECES, k=draw.randint(0, 40)))
        for finish_reason in ("stop", "length"):
            tasks = parse_reply(text, finish_reason)
            assert all(
                task.instruction and task.output and task.input is not None
                for task in tasks
                if task.is_complete
            )
            n_tasks += sum(task.is_complete for task in tasks)
        parse_json_reply(text, 4)
        assert all(
            0 <= number < 1000 and label in CATEGORIES for number, label in parse_labels(text, [4, 5]).items()
        )
    assert n_tasks > 20


LONG = (
    "<think>",
    "\n\n---",
    "4. Instruction:",
    "*",
    "#",
    "-",
    " \n",
    "\n```",
    "let me know tasks\n\n",
    "4, ",
    "Task 5\n",
)


@pytest.mark.parametrize("piece", LONG)
@pytest.mark.parametrize("before", ["", "4. Instruction: a\n4. Input: b\n4. Output: ", "4. Input:"])
def test_no_reply_takes_long_to_read(before, piece):
    text = before + piece * (50_000 // len(piece)) + "x"
    began = time.process_time()
    parse_reply(text)
    parse_json_reply(text, 4)
    parse_labels(text)
    assert time.process_time() - began < 2
