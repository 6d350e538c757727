"""Labels without a teacher, and agreement."""

import pandas as pd
import pytest

from helpers.synthesis.categories import (
    AGREEMENT,
    compare_labellers,
    label_held_out,
    load_examples,
    measure_agreement,
    read_second_labels,
    train_labeller,
)
from helpers.synthesis.parsing import ParsedTask


def test_agreement_of_a_hand_computed_table():
    """Ten tasks, eight agreed on: kappa (0.8 - 0.5) / (1 - 0.5), alpha 1 - 19 * 4 / (2 * 10 * 10) with equal
    margins.
    """
    first, second = ["qa"] * 5 + ["ie"] * 5, ["qa"] * 4 + ["ie"] + ["ie"] * 4 + ["qa"]
    row = measure_agreement(first, second)
    assert (row["n"], row["accuracy"], row["kappa"]) == (10, 0.8, pytest.approx(0.6))
    assert row["alpha"] == pytest.approx(1 - 19 * 4 / 200)
    assert row["kappa_low"] < row["kappa"] < row["kappa_high"]


def test_no_held_out_task_is_labelled_by_a_classifier_that_saw_its_request():
    examples = load_examples()
    memorised = examples.assign(text=examples["group"])  # a text that gives the request away and nothing else
    assert (pd.Series(label_held_out(memorised)) == examples["category"]).mean() < 0.5
    assert (pd.Series(label_held_out(examples)) == examples["category"]).mean() > 0.85


def test_second_labels_belong_to_tasks_that_exist():
    assert set(read_second_labels()) <= set(load_examples()["id"])


def test_three_pairs_of_labellers_are_compared_once():
    table = pd.read_csv(compare_labellers().file(AGREEMENT))
    assert table["comparison"].to_list() == [
        "writer and second reader",
        "writer and classifier",
        "second reader and classifier",
    ]
    assert (table["kappa"] > 0.6).all()
    assert compare_labellers().reused


def test_the_labeller_knows_plain_cases():
    label = train_labeller()
    tasks = [
        ParsedTask(1, text, given, "x", True)
        for text, given in (
            ("List every drug in the note with its dose", "note"),
            ("Which drug causes cough?", ""),
        )
    ]
    assert label(tasks) == ["ie", "qa"]
