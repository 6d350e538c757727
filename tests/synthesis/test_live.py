"""The live teacher, through the real SDK, against a server on this machine."""

import json
import os
import time

import pytest

from helpers import provider as provider_module
from helpers.errors import StudyError
from helpers.synthesis import live
from helpers.synthesis.ledger import TeacherLimits
from helpers.synthesis.live import ordered_delay, parse_duration
from helpers.synthesis.pipeline import SynthesisSettings, synthesize

LIMITS = TeacherLimits(max_cost_tokens=10**9, n_parallel=4, timeout_seconds=1)


@pytest.fixture(autouse=True)
def short_delays(monkeypatch):
    monkeypatch.setattr(live, "FIRST_DELAY_SECONDS", 0.01)
    monkeypatch.setattr(live, "LONGEST_DELAY_SECONDS", 0.05)


def settings(provider, **changes):
    return SynthesisSettings(**({"teacher": "toy", "teacher_url": provider.url, "n_requests": 6} | changes))


def rows_of(run):
    return [json.loads(line) for line in run.file("instructions.jsonl").read_text().splitlines()]


def test_each_row_names_where_it_comes_from_and_no_file_holds_the_key(provider, runs):
    run = synthesize(settings(provider), LIMITS)
    row = rows_of(run)[0]
    assert row["source"] == "toy-2026-01-01"
    assert len(row["seed_ids"]) == 3
    assert len(row["prompt_sha256"]) == 64
    assert row["usage"]["output_tokens"] > 0
    assert not any(os.environ["OPENAI_API_KEY"] in path.read_text() for path in runs.rglob("*") if path.is_file())


def test_faults_of_the_line_change_nothing_but_the_time(provider, monkeypatch, tmp_path):
    calm = synthesize(settings(provider), LIMITS)
    monkeypatch.setenv("STUDY_RUNS", str(tmp_path / "rough"))
    monkeypatch.setattr(provider_module, "STALL_SECONDS", 1.2)
    provider.fault_rate = 0.4
    rough = synthesize(settings(provider), LIMITS)
    assert sum(provider.met.values()) >= 3
    assert rows_of(rough) == rows_of(calm)


def test_an_answer_in_the_journal_is_not_asked_for_again(provider):
    synthesize(settings(provider), LIMITS)
    asked = sum(provider.sent.values())
    synthesize(settings(provider, novelty_threshold=0.5), LIMITS)
    assert sum(provider.sent.values()) == asked
    synthesize(settings(provider, n_requests=7), LIMITS)
    assert asked < sum(provider.sent.values()) <= asked + 2
    assert max(provider.sent.values()) == 1


def test_without_a_key_a_finished_journal_still_serves(provider, monkeypatch):
    synthesize(settings(provider), LIMITS)
    monkeypatch.delenv("OPENAI_API_KEY")
    synthesize(settings(provider, min_words=4), LIMITS)


def test_a_target_stops_in_the_middle_of_a_reply(provider):
    run = synthesize(settings(provider, n_requests=20, target_rows=40), LIMITS)
    assert len(rows_of(run)) == 40
    assert run.manifest["facts"]["n_replies"] < 20


def test_the_json_variant_needs_no_second_request(provider):
    run = synthesize(settings(provider, reply_format="json"), LIMITS)
    assert sum(provider.sent.values()) == 6
    assert {row["category"] for row in rows_of(run)} <= {"qa", "ie", "gen", "other"}


def test_the_classifier_labels_what_nobody_labelled(provider):
    run = synthesize(settings(provider, labeller="classifier"), LIMITS)
    assert sum(provider.sent.values()) == 6
    assert all(row["category"] for row in rows_of(run))


def test_failed_replies_are_counted(provider):
    facts = synthesize(settings(provider, n_requests=60), LIMITS).manifest["facts"]
    assert facts["n_truncated_replies"] + facts["n_refused_replies"] + facts["n_garbled_replies"] + facts["n_miscounted_replies"] >= 3


def test_a_cap_stops_before_it_is_broken_and_keeps_what_was_answered(provider):
    with pytest.raises(StudyError, match="Raise `max_cost_tokens`"):
        synthesize(settings(provider), TeacherLimits(max_cost_tokens=20_000, n_parallel=4))
    asked = sum(provider.sent.values())
    assert asked >= 1
    synthesize(settings(provider), LIMITS)
    assert max(provider.sent.values()) == 1


def test_an_unknown_price_asks_for_a_cap_in_tokens(provider):
    with pytest.raises(StudyError, match="Set `max_cost_tokens`"):
        synthesize(settings(provider))


@pytest.mark.parametrize(
    ("status", "code", "message"),
    [
        (401, "invalid_api_key", "Check OPENAI_API_KEY"),
        (404, "model_not_found", "Check `teacher`"),
        (429, "insufficient_quota", "quota is used up"),
        (400, "unsupported_value", "Check `temperature`"),
    ],
)
def test_what_trying_again_cannot_mend_stops_at_once(provider, monkeypatch, status, code, message):
    asked = []

    def refuse(handler, data):
        asked.append(data)
        handler._send(status, {"error": {"message": "no", "code": code}})

    monkeypatch.setattr(provider_module.Handler, "_complete", refuse)
    with pytest.raises(StudyError, match=message):
        synthesize(settings(provider), TeacherLimits(max_cost_tokens=10**9, n_parallel=1))
    assert len(asked) == 1


def test_a_refused_prompt_is_a_failed_reply_not_the_end(provider, monkeypatch):
    monkeypatch.setattr(
        provider_module.Handler, "_complete", lambda handler, data: handler._send(400, {"error": {"message": "no", "code": "content_policy_violation"}})
    )
    facts = synthesize(settings(provider), LIMITS).manifest["facts"]
    assert facts["n_refused_replies"] == 6
    assert facts.get("n_kept", 0) == 0


def test_a_server_that_never_answers_is_one_message(monkeypatch):
    monkeypatch.setattr(live, "MAX_ATTEMPTS", 2)
    unreachable = SynthesisSettings(teacher="toy", teacher_url="http://127.0.0.1:9/v1", n_requests=1)
    with pytest.raises(StudyError, match="no usable answer in 2 attempts"):
        synthesize(unreachable, LIMITS)


def test_without_a_key_the_message_says_what_to_set(monkeypatch):
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    with pytest.raises(StudyError, match="OPENAI_API_KEY is not set"):
        synthesize(SynthesisSettings(teacher="gpt-5.5", n_requests=1))


def test_all_requests_wait_when_the_server_says_so(provider, monkeypatch):
    answer = provider_module.Handler._complete
    times = []

    def limited(handler, data):
        times.append(time.monotonic())
        if len(times) == 1:
            handler._send(429, {"error": {"message": "slow down", "code": "rate_limit_exceeded"}}, {"Retry-After": "0.6"})
        else:
            answer(handler, data)

    monkeypatch.setattr(provider_module.Handler, "_complete", limited)
    synthesize(settings(provider), TeacherLimits(max_cost_tokens=10**9, n_parallel=1))
    assert times[1] - times[0] >= 0.55


@pytest.mark.parametrize(("text", "seconds"), [("1m30s", 90), ("20ms", 0.02), ("6.5s", 6.5), ("2h", 7200), ("", 0), ("soon", 0)])
def test_durations_of_rate_limit_headers_are_read(text, seconds):
    assert parse_duration(text) == pytest.approx(seconds)


def test_an_ordered_delay_is_found_in_any_of_its_forms():
    assert ordered_delay({"retry-after": "3"}) == 3
    assert ordered_delay({"retry-after-ms": "250"}) == 0.25
    assert ordered_delay({"x-ratelimit-reset-requests": "2s", "x-ratelimit-reset-tokens": "1m"}) == 60
    assert ordered_delay({"retry-after": "Wed, 21 Oct 2026 07:28:00 GMT"}) == 0
