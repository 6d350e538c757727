"""What servers, proxies and environments do wrong, through the real command line: one message, nothing
booked that never left, nothing secret shown.
"""

import json
import os

import pytest
from typer.testing import CliRunner

from helpers.bench import fake_server
from helpers.cli import app
from helpers.provider import rate_limit
from helpers.provider.journal import Journal, RemoteModel
from helpers.provider.ledger import Ledger, ProviderLimits

CAP = 1_000_000


@pytest.fixture(autouse=True)
def short_delays(monkeypatch):
    monkeypatch.setattr(rate_limit, "FIRST_DELAY_SECONDS", 0.01)
    monkeypatch.setattr(rate_limit, "LONGEST_DELAY_SECONDS", 0.05)


def synthesize(url, *arguments, cap=CAP, **more):
    given = {"teacher": "toy", "teacher_url": url, "max_cost_tokens": cap, "n_requests": 3} | more
    assignments = [f"-p{name}={value}" for name, value in given.items()]
    return CliRunner().invoke(app, ["synthesize", "--profile", "smoke", *assignments, *arguments])


def count_spent(url, cap=CAP):
    return Ledger(
        Journal(RemoteModel("teacher", "toy", url)), ProviderLimits(max_cost_tokens=cap)
    ).spent.tokens


def assert_refused(result, message):
    """One message and exit code 1, no traceback."""
    assert result.exit_code == 1, result.output
    assert isinstance(result.exception, SystemExit), result.exception
    assert message in result.stderr, result.stderr
    assert [line for line in result.stderr.splitlines() if line.startswith("error:")] == [
        result.stderr.splitlines()[-1]
    ]


@pytest.fixture
def answer(provider, monkeypatch):
    """Let the provider answer every request with what the test says; return what it was asked."""

    def set_answer(status, content, kind="application/json", headers=None):
        asked = []

        def complete(handler, data):
            asked.append((dict(handler.headers), json.loads(data)))
            text = content if isinstance(content, str) else json.dumps(content)
            handler._send_bytes(status, text.encode("utf-8", "surrogatepass"), kind, headers)

        monkeypatch.setattr(fake_server.Handler, "_complete", complete)
        return asked

    return set_answer


def completion(text, **more):
    choice = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": text}}
    usage = {"prompt_tokens": 10, "completion_tokens": 10, "total_tokens": 20}
    return {"id": "x", "object": "chat.completion", "model": "m", "choices": [choice], "usage": usage} | more


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("localhost:11434/v1", "does not begin with http://"),
        ("http://127.0.0.1:99999/v1", "port out of range"),
        ("http://user:secret@127.0.0.1:9/v1", "holds a user name or a password"),
    ],
)
def test_an_address_is_checked_before_anything_is_sent_or_booked(url, message, runs):
    result = synthesize(url)
    assert_refused(result, message)
    assert "secret" not in result.output + result.stderr
    assert not list(runs.rglob("ledger.jsonl"))


def test_a_password_in_an_address_reaches_no_notebook(runs):
    given = ["-pteacher=toy", "-pteacher_url=http://user:secret@127.0.0.1:9/v1", "-pmax_cost_tokens=9999"]
    result = CliRunner().invoke(app, ["run", "--only", "02", *given])
    assert_refused(result, "holds a user name or a password")
    assert "secret" not in result.output + result.stderr
    assert not runs.exists()


def test_a_server_that_is_down_is_named_with_the_cause_and_nothing_is_booked():
    url = "http://127.0.0.1:9/v1"
    assert_refused(
        synthesize(url), f"'toy' at {url} cannot be reached (Connection refused). Nothing was sent"
    )
    assert count_spent(url) == 0


@pytest.mark.parametrize(
    ("content", "kind", "message", "is_booked"),
    [
        ("<html><title>Welcome</title></html>", "text/html", "a web page (Welcome)", False),
        (" \n<!doctype html>", "application/json", "a web page", False),
        (
            {"error": {"message": "no such model", "code": "x"}},
            "application/json",
            "an error: no such model",
            False,
        ),
        ({"error": "model 'toy' not found"}, "application/json", "model 'toy' not found", False),
        ('data: {"choices": []}\n\ndata: [DONE]\n', "text/event-stream", "a stream of events", True),
        ('data: {"choices": []}\n\n', "application/json", "a stream of events", True),
    ],
)
def test_an_answer_that_is_no_completion_ends_at_once(provider, answer, content, kind, message, is_booked):
    asked = answer(200, content, kind)
    result = synthesize(provider.url, n_parallel=1)
    assert_refused(result, message)
    assert f"'toy' at {provider.url} did not answer with a completion" in result.stderr
    assert len(asked) == 1
    assert (count_spent(provider.url) > 0) == is_booked


@pytest.mark.parametrize(
    ("status", "body", "words"),
    [
        (404, {"error": {"message": 'model "toy" not found, try pulling it first'}}, "try pulling it first"),
        (404, {"detail": "Not Found"}, "(404): Not Found. Check `teacher` and `teacher_url`"),
        (
            422,
            {"detail": [{"loc": ["body", "temperature"], "msg": "must be below 1"}]},
            "temperature: must be below 1",
        ),
        (400, {"message": "context length is 2048"}, "context length is 2048"),
        (400, {"error": {"message": "x " * 5000}}, "x x..."),
        (
            401,
            {"error": {"message": "Incorrect API key provided: sk-test-key-that-must-not-be-written"}},
            "***",
        ),
        (405, "<html><title>Not Allowed</title>", "Not Allowed"),
    ],
)
def test_a_refusal_is_shown_in_the_servers_words_on_one_line_without_the_key(
    provider, answer, status, body, words
):
    asked = answer(status, body)
    result = synthesize(provider.url, n_parallel=1)
    assert_refused(result, words)
    assert "must-not-be-written" not in result.stderr
    assert len(result.stderr) < 1_000
    assert len(asked) == 1
    assert count_spent(provider.url) == 0


def test_a_redirect_is_not_followed(provider, answer):
    asked = answer(307, "", headers={"Location": "http://user:secret@127.0.0.1:9/other"})
    result = synthesize(provider.url, n_parallel=1)
    assert_refused(
        result, "it names another address, 'http://<hidden>@127.0.0.1:9/other'. Nothing was sent there"
    )
    assert "secret" not in result.stderr
    assert len(asked) == 1


def test_a_server_of_ones_own_gets_no_header_that_is_meant_for_the_provider(provider, answer, monkeypatch):
    monkeypatch.setenv("OPENAI_ORG_ID", "org-secret")
    monkeypatch.setenv("OPENAI_PROJECT_ID", "proj-secret")
    monkeypatch.setenv("OPENAI_CUSTOM_HEADERS", "X-Gateway: secret\nAuthorization: Bearer secret")
    asked = answer(200, completion("x"))
    synthesize(provider.url)
    headers, _ = asked[0]
    assert headers["Authorization"] == "Bearer sk-test-key-that-must-not-be-written"
    assert "secret" not in str(headers)
    assert not [name for name in headers if name.lower().startswith(("openai", "x-gateway"))]


@pytest.mark.parametrize("key", ["sk-tëst", "sk test", "sk-\udcff"])
def test_a_key_that_cannot_be_sent_is_one_message(provider, monkeypatch, key):
    monkeypatch.setenv("OPENAI_API_KEY", key)
    result = synthesize(provider.url)
    assert_refused(result, "OPENAI_API_KEY must be made of ASCII letters")
    assert key not in result.stderr


@pytest.mark.parametrize(
    "proxy",
    [
        "socks://user:secret@127.0.0.1:1",
        "socks5://127.0.0.1:1",
        "ftp://x",
        "http://user:secret/rest@127.0.0.1:1",
    ],
)
def test_a_proxy_that_cannot_be_used_is_one_message(provider, monkeypatch, proxy):
    monkeypatch.setenv("ALL_PROXY", proxy)
    monkeypatch.delenv("SSL_CERT_DIR", raising=False)
    monkeypatch.delenv("SSL_CERT_FILE", raising=False)
    result = synthesize(provider.url)
    assert_refused(result, "settings of proxies and certificates (ALL_PROXY)")
    assert "secret" not in result.stderr


def test_a_certificate_that_is_not_there_is_named(provider, monkeypatch, tmp_path):
    monkeypatch.setenv("NO_PROXY", "localhost")
    monkeypatch.delenv("SSL_CERT_DIR", raising=False)
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "none.pem"))
    assert_refused(synthesize(provider.url), "settings of proxies and certificates (SSL_CERT_FILE)")


def test_a_server_that_heeds_no_limit_is_stopped_at_its_first_answer(provider, answer):
    usage = {"prompt_tokens": 900, "completion_tokens": 30_000, "total_tokens": 30_900}
    asked = answer(200, completion("x", usage=usage))
    result = synthesize(provider.url, cap=40_000, n_parallel=1, n_requests=6)
    assert_refused(result, "wrote 30,000 tokens where at most 6,000 were asked for")
    assert [body["max_tokens"] for _, body in asked] == [6000]
    assert count_spent(provider.url, 40_000) == 30_900
    assert_refused(synthesize(provider.url, cap=40_000, n_parallel=1, n_requests=6), "could break the cap")


def test_a_server_that_neither_counts_nor_heeds_a_limit_is_stopped_too(provider, answer):
    asked = answer(200, completion("word " * 40_000, usage=None))
    assert_refused(synthesize(provider.url, n_parallel=1), "tokens where at most 6,000 were asked for")
    assert len(asked) == 1


def test_a_key_that_the_server_says_again_is_kept_nowhere(provider, answer, runs):
    key = os.environ["OPENAI_API_KEY"]
    answer(200, completion(f"You sent {key}."))
    assert synthesize(provider.url, n_requests=1).exit_code == 0
    written = b"".join(path.read_bytes() for path in runs.rglob("*") if path.is_file())
    assert b"You sent ***." in written
    assert key.encode() not in written


def test_a_word_that_an_own_server_takes_for_a_key_stays_in_replies(provider, answer, runs, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "test")
    answer(200, completion("A blood test."))
    assert synthesize(provider.url, n_requests=1).exit_code == 0
    written = b"".join(path.read_bytes() for path in runs.rglob("*") if path.is_file())
    assert b"A blood test." in written


@pytest.mark.parametrize("count", [0, True, 9.5])
def test_a_usage_of_nothing_or_of_no_whole_numbers_is_no_bill(provider, answer, count):
    usage = dict.fromkeys(("prompt_tokens", "completion_tokens", "total_tokens"), count)
    answer(200, completion("I cannot help with that.", usage=usage))
    assert synthesize(provider.url, n_requests=1).exit_code == 0
    assert count_spent(provider.url) > 6_000


@pytest.mark.parametrize(
    "content",
    [
        '{"choices": ' + "[" * 100_000,
        '{"choices": ' + '{"a":' * 2_000 + "1" + "}" * 2_000 + "}",
        '{"choices": [{"message": {"content": "x"}}], "n": ' + "9" * 5_000 + "}",
        "[]",
        "null",
        '"text"',
    ],
)
def test_deep_and_odd_json_is_tried_again_and_then_one_message(provider, answer, content):
    asked = answer(200, content)
    assert_refused(
        synthesize(provider.url, n_requests=1, n_parallel=1), "gave no usable answer in 10 attempts (its"
    )
    assert len(asked) == 10


def test_deep_json_in_a_reply_is_a_reply_without_tasks_at_every_start(provider, answer):
    asked = answer(200, completion('{"tasks": [' + '{"a":' * 100_000))
    for threshold in (0.7, 0.6):
        result = synthesize(provider.url, n_requests=1, reply_format="json", novelty_threshold=threshold)
        assert result.exit_code == 0
        assert "1 garbled" in result.output
    assert len(asked) == 1


def test_half_a_letter_in_the_name_of_a_model_is_stored_without_it(provider, answer):
    task = {"instruction": "Name a drug", "input": "x", "output": "y", "category": "qa"}
    answer(200, completion(json.dumps({"tasks": [task]}), model="to\ud800y\n"))
    result = synthesize(provider.url, n_requests=1, reply_format="json")
    assert result.exit_code == 0, result.output
    assert "1 rows kept" in result.output


def test_waiting_is_told_with_cause_and_address(provider, answer, monkeypatch):
    monkeypatch.setattr(rate_limit, "TELL_SECONDS", 0.0)
    asked = answer(429, {"error": {"message": "slow down", "code": "rate_limit_exceeded"}})
    monkeypatch.setattr(rate_limit, "LONGEST_RETRY_AFTER_SECONDS", 0.3)
    result = synthesize(provider.url, n_requests=1)
    assert_refused(result, "gave no usable answer in 10 attempts (429: slow down)")
    assert f"'toy' at {provider.url} gave no answer (429: slow down). Trying again in" in result.stderr
    assert len(asked) < 40


@pytest.mark.parametrize("headers", [{}, {"Retry-After": "0"}, {"Retry-After": "soon"}])
def test_refusals_without_a_usable_wait_make_the_client_slower(provider, monkeypatch, headers):
    monkeypatch.setattr(rate_limit, "LONGEST_DELAY_SECONDS", 60.0)
    answer, asked, waits = fake_server.Handler._complete, [], []
    monkeypatch.setattr(rate_limit.RateLimiter, "_hold_back", lambda self, seconds: waits.append(seconds))

    def limited(handler, data):
        asked.append(data)
        if len(asked) <= 5:
            handler._send(429, {"error": {"message": "slow down"}}, headers)
        else:
            answer(handler, data)

    monkeypatch.setattr(fake_server.Handler, "_complete", limited)
    assert synthesize(provider.url, n_requests=1, n_parallel=1, reply_format="json").exit_code == 0
    assert waits == pytest.approx([0.02, 0.04, 0.08, 0.16, 0.32])
