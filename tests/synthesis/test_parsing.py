"""From replies to tasks."""

import pytest

from helpers.synthesis.parsing import parse_reply

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
