"""The synthesis stage: recorded run, interruption, journal."""

import json

import pytest

from helpers.synthesis import pipeline
from helpers.synthesis.overview import count_growth, count_rejections, read_tasks, share_categories
from helpers.synthesis.pipeline import SynthesisSettings, synthesize
from helpers.synthesis.teacher import replay_teacher


@pytest.fixture
def dying_teacher(monkeypatch):
    """Let the teacher die at its eleventh request, once."""
    ask, asked = replay_teacher(), []

    def die(request, seed_ids, prompt):
        asked.append(request)
        if len(asked) == 11:
            raise KeyboardInterrupt
        return ask(request, seed_ids, prompt)

    monkeypatch.setattr(pipeline, "replay_teacher", lambda: die)
    return asked


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


def test_a_killed_run_asks_nothing_twice_and_ends_the_same(dying_teacher, monkeypatch, tmp_path):
    settings = SynthesisSettings(n_requests=15)
    with pytest.raises(KeyboardInterrupt):
        synthesize(settings)
    resumed = files(synthesize(settings))
    assert dying_teacher == [*range(11), *range(10, 15)]
    monkeypatch.setenv("STUDY_RUNS", str(tmp_path / "other"))
    assert files(synthesize(settings)) == resumed


def test_a_journal_line_that_broke_off_is_asked_for_again(dying_teacher, runs):
    settings = SynthesisSettings(n_requests=15)
    with pytest.raises(KeyboardInterrupt):
        synthesize(settings)
    [journal] = runs.rglob("replies.jsonl")
    with journal.open("a") as file:
        file.write('{"request": 10, "seed_')
    run = synthesize(settings)
    requests = [json.loads(line)["request"] for line in run.file("replies.jsonl").read_text().splitlines()]
    assert requests == list(range(15))
