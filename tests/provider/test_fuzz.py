"""Odd answers, drawn with a fixed seed, through the real client: each gives a completion or one message, the
cap holds, and what was paid for is found again.
"""

import copy
import json
import random

import httpx2
import pytest

from helpers.errors import StudyError
from helpers.provider import connection, live, pace
from helpers.provider.conversations import ask_live
from helpers.provider.journal import Completion, Journal, RemoteModel
from helpers.provider.ledger import Ledger, ProviderLimits
from helpers.provider.wire import GarbledError, build_body, ordered_delay, parse_duration, read_completion

N_ANSWERS = 120
KEY = "sk-fuzz-0123456789abcdef"
MODEL = RemoteModel("teacher", "toy", "http://fuzz.example/v1")
LIMITS = ProviderLimits(max_cost_tokens=10**7, n_parallel=1, timeout_seconds=5)
WHOLE = {
    "id": "x",
    "object": "chat.completion",
    "created": 0,
    "model": "m",
    "choices": [
        {
            "index": 0,
            "finish_reason": "stop",
            "message": {"role": "assistant", "content": "hm", "refusal": None},
        }
    ],
    "usage": {"prompt_tokens": 9, "completion_tokens": 9, "total_tokens": 18},
}
ODD = (
    None,
    True,
    -1,
    0,
    10**30,
    1e308,
    "",
    "text",
    "\ud800",
    "\x00\x1b[31m",
    "x" * 3000,
    [],
    {},
    [None],
    {"message": {}},
    {"error": {"code": 502, "message": "x"}},
    [[[[]]]],
    KEY,
)
OTHERS = (b"<html>", b"data: {}\n\n", b"\xff\xfe\x00", b"[" * 50_000, b"")
STATUSES = (200,) * 12 + (204, 301, 307, 400, 401, 404, 408, 422, 429, 500, 502, 503, 529)
KINDS = ("application/json", "application/json; charset=latin-1", "text/html", "text/event-stream", "", "x")
WAITS = (
    "0",
    "-1",
    "nan",
    "inf",
    "soon",
    "1e999",
    "99999",
    "",
    "0.001",
    "Wed, 21 Oct 2015 07:28:00 GMT",
    "9" * 400,
)


def spoil(value, draw):
    """Return a value with one part of it replaced, added or taken away."""
    value = copy.deepcopy(value)
    place, parent, key = value, None, None
    while isinstance(place, dict | list) and place and (parent is None or draw.random() < 0.8):
        parent, key = place, draw.choice(list(place) if isinstance(place, dict) else range(len(place)))
        place = parent[key]
    if parent is None:
        return draw.choice(ODD)
    if isinstance(parent, dict) and draw.random() < 0.3:
        del parent[key]
    else:
        parent[key] = draw.choice(ODD)
    return value


def write_answer(draw):
    """Return status, headers and content of an odd answer."""
    value = WHOLE if draw.random() < 0.9 else {"error": draw.choice(ODD), "detail": draw.choice(ODD)}
    for _ in range(draw.randint(0, 3)):
        value = spoil(value, draw) if isinstance(value, dict | list) else value
    content = json.dumps(value).encode()
    if draw.random() < 0.2:
        content = content[: draw.randint(0, len(content))]
    if draw.random() < 0.1:
        content = draw.choice((*OTHERS, b"\xef\xbb\xbf" + content))
    names = (
        "retry-after",
        "retry-after-ms",
        "x-ratelimit-remaining-tokens",
        "x-ratelimit-reset-tokens",
        "location",
    )
    headers = {name: draw.choice(WAITS) for name in names if draw.random() < 0.1}
    return draw.choice(STATUSES), headers | {"content-type": draw.choice(KINDS)}, content


@pytest.fixture
def server(monkeypatch):
    """Answer through the client's own transport, without a socket; return what sets the answer."""
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.setattr(pace, "FIRST_DELAY_SECONDS", 0.0)
    monkeypatch.setattr(pace, "LONGEST_ORDERED_DELAY_SECONDS", 0.01)
    monkeypatch.setattr(live, "MAX_ATTEMPTS", 2)
    now = []

    def build(client, clean):
        status, headers, content = now[0]
        transport = httpx2.MockTransport(
            lambda request: httpx2.Response(status, headers=headers, content=content)
        )
        return client(transport=transport, event_hooks={"request": [clean]})

    monkeypatch.setattr(connection, "_build", build)
    return lambda answer: now.insert(0, answer)


def converse(body):
    answer = yield body
    return answer


def test_no_answer_is_too_odd_to_be_taken(server):
    draw, outcomes = random.Random(7), {"completion": 0, "message": 0}
    journal = Journal(MODEL)
    for n in range(N_ANSWERS):
        server(write_answer(draw))
        body = build_body("toy", f"prompt {n}", 0, 100, 1)
        try:
            [answer] = ask_live([converse(body)], journal, LIMITS)
        except StudyError as error:
            outcomes["message"] += 1
            assert KEY not in str(error)
            assert str(error).isprintable()
            assert len(str(error)) < 1_000
        else:
            outcomes["completion"] += 1
            assert isinstance(answer, Completion)
            assert journal.find(body) == answer
            assert answer.model.isprintable()
    assert min(outcomes.values()) > 15
    assert 0 < Ledger(journal, LIMITS).spent.tokens <= LIMITS.max_cost_tokens


def test_no_value_is_too_odd_for_the_readers():
    draw = random.Random(8)
    for _ in range(5_000):
        value = WHOLE
        for _ in range(draw.randint(1, 5)):
            value = spoil(value, draw) if isinstance(value, dict | list) else value
        try:
            read_completion(value, "toy").model_dump_json()
        except GarbledError:
            continue
    for name in ("retry-after", "retry-after-ms", "x-ratelimit-reset-requests"):
        for text in (*WAITS, "1m" * 500, "\ud800", "9" * 5_000 + "s"):
            assert ordered_delay({name: text}) >= 0
            assert parse_duration(text) >= 0
