"""The synthesis stage: recorded run, interruption, journal."""

import dataclasses

import pytest

from helpers.records import TeacherReply
from helpers.synthesis import pipeline
from helpers.synthesis.overview import count_growth, count_rejections, read_tasks, share_categories
from helpers.synthesis.pipeline import SynthesisSettings, filter_tasks, synthesize
from helpers.synthesis.teacher import replay_teacher


@pytest.fixture
def counting_teacher(monkeypatch):
    """Put a live teacher in place that answers from the recorded replies, notes each request, and dies once where told."""
    ask, asked, dies_at = replay_teacher(), [], []

    def answer(request, seed_ids, prompt):
        asked.append(request)
        if dies_at and len(asked) == dies_at[0]:
            raise KeyboardInterrupt
        return ask(request, seed_ids, prompt)

    monkeypatch.setattr(pipeline, "live_teacher", lambda *args: answer)
    return asked, dies_at


def files(run):
    return {name: run.file(name).read_bytes() for name in ("replies.jsonl", "tasks.jsonl", "instructions.jsonl")}


def test_at_least_seven_hundred_recorded_tasks_survive_in_about_the_papers_shares():
    run = synthesize(SynthesisSettings())
    assert run.manifest["facts"]["n_kept"] >= 700
    tasks = read_tasks(run)
    shares = share_categories({"kept": tasks[tasks["reason"].isna()]["category"]}).pivot(index="category", columns="source", values="share")
    assert (shares["kept"] - shares["paper"]).abs().max() < 0.03


def test_every_filter_has_work_and_every_rejected_task_a_reason():
    tasks = read_tasks(synthesize(SynthesisSettings()))
    counts = count_rejections(tasks).set_index("reason")["n"]
    assert (counts[["malformed", "length", "non-text task", "repeats input", "not novel"]] >= 5).all()
    assert counts.sum() + tasks["reason"].isna().sum() == len(tasks)


def test_growth_ends_at_the_totals():
    tasks = read_tasks(synthesize(SynthesisSettings(n_requests=5)))
    growth = count_growth(tasks)
    assert growth.iloc[-1].to_list() == [5, len(tasks), tasks["reason"].isna().sum()]


def test_a_killed_run_asks_nothing_twice_and_ends_the_same(counting_teacher, monkeypatch, tmp_path):
    asked, dies_at = counting_teacher
    settings = SynthesisSettings(teacher="live", n_requests=15)
    dies_at.append(11)
    with pytest.raises(KeyboardInterrupt):
        synthesize(settings)
    dies_at.clear()
    resumed = files(synthesize(settings))
    assert asked == [*range(11), *range(10, 15)]
    monkeypatch.setenv("STUDY_RUNS", str(tmp_path / "other"))
    assert files(synthesize(settings)) == resumed


def test_other_filters_and_more_requests_pay_for_no_reply_twice(counting_teacher):
    asked, _ = counting_teacher
    settings = SynthesisSettings(teacher="live", n_requests=4)
    synthesize(settings)
    synthesize(dataclasses.replace(settings, novelty_threshold=0.5))
    synthesize(dataclasses.replace(settings, n_requests=6))
    assert asked == [0, 1, 2, 3, 4, 5]
    synthesize(dataclasses.replace(settings, temperature=0.1))
    assert asked[6:] == [0, 1, 2, 3]


def test_an_unlabelled_task_blocks_no_twin():
    text = "4. Instruction: List the drugs in this note\n4. Input: a\n4. Output: b\n5. Instruction: List the drugs in this note\n5. Input: c\n5. Output: d"
    reply = TeacherReply(request=0, seed_ids=("s",), prompt_sha256="0" * 64, source="x", finish_reason="stop", text=text, categories={5: "ie"})
    assert [task["reason"] for task in filter_tasks(SynthesisSettings(), [reply])] == ["unlabelled", None]
