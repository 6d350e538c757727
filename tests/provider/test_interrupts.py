"""A process that is told to end, or finds no room on the disk, keeps the answers that are under way."""

import errno
import os
import signal
import subprocess
import sys
import time

import pytest

from helpers.errors import StudyError
from helpers.paths import ROOT
from helpers.provider import live
from helpers.provider.journal import Journal, RemoteModel
from helpers.provider.ledger import Ledger, ProviderLimits
from helpers.synthesis import pipeline
from helpers.synthesis.pipeline import synthesize
from helpers.synthesis.settings import SynthesisSettings

LIMITS = ProviderLimits(max_cost_tokens=10**6, n_parallel=3)
ASK = """
import signal
import sys
signal.signal(signal.SIGHUP, signal.SIG_DFL)  # tests that nohup runs would ignore it
from helpers.provider.ledger import ProviderLimits
from helpers.synthesis import pipeline
from helpers.synthesis.pipeline import synthesize
from helpers.synthesis.settings import SynthesisSettings

settings = SynthesisSettings(teacher="toy", teacher_url=sys.argv[1], n_requests=9, reply_format="json")
synthesize(settings, ProviderLimits(max_cost_tokens=10**6, n_parallel=3))
"""


def journal_of(provider):
    return Journal(RemoteModel("teacher", "toy", provider.url))


def count_kept(provider):
    return len([path for path in journal_of(provider).folder.glob("*.jsonl") if path.stem != "ledger"])


def describe_account(provider):
    return Ledger(journal_of(provider), LIMITS).describe()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_to_end_waits_for_what_is_under_way_and_keeps_it(provider, number):
    provider.latency_seconds = 0.6
    started, serve = [], provider.process_request
    provider.process_request = lambda *request: (started.append(request), serve(*request))
    process = subprocess.Popen(
        [sys.executable, "-c", ASK, provider.url],
        cwd=ROOT,
        env=os.environ,
        stderr=subprocess.PIPE,
        text=True,
    )
    while len(started) < LIMITS.n_parallel and process.poll() is None:
        time.sleep(0.02)
    time.sleep(0.1)
    process.send_signal(number)
    _, said = process.communicate(timeout=30)
    assert process.returncode != 0
    assert said.splitlines()[-1] == "KeyboardInterrupt"
    assert count_kept(provider) == sum(provider.sent.values()) == LIMITS.n_parallel
    assert "without an answer" not in describe_account(provider)


def test_a_full_disk_stops_the_asking_and_what_is_paid_for_is_kept_once_there_is_room(
    provider, monkeypatch, caplog
):
    keep, faults = Journal.keep, [errno.ENOSPC, errno.EDQUOT, errno.ENOSPC]

    def keep_if_there_is_room(journal, request_hash, completion):
        if faults:
            raise OSError(faults.pop(), "no room")
        keep(journal, request_hash, completion)

    monkeypatch.setattr(Journal, "keep", keep_if_there_is_room)
    monkeypatch.setattr(live, "DISK_POLL_SECONDS", 0.01)
    monkeypatch.delenv("STUDY_PROGRESS")
    settings = SynthesisSettings(teacher="toy", teacher_url=provider.url, n_requests=9, reply_format="json")
    with pytest.raises(StudyError, match="The disk was full. Every answer that was paid for is kept"):
        synthesize(settings, LIMITS)
    assert "The disk is full" in caplog.text
    assert count_kept(provider) == sum(provider.sent.values()) < 9
    assert "without an answer" not in describe_account(provider)
    synthesize(settings, LIMITS)
    assert max(provider.sent.values()) == 1


def test_a_disk_that_is_full_for_the_rows_loses_no_answer_that_is_under_way(provider, monkeypatch):
    def find_no_room(row):
        raise OSError(errno.ENOSPC, "no room")

    provider.latency_seconds = 0.2
    monkeypatch.setattr(pipeline, "dump_row", find_no_room)
    settings = SynthesisSettings(teacher="toy", teacher_url=provider.url, n_requests=9, reply_format="json")
    with pytest.raises(StudyError, match="The disk is full"):
        synthesize(settings, LIMITS)
    assert LIMITS.n_parallel < count_kept(provider) == sum(provider.sent.values()) < 9
    assert "without an answer" not in describe_account(provider)
