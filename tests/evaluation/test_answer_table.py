"""Answers of several models side by side."""

import pandas as pd
import pytest

from helpers.evaluation.answer_table import lay_out_answers
from helpers.evaluation.settings import EvaluationSettings
from helpers.evaluation.task_runs import prepare_task_runs

SETTINGS = EvaluationSettings(tasks="exam_choice,medication_status", n_items=2)


@pytest.fixture
def items():
    return [
        {"task": task_run.task.name, "item": item.id}
        for task_run in prepare_task_runs(SETTINGS)
        for item in task_run.items
    ]


def test_each_item_stands_once_beside_its_reference_and_every_models_answer(items):
    answers = pd.DataFrame(
        [
            row | {"cell": cell, "response": f"{cell} says", "score": score}
            for cell, score in (("base", 0.0), ("all", 1.0))
            for row in items
        ]
    )
    table = lay_out_answers(SETTINGS, answers)
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
    task_run = prepare_task_runs(SETTINGS)[0]
    assert table["reference"][0] == task_run.items[0].options[task_run.items[0].answer]
    assert task_run.items[0].question in table["asked"][0]


def test_two_answers_of_one_model_to_one_item_are_refused(items):
    twice = pd.DataFrame([row | {"cell": "base", "response": "yes", "score": 0.0} for row in items * 2])
    with pytest.raises(pd.errors.MergeError):
        lay_out_answers(SETTINGS, twice)
