"""What the teacher is asked, and what its recorded replies answer."""

import pytest

from helpers.errors import StudyError
from helpers.jsonl import read_rows
from helpers.provider.journal import Completion
from helpers.records import TeacherReply, Usage
from helpers.synthesis.label_parsing import parse_labels
from helpers.synthesis.settings import SynthesisSettings
from helpers.synthesis.teacher import (
    REPLIES,
    find_reply,
    parse_teacher_reply,
    replay_teacher,
    teacher_exchange,
)

TWO_TASKS = "".join(
    f"{n}. Instruction: Name drug {n}\n{n}. Input: case {n}\n{n}. Output: drug\n" for n in (4, 5)
)
IN_JSON = (
    '{"tasks": [{"instruction": "Name it", "input": "", "output": "drug", "category": "qa"}, '
    '{"instruction": "Cut off'
)


def completion(text, n_output=10, finish_reason="stop"):
    return Completion(
        model="toy-2026-01-01",
        finish_reason=finish_reason,
        text=text,
        usage=Usage(input_tokens=5, output_tokens=n_output),
    )


def carry_out(settings, *answers):
    """Carry an exchange to its end with given answers; return what was asked, the reply and its tasks."""
    exchange, asked = teacher_exchange(settings, 7, ("seed-001",), "prompt"), []
    asked.append(next(exchange))
    for answer in answers:
        try:
            asked.append(exchange.send(answer))
        except StopIteration as end:
            return asked, *end.value
    raise AssertionError("the exchange went on")


def test_a_list_is_asked_for_tasks_then_for_their_categories():
    asked, reply, tasks = carry_out(
        SynthesisSettings(teacher="toy"),
        completion(TWO_TASKS),
        completion('{"4": "qa", "5": "ie"}', n_output=3),
    )
    assert asked[0]["messages"][0]["content"] == "prompt"
    assert "4. Name drug 4" in asked[1]["messages"][0]["content"]
    assert reply.categories == {4: "qa", 5: "ie"}
    assert tasks == parse_teacher_reply(reply.text, reply.finish_reason, "list")
    assert [task.instruction for task in tasks] == ["Name drug 4", "Name drug 5"]
    assert reply.source == "toy-2026-01-01"
    assert reply.usage == Usage(input_tokens=10, output_tokens=13)


def test_json_is_asked_once_by_a_schema_and_survives_a_break():
    asked, reply, tasks = carry_out(
        SynthesisSettings(teacher="toy", reply_format="json"), completion(IN_JSON, finish_reason="length")
    )
    assert asked[0]["response_format"]["json_schema"]["strict"]
    assert reply.categories == {4: "qa"}
    assert reply.finish_reason == "length"
    assert [task.instruction for task in tasks] == ["Name it"]


def test_with_the_classifier_no_categories_are_asked_for():
    asked, reply, tasks = carry_out(
        SynthesisSettings(teacher="toy", labeller="classifier"), completion(TWO_TASKS)
    )
    assert len(asked) == 1
    assert len(tasks) == 2
    assert reply.categories == {}


def test_reasoning_effort_is_sent_only_where_it_is_set():
    assert "reasoning_effort" not in next(teacher_exchange(SynthesisSettings(teacher="toy"), 0, (), "p"))
    assert (
        next(teacher_exchange(SynthesisSettings(teacher="toy", reasoning_effort="none"), 0, (), "p"))[
            "reasoning_effort"
        ]
        == "none"
    )


def test_a_prompt_without_recorded_reply_is_an_error_with_a_way_out():
    with pytest.raises(StudyError, match="Ask for at most 48 requests"):
        replay_teacher()(99, ("seed-001",), "another prompt")


@pytest.mark.parametrize(
    ("text", "labels"),
    [
        ('{"4": "qa"}', {4: "qa"}),
        ('x {"4": "QA", "5": "ie"} y', {4: "qa", 5: "ie"}),
        ("none", {}),
        ("{broken", {}),
        ('{"a": "qa"}', {}),
    ],
)
def test_labels_that_are_no_category_are_left_out(text, labels):
    assert parse_labels(text) == labels


def test_a_reply_is_found_by_its_request_where_others_are_missing():
    first, second, third = read_rows(REPLIES, TeacherReply)[:3]
    assert find_reply([first, third], third.request) == third
    with pytest.raises(StudyError, match=f"{first.request} to {third.request}, but {second.request} was"):
        find_reply([first, third], second.request)
