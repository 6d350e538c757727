"""Answers of several models side by side."""

import pandas as pd
import pytest

from helpers.evaluation.answer_table import tabulate_answers
from helpers.evaluation.prepared_tasks import prepare_tasks
from helpers.evaluation.settings import EvaluationSettings

SETTINGS = EvaluationSettings(tasks="exam_choice,medication_status", n_items=2)


@pytest.fixture
def items():
    return [
        {"task": prepared.task.name, "item": item.id}
        for prepared in prepare_tasks(SETTINGS)
        for item in prepared.items
    ]


def test_each_item_stands_once_beside_its_reference_and_every_models_answer(items):
    answers = pd.DataFrame(
        [
            row | {"cell": cell, "response": f"{cell} says", "score": score}
            for cell, score in (("base", 0.0), ("all", 1.0))
            for row in items
        ]
    )
    table = tabulate_answers(SETTINGS, answers)
    assert list(table.columns) == [
        "task",
        "item",
        "asked",
        "reference",
        "base",
        "base score",
        "all",
        "all score",
    ]
    assert table[["task", "item"]].to_dict("records") == items
    assert set(table["base"]) == {"base says"}
    assert set(table["all score"]) == {1.0}
    prepared = prepare_tasks(SETTINGS)[0]
    assert table["reference"][0] == prepared.items[0].options[prepared.items[0].answer]
    assert prepared.items[0].question in table["asked"][0]


def test_two_answers_of_one_model_to_one_item_are_refused(items):
    twice = pd.DataFrame([row | {"cell": "base", "response": "yes", "score": 0.0} for row in items * 2])
    with pytest.raises(pd.errors.MergeError):
        tabulate_answers(SETTINGS, twice)
