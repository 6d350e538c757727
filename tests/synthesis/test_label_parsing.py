"""From replies to categories."""

import pytest

from helpers.synthesis.label_parsing import parse_labels

BOTH = {4: "qa", 5: "ie"}


@pytest.mark.parametrize(
    "text",
    [
        '{"4": "qa", "5": "ie"}',
        '{"4": "QA", "5": " Ie. "}',
        '{"4": "question answering", "5": "Information Extraction"}',
        '{"Task 4": "qa", "task_5": "ie"}',
        '{"4.": "qa", "#5": "ie"}',
        '{"4": ["qa"], "5": {"category": "ie"}}',
        '{"labels": {"4": "qa", "5": "ie"}}',
        '{"tasks": [{"number": 4, "category": "qa"}, {"number": 5, "category": "ie"}]}',
        '[{"task": "Task 4", "label": "qa"}, {"task": 5, "label": "ie"}]',
        '[{"4": "qa"}, {"5": "ie"}]',
        '["qa", "ie"]',
        '```json\n{"4": "qa", "5": "ie"}\n```',
        '<think>{"4": "gen"}</think>Here they are: {"4": "qa", "5": "ie"} Done.',
        "4. qa\n5. ie",
        "4: QA\n5: IE",
        "Task 4: qa (asks for a dose)\nTask 5: ie",
        "**4.** qa\n**5.** ie",
        "| task | category |\n|---|---|\n| 4 | qa |\n| 5 | ie |",
        "- 4 - qa\n- 5 - ie",
        "4: qa, 5: ie",
    ],
)
def test_categories_are_read_in_the_shapes_in_which_models_give_them(text):
    assert parse_labels(text, [4, 5]) == BOTH


@pytest.mark.parametrize(
    "text",
    [
        '["qa"]',
        '["qa", "ie", "gen"]',
        "qa",
        '{"4": "drug"}',
        '{"4": 1, "5": null}',
        "4. other drugs are fine",
        "",
        "{" * 99,
    ],
)
def test_what_names_no_category_of_a_task_gives_none(text):
    assert parse_labels(text, [4, 5]) == {}


@pytest.mark.parametrize(
    "text",
    [
        '{"1": "qa", "2": "ie", "3": "gen"}',
        "1. qa\n2. ie\n3. gen",
        '[{"task": 1, "category": "qa"}, {"task": 2, "category": "ie"}, {"task": 3, "category": "gen"}]',
    ],
)
def test_a_reply_that_counts_the_tasks_anew_labels_them_in_their_order(text):
    assert parse_labels(text, [4, 5, 7]) == {4: "qa", 5: "ie", 7: "gen"}


def test_a_reply_that_counts_anew_and_leaves_a_task_out_gives_no_task_the_category_of_another():
    numbers = range(2, 6)
    assert parse_labels('{"1": "qa", "2": "ie", "3": "gen"}', numbers) == {}
    assert parse_labels('{"1": "qa", "2": "ie", "3": "gen", "4": "qa", "5": "ie"}', numbers)[2] == "ie"
    assert parse_labels('{"2": "ie", "9": "gen"}', numbers)[2] == "ie"


def test_one_bare_category_is_that_of_the_one_task():
    assert parse_labels("QA", [7]) == {7: "qa"}


@pytest.mark.parametrize("opening", ["{", "[", '{"a":', '[{"a":'])
def test_deep_json_ends(opening):
    assert parse_labels(opening * 100_000, [4]) == {}
    closing = {"{": "}", "[": "]"}
    deep = (
        opening * 400
        + "1"
        + "".join(closing[letter] for letter in reversed(opening * 400) if letter in closing)
    )
    assert parse_labels(deep, [4]) == {}
