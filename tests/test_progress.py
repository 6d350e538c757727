"""Progress: what a step reports reaches whoever watches."""

import os
from pathlib import Path

from helpers import progress
from helpers.progress import track, watch_progress


def test_reports_reach_the_watcher_to_the_last_one(monkeypatch):
    monkeypatch.setattr(progress, "POLL_SECONDS", 0.01)
    reports = []
    before = os.environ["STUDY_PROGRESS"]
    with watch_progress(reports.append), track("tune", 2, "steps") as advance:
        advance(note="loss 1.00")
        advance()
    assert [report["done"] for report in reports] == [0, 1, 2]
    assert (reports[1]["title"], reports[1]["note"]) == ("tune", "loss 1.00")
    assert os.environ["STUDY_PROGRESS"] == before


def test_elsewhere_a_bar_is_drawn_and_taken_away(monkeypatch, capsys):
    monkeypatch.delenv("STUDY_PROGRESS")
    with track("tune", 2, "steps") as advance:
        advance(2)
    assert "tune" in capsys.readouterr().err


def test_a_full_disk_ends_no_step_and_a_line_that_it_broke_off_no_watching(monkeypatch, file_limit):
    monkeypatch.setattr(progress, "POLL_SECONDS", 0.01)
    reports = []
    with watch_progress(reports.append):
        with file_limit(30), track("tune", 2, "steps") as advance:
            advance()
        with Path(os.environ["STUDY_PROGRESS"]).open("a") as file:
            file.write("\n")
        progress.tell("goes on")
    assert reports == [{"message": "goes on"}]
