"""Answers that real servers gave, as they came: recorded from `transformers serve` and from LiteLLM's proxy
before it, both with the default model; in them only its folder has another name.
"""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from helpers.bench import fake_server
from helpers.cli import app
from helpers.provider import rate_limit
from helpers.provider.journal import Journal, RemoteModel
from helpers.provider.ledger import Ledger, ProviderLimits

RECORDED = json.loads((Path(__file__).parent / "recorded_answers.json").read_text())
FOLDER = "/models/smollm2-135m"


@pytest.fixture(autouse=True)
def short_delays(monkeypatch):
    monkeypatch.setattr(rate_limit, "FIRST_DELAY_SECONDS", 0.01)


@pytest.fixture
def replay(provider, monkeypatch):
    """Return a function that lets the provider answer as recorded, synthesizes one request, and returns the
    command's result, how often it was asked and what was booked.
    """

    def synthesize(name):
        recorded, asked = RECORDED[name], []

        def complete(handler, data):
            asked.append(json.loads(data))
            handler._send_bytes(recorded["status"], recorded["body"].encode(), recorded["kind"])

        monkeypatch.setattr(fake_server.Handler, "_complete", complete)
        values = {"teacher": FOLDER, "teacher_url": provider.url, "n_requests": 1, "max_cost_tokens": 99_999}
        given = [part for name, value in values.items() for part in ("-p", f"{name}={value}")]
        result = CliRunner().invoke(app, ["synthesize", "--profile", "smoke", *given])
        journal = Journal(RemoteModel("teacher", FOLDER, provider.url))
        return result, asked, Ledger(journal, ProviderLimits(max_cost_tokens=99_999)).spent.tokens

    return synthesize


@pytest.mark.parametrize(
    ("name", "source", "finish_reason", "n_tokens"),
    [
        ("transformers: whole", "smollm2-135m@main", "stop", 39),
        ("transformers: cut off", "smollm2-135m@main", "length", 37),
        ("litellm: whole", "small-teacher", "stop", 39),
        ("litellm: cut off", "small-teacher", "length", 37),
    ],
)
def test_an_answer_is_taken_and_counted(replay, runs, name, source, finish_reason, n_tokens):
    result, asked, n_booked = replay(name)
    assert result.exit_code == 0, result.output
    [path] = runs.glob("synthesis/*/replies.jsonl")
    reply = json.loads(path.read_text())
    assert (reply["source"], reply["finish_reason"], n_booked) == (source, finish_reason, n_tokens)
    assert reply["text"].startswith("A: Vitamin")
    assert len(asked) == 1
    [card] = runs.glob("dataset/*/README.md")
    assert "| teacher | `smollm2-135m` |" in card.read_text()  # a dataset shows no folders of its maker


@pytest.mark.parametrize(
    ("name", "status", "words"),
    [
        (
            "transformers: another model",
            400,
            "Server is pinned to '/models/smollm2-135m'; requested 'other'.",
        ),
        ("transformers: unknown field", 422, "Unexpected fields in the request: {'frobnicate'}."),
        ("litellm: another model", 400, "Invalid model name passed in model=other."),
        ("litellm: unknown field", 422, "Unexpected fields in the request: {'frobnicate'}"),
    ],
)
def test_a_refusal_is_told_in_the_servers_words_and_costs_nothing(replay, name, status, words):
    result, asked, n_booked = replay(name)
    assert result.exit_code == 1
    assert f"refused ({status}): " in result.stderr
    assert words in result.stderr
    assert "Check `teacher`" in result.stderr
    assert (len(asked), n_booked) == (1, 0)


@pytest.mark.parametrize("name", ["transformers: broken", "litellm: broken"])
def test_a_fault_of_the_server_is_tried_again_and_costs_nothing(replay, name):
    result, asked, n_booked = replay(name)
    assert result.exit_code == 1
    assert "gave no usable answer in 10 attempts (500: " in result.stderr
    assert "Internal Server Error" in result.stderr
    assert (len(asked), n_booked) == (10, 0)
