"""The live teacher, through the real SDK, against a server on this machine."""

import asyncio
import dataclasses
import json
import os
import socket
import threading
import time

import pytest

from helpers.bench import fake_server
from helpers.errors import StudyError
from helpers.jsonl import read_rows
from helpers.paths import SEED_TASKS
from helpers.provider import live, rate_limit, urls
from helpers.provider.exchanges import run_exchanges, running_loop
from helpers.provider.journal import Journal, RemoteModel
from helpers.provider.ledger import ProviderLimits
from helpers.records import SeedTask
from helpers.synthesis import pipeline
from helpers.synthesis.costs import explain_cost
from helpers.synthesis.counts import count_wanted
from helpers.synthesis.pipeline import build_exchanges, synthesize
from helpers.synthesis.settings import SynthesisSettings

LIMITS = ProviderLimits(max_cost_tokens=10**9, n_parallel=4, timeout_seconds=1)


@pytest.fixture(autouse=True)
def short_delays(monkeypatch):
    monkeypatch.setattr(rate_limit, "FIRST_DELAY_SECONDS", 0.01)
    monkeypatch.setattr(rate_limit, "LONGEST_DELAY_SECONDS", 0.05)


def settings(provider, **changes):
    return SynthesisSettings(**({"teacher": "toy", "teacher_url": provider.url, "n_requests": 6} | changes))


def journal_of(provider):
    return Journal(RemoteModel("teacher", "toy", provider.url))


def rows_of(run):
    return [json.loads(line) for line in run.file("instructions.jsonl").read_text().splitlines()]


def test_each_row_names_where_it_comes_from_and_no_file_holds_the_key(provider, runs):
    run = synthesize(settings(provider), LIMITS)
    row = rows_of(run)[0]
    assert row["source"] == "toy-2026-01-01"
    assert len(row["seed_ids"]) == 3
    assert len(row["prompt_sha256"]) == 64
    assert row["usage"]["output_tokens"] > 0
    assert not any(
        os.environ["OPENAI_API_KEY"] in path.read_text() for path in runs.rglob("*") if path.is_file()
    )


def test_faults_of_the_line_change_nothing_but_the_time(provider, monkeypatch, tmp_path):
    calm = synthesize(settings(provider), LIMITS)
    monkeypatch.setenv("STUDY_RUNS", str(tmp_path / "rough"))
    monkeypatch.setattr(fake_server, "STALL_SECONDS", 1.2)
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


@pytest.mark.parametrize("n_parallel", [8, 32])
def test_a_target_pays_for_few_requests_beyond_those_that_it_needs(provider, n_parallel):
    """Fifty rows need three to five replies; all slots at once would have paid for four times as many."""
    provider.latency_seconds = 0.05
    run = synthesize(
        settings(provider, n_requests=200, target_rows=50, reply_format="json"),
        ProviderLimits(max_cost_tokens=10**9, n_parallel=n_parallel),
    )
    assert len(rows_of(run)) == 50
    assert sum(provider.sent.values()) <= run.manifest["facts"]["n_replies"] + 1 <= 6


def test_what_was_asked_beyond_a_target_is_told(provider, caplog, monkeypatch):
    monkeypatch.delenv("STUDY_PROGRESS")
    monkeypatch.setattr(
        pipeline, "count_wanted", lambda target, counts: 3 if counts["n_kept"] < target else 0
    )
    synthesize(settings(provider, reply_format="json", target_rows=3), LIMITS)
    assert "2 replies were asked for beyond those that the target needed" in caplog.text
    caplog.clear()
    synthesize(settings(provider, reply_format="json", target_rows=3, min_words=4), LIMITS)
    assert "beyond" not in caplog.text


def test_a_target_needs_as_many_replies_as_those_before_it_have_yielded():
    assert count_wanted(50, {"n_kept": 0, "n_replies": 0}) == 3
    assert count_wanted(50, {"n_kept": 10, "n_replies": 4}) == 8
    assert count_wanted(50, {"n_kept": 50, "n_replies": 4}) == 0


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
    assert (
        facts["n_truncated_replies"]
        + facts["n_refused_replies"]
        + facts["n_garbled_replies"]
        + facts["n_miscounted_replies"]
        >= 3
    )


def test_a_cap_stops_before_it_is_broken_and_keeps_what_was_answered(provider):
    with pytest.raises(StudyError, match=r"break the cap, `max_cost_tokens` \(20,000\)"):
        synthesize(settings(provider), ProviderLimits(max_cost_tokens=20_000, n_parallel=4))
    asked = sum(provider.sent.values())
    assert asked >= 1
    synthesize(settings(provider), LIMITS)
    assert max(provider.sent.values()) == 1


def test_a_bill_for_more_input_than_was_sent_stops_at_once(provider, monkeypatch):
    def fatten(body):
        answer = complete(body)
        answer["usage"]["prompt_tokens"] = 50_000
        return answer

    complete = fake_server.complete
    monkeypatch.setattr(fake_server, "complete", fatten)
    limits = ProviderLimits(max_cost_tokens=10**9, n_parallel=1)
    with pytest.raises(
        StudyError,
        match=r"billed 50,000 tokens of input where the request has at most \d,\d+: no cap.*5\d,\d+ tokens",
    ):
        synthesize(settings(provider, n_requests=20), limits)
    assert sum(provider.sent.values()) == 1


def test_an_unknown_price_asks_for_a_cap_in_tokens(provider):
    with pytest.raises(StudyError, match="Set `max_cost_tokens`"):
        synthesize(settings(provider))


@pytest.mark.parametrize(
    ("status", "code", "message"),
    [
        (401, "invalid_api_key", "Check OPENAI_API_KEY"),
        (404, "model_not_found", "Check `teacher`"),
        (429, "insufficient_quota", "quota is used up"),
        (400, "billing_hard_limit_reached", "quota is used up"),
        (400, "unsupported_value", "Check `teacher`, `temperature`"),
    ],
)
def test_what_trying_again_cannot_mend_stops_at_once(provider, monkeypatch, status, code, message):
    asked = []

    def refuse(handler, data):
        asked.append(data)
        handler._send(status, {"error": {"message": "no", "code": code}})

    monkeypatch.setattr(fake_server.Handler, "_complete", refuse)
    with pytest.raises(StudyError, match=message):
        synthesize(settings(provider), ProviderLimits(max_cost_tokens=10**9, n_parallel=1))
    assert len(asked) == 1


def test_a_refused_prompt_is_a_failed_reply_not_the_end(provider, monkeypatch):
    monkeypatch.setattr(
        fake_server.Handler,
        "_complete",
        lambda handler, data: handler._send(
            400, {"error": {"message": "no", "code": "content_policy_violation"}}
        ),
    )
    facts = synthesize(settings(provider), LIMITS).manifest["facts"]
    assert facts["n_refused_replies"] == 6
    assert facts.get("n_kept", 0) == 0


@pytest.mark.parametrize("batch", [False, True])
def test_a_server_that_never_answers_is_one_message(batch):
    limits = dataclasses.replace(LIMITS, batch=batch)
    unreachable = SynthesisSettings(teacher="toy", teacher_url="http://127.0.0.1:9/v1", n_requests=1)
    with pytest.raises(
        StudyError, match=r"'toy' at http://127.0.0.1:9/v1 cannot be reached \(Connection refused\)"
    ):
        synthesize(unreachable, limits)
    assert "0 tokens spent" in explain_cost(unreachable, limits)  # nothing left the machine


def test_a_connection_that_is_swallowed_books_nothing():
    """A firewall may take the connection and never answer the handshake."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"https://127.0.0.1:{silent.getsockname()[1]}/v1"
        swallowed = SynthesisSettings(teacher="toy", teacher_url=url, n_requests=1)
        with pytest.raises(StudyError, match="cannot be reached .* Nothing was sent or booked"):
            synthesize(swallowed, LIMITS)
    assert "0 tokens spent" in explain_cost(swallowed, LIMITS)


def test_without_a_key_the_message_says_what_to_set(monkeypatch):
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    settings = SynthesisSettings(teacher="gpt-5.5", n_requests=1)
    with pytest.raises(StudyError, match="OPENAI_API_KEY is not set"):
        synthesize(settings)
    assert "0.00 US dollars (0 tokens) spent" in explain_cost(settings, ProviderLimits())


def test_all_requests_wait_when_the_server_says_so(provider, monkeypatch):
    answer = fake_server.Handler._complete
    times = []

    def limited(handler, data):
        times.append(time.monotonic())
        if len(times) == 1:
            handler._send(
                429,
                {"error": {"message": "slow down", "code": "rate_limit_exceeded"}},
                {"Retry-After": "0.6"},
            )
        else:
            answer(handler, data)

    monkeypatch.setattr(fake_server.Handler, "_complete", limited)
    synthesize(settings(provider), ProviderLimits(max_cost_tokens=10**9, n_parallel=1))
    assert times[1] - times[0] >= 0.55


def test_a_storm_of_rate_limits_wears_nobody_out(provider, monkeypatch):
    """One request a twentieth of a second gets through, the others are told to wait exactly that long: more
    refusals than attempts.
    """
    answer, lock, free_at = fake_server.Handler._complete, threading.Lock(), [0.0]

    def limited(handler, data):
        with lock:
            wait = free_at[0] - time.monotonic()
            if wait <= 0:
                free_at[0] = time.monotonic() + 0.05
        if wait > 0:
            handler._send(
                429,
                {"error": {"message": "slow down", "code": "rate_limit_exceeded"}},
                {"retry-after-ms": str(1000 * wait)},
            )
        else:
            answer(handler, data)

    monkeypatch.setattr(live, "MAX_ATTEMPTS", 3)
    monkeypatch.setattr(fake_server.Handler, "_complete", limited)
    facts = synthesize(
        settings(provider, n_requests=20, labeller="classifier"),
        ProviderLimits(max_cost_tokens=10**9, n_parallel=8),
    ).manifest["facts"]
    assert facts["n_replies"] == 20


def test_two_processes_cannot_pay_for_the_same(provider):
    with (
        journal_of(provider).lock(),
        pytest.raises(StudyError, match="Another process is asking this teacher"),
    ):
        synthesize(settings(provider), LIMITS)
    assert not provider.sent


def reply_with(monkeypatch, text, usage=None, finish_reason="stop"):
    """Let the provider answer every request with one text."""
    body = {"id": "x", "object": "chat.completion", "created": 0, "model": "m", "usage": usage}
    body["choices"] = [
        {"index": 0, "finish_reason": finish_reason, "message": {"role": "assistant", "content": text}}
    ]
    asked = []

    def answer(handler, data):
        asked.append(data)
        handler._send(200, body)

    monkeypatch.setattr(fake_server.Handler, "_complete", answer)
    return asked


HALF_PAIR = (
    '{"tasks": [{"instruction": "Name the drug \\ud83d", "input": "", "output": "x", "category": "qa"}]}'
)


@pytest.mark.parametrize(
    ("text", "n_kept"),
    [
        (HALF_PAIR, 1),
        ('{"tasks": [' + '{"a":' * 5000, 0),
        ('{"tasks": [' + "9" * 5000, 0),
        ('{"tasks": [3, null, {"instruction": 4}]}', 0),
        ("", 0),
    ],
)
def test_poison_in_a_reply_kills_nothing_and_is_paid_once(provider, monkeypatch, text, n_kept):
    asked = reply_with(monkeypatch, text)
    for threshold in (0.7, 0.6):
        facts = synthesize(
            settings(provider, n_requests=1, reply_format="json", novelty_threshold=threshold), LIMITS
        ).manifest["facts"]
        assert facts["n_kept"] == n_kept
    assert len(asked) == 1


def test_an_answer_without_a_proper_usage_is_an_answer(provider, monkeypatch):
    asked = reply_with(
        monkeypatch, HALF_PAIR, usage={"prompt_tokens": 3, "completion_tokens": None, "total_tokens": 3}
    )
    assert (
        synthesize(settings(provider, n_requests=1, reply_format="json"), LIMITS).manifest["facts"]["n_kept"]
        == 1
    )
    assert len(asked) == 1


def test_a_teacher_that_repeats_the_list_has_written_nothing_new(provider, monkeypatch):
    seed = next(iter(read_rows(SEED_TASKS, SeedTask)))
    items = [
        (1, "Name one more drug for this"),
        (4, "Count the red cells in this film"),
        (4, "Describe a healthy walk"),
        (5, seed.instruction),
    ]
    text = "".join(
        f"{n}. Instruction: {instruction}\n{n}. Input: x\n{n}. Output: y\n" for n, instruction in items
    )
    reply_with(monkeypatch, text)
    run = synthesize(settings(provider, n_requests=1, labeller="classifier"), LIMITS)
    assert [row["instruction"] for row in rows_of(run)] == ["Count the red cells in this film"]


def test_labels_that_are_cut_off_are_counted(provider, monkeypatch):
    reply_with(
        monkeypatch,
        "4. Instruction: Name one drug for this\n4. Input: x\n4. Output: y\n5. Instruction: Cut",
        finish_reason="length",
    )
    assert synthesize(settings(provider, n_requests=1), LIMITS).manifest["facts"]["n_unlabelled_replies"] == 1


def test_no_variable_of_the_environment_sends_requests_elsewhere(provider, monkeypatch):
    monkeypatch.setenv("OPENAI_BASE_URL", provider.url)
    monkeypatch.setattr(urls, "PROVIDER_URL", "http://127.0.0.1:9/v1")
    monkeypatch.setattr(live, "MAX_ATTEMPTS", 1)
    with pytest.raises(StudyError, match="The teacher 'gpt-5.5' cannot be reached"):
        synthesize(SynthesisSettings(teacher="gpt-5.5", n_requests=1))
    assert not provider.sent


def test_an_interrupt_waits_for_what_is_under_way_and_no_longer(provider, monkeypatch):
    provider.latency_seconds = 0.5
    with running_loop() as loop:
        client = live.LiveClient(journal_of(provider), LIMITS)
        seeds = {seed.id: seed for seed in read_rows(SEED_TASKS, SeedTask)}
        replies = run_exchanges(build_exchanges(settings(provider), seeds), client, loop, lambda: 6)
        loop.call_later(0.1, lambda: None)
        first = next(replies)
        before = len(provider.sent)
        started = time.monotonic()
        replies.close()
        assert time.monotonic() - started < 2
        asyncio.run_coroutine_threadsafe(client.close(), loop).result()
    kept = len(list(journal_of(provider).folder.glob("*.jsonl"))) - 1
    assert first.reply.request == 0
    assert kept == sum(provider.sent.values()) >= before
