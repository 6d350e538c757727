"""The synthesis stage: recorded run, reasons, growth, interruption."""

import json

import pandas as pd
import pytest

from helpers.errors import StudyError
from helpers.records import TeacherReply
from helpers.synthesis.overview import (
    count_failures,
    count_growth,
    count_rejections,
    describe_near_duplicates,
    measure_saturation,
    read_parsed_tasks,
    tabulate_category_shares,
)
from helpers.synthesis.parsing import parse_reply
from helpers.synthesis.pipeline import TaskFilter, plan_requests, synthesize
from helpers.synthesis.settings import SynthesisSettings


def test_at_least_seven_hundred_recorded_tasks_survive_in_about_the_papers_shares():
    run = synthesize(SynthesisSettings())
    assert run.manifest["facts"]["n_kept"] >= 700
    tasks = read_parsed_tasks(run)
    shares = tabulate_category_shares({"kept": tasks[tasks["reason"].isna()]["category"]}).pivot(
        index="category", columns="source", values="share"
    )
    assert (shares["kept"] - shares["paper"]).abs().max() < 0.03


def test_every_filter_of_the_paper_has_work_and_every_rejected_task_a_reason():
    tasks = read_parsed_tasks(synthesize(SynthesisSettings()))
    counts = count_rejections(tasks).set_index("reason")["n"]
    assert (counts[["malformed", "length", "non-text task", "repeats input", "not novel"]] >= 5).all()
    assert counts["overlaps benchmark"] == 2
    assert counts.sum() + tasks["reason"].isna().sum() == len(tasks)


def test_growth_ends_at_the_totals_and_its_trend_has_an_interval():
    tasks = read_parsed_tasks(synthesize(SynthesisSettings()))
    growth = count_growth(tasks)
    assert growth.iloc[-1][["request", "parsed", "kept"]].to_list() == [
        48,
        len(tasks),
        tasks["reason"].isna().sum(),
    ]
    assert growth["share_new"].between(0, 1).all()
    trend = measure_saturation(growth)
    assert trend["low"] < trend["estimate"] < trend["high"]


def test_twins_are_shown_with_their_similarity():
    text = describe_near_duplicates(read_parsed_tasks(synthesize(SynthesisSettings())))
    rejected, kept, similarity = text.split("\n")
    assert rejected.removeprefix("rejected: ") != kept.removeprefix("kept: ")
    assert float(similarity.split()[-1]) >= 0.7


def test_a_first_task_that_copies_a_seed_has_no_twin_among_the_kept():
    rows = [("List the drugs", "not novel", 1.0), ("Name one sign of gout", None, None)]
    tasks = pd.DataFrame(rows, columns=["instruction", "reason", "similarity"])
    assert describe_near_duplicates(tasks) == "No task was rejected for its likeness to a kept one."
    more = pd.DataFrame([("Name one sign of gout", "not novel", 1.0)], columns=tasks.columns)
    text = describe_near_duplicates(pd.concat([tasks, more]))
    assert text.startswith("rejected: Name one sign of gout\nkept: Name one sign of gout")


def test_the_same_settings_give_the_same_bytes(monkeypatch, tmp_path):
    names = ("replies.jsonl", "tasks.jsonl", "instructions.jsonl")
    first = synthesize(SynthesisSettings(n_requests=5))
    monkeypatch.setenv("STUDY_RUNS", str(tmp_path / "other"))
    second = synthesize(SynthesisSettings(n_requests=5))
    assert [first.file(name).read_bytes() for name in names] == [
        second.file(name).read_bytes() for name in names
    ]


def test_a_target_cuts_the_rows_and_the_tasks_that_led_to_them():
    run = synthesize(SynthesisSettings(target_rows=20))
    rows, tasks = (
        [json.loads(line) for line in run.file(name).read_text().splitlines()]
        for name in ("instructions.jsonl", "tasks.jsonl")
    )
    assert len(rows) == 20
    assert tasks[-1]["id"] == rows[-1]["id"]
    assert run.manifest["facts"]["n_replies"] == 2


def test_any_request_can_be_redone_alone():
    from helpers.jsonl import read_rows
    from helpers.paths import SEED_TASKS
    from helpers.records import SeedTask

    seeds = {seed.id: seed for seed in read_rows(SEED_TASKS, SeedTask)}
    few, many = (
        list(plan_requests(SynthesisSettings(n_requests=3), seeds)),
        list(plan_requests(SynthesisSettings(n_requests=9), seeds)),
    )
    assert many[:3] == few


def test_failures_are_counted_by_kind():
    table = count_failures(synthesize(SynthesisSettings())).set_index("outcome")["n"]
    assert table["replies in all"] == 48
    assert table["cut off at the length limit"] >= 1


@pytest.mark.parametrize(("name", "value"), [("reply_format", "yaml"), ("labeller", "nobody")])
def test_a_setting_that_is_none_of_its_values_is_an_error(name, value):
    with pytest.raises(StudyError, match=f"`{name}` must be one of"):
        synthesize(SynthesisSettings(**{name: value}))


def test_an_unlabelled_task_blocks_no_twin():
    text = (
        "4. Instruction: List the drugs in this note\n4. Input: a\n4. Output: b\n5. Instruction: List "
        "the "
        "drugs in this note\n5. Input: c\n5. Output: d"
    )
    reply = TeacherReply(
        request=0,
        seed_ids=("s",),
        prompt_sha256="0" * 64,
        source="x",
        finish_reason="stop",
        text=text,
        categories={5: "ie"},
    )
    tasks = TaskFilter(SynthesisSettings(), [])(reply, parse_reply(text))
    assert [task["reason"] for task in tasks] == ["unlabelled", None]
