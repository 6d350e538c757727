"""Odd answers through the real client, known ones by name and others drawn with a fixed seed: each gives a
completion or one message, the cap holds, and what was paid for is found again.
"""

import copy
import json
import random

import httpx2
import pytest

from helpers.errors import StudyError
from helpers.provider import connection, live, rate_limit
from helpers.provider.exchanges import ask_live
from helpers.provider.journal import Completion, Journal, RemoteModel
from helpers.provider.ledger import Ledger, ProviderLimits
from helpers.provider.responses import (
    GarbledError,
    build_body,
    parse_duration,
    read_completion,
    retry_after_seconds,
)
from helpers.records import Usage

N_ANSWERS, N_VALUES = 120, 5_000
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


def whole(usage=WHOLE["usage"], finish_reason="stop", model="m", more=None, **message):
    """Return the JSON of a completion with another message, usage or model."""
    said = {"role": "assistant", "content": "hm"} | message
    choice = {"index": 0, "finish_reason": finish_reason, "message": said}
    return json.dumps(WHOLE | {"choices": [choice], "usage": usage, "model": model} | (more or {})).encode()


def count(prompt, completion):
    return {"prompt_tokens": prompt, "completion_tokens": completion}


NO_JSON, NO_MESSAGE, BILLED = "its answer is not JSON", "its answer has no message", {"usage": (9, 9)}
CALL = {"id": "x", "type": "function", "function": {"name": "label", "arguments": "{}"}}
SHAPES = {
    "a stream of events": (b'data: {"choices": []}\n\ndata: [DONE]\n', "a stream of events"),
    "a named event": (b"event: delta\ndata: 1\n\n", "a stream of events"),
    "a page": (b"<html><title>Sign in</title></html>", "a web page (Sign in)"),
    "a page after blank lines": (b"\r\n\t <!DOCTYPE html>", "a web page"),
    "nothing": (b"", NO_JSON),
    "half of it": (whole()[:40], NO_JSON),
    "two in one": (whole() * 2, NO_JSON),
    "no UTF-8": (b"\xff\xfe\x00", NO_JSON),
    "deep and open": (b'{"choices": ' + b"[" * 50_000, NO_JSON),
    "deep and closed": (b'{"choices": ' + b"[" * 50_000 + b"]" * 50_000 + b"}", NO_JSON),
    "a number of 5,000 digits": (whole()[:-1] + b', "n": ' + b"9" * 5_000 + b"}", NO_JSON),
    "a list": (b"[]", NO_MESSAGE),
    "null": (b"null", NO_MESSAGE),
    "no choices": (whole(more={"choices": []}), NO_MESSAGE),
    "choices that are null": (whole(more={"choices": None}), NO_MESSAGE),
    "choices that are an object": (whole(more={"choices": {"0": {}}}), NO_MESSAGE),
    "a choice that is null": (whole(more={"choices": [None]}), NO_MESSAGE),
    "a message that is a text": (whole(more={"choices": [{"message": "hm"}]}), NO_MESSAGE),
    "an error": (b'{"error": {"message": "no such model"}}', "an error: no such model"),
    "an error that is a text": (b'{"error": "out of memory"}', "an error: out of memory"),
    "a transient error": (
        b'{"error": {"code": 502, "message": "gone"}}',
        "an error: gone",
    ),
    "more tokens than there are": (whole(usage=count(9, 10**30)), "where at most 100 were asked for"),
    "a longer text than was asked for": (whole(usage=None, content="x" * 9_000), "where at most 100"),
    "a mark of UTF-8": (b"\xef\xbb\xbf" + whole(), BILLED),
    "UTF-16": (whole().decode().encode("utf-16"), BILLED),
    "an error that is null": (whole(more={"error": None}), BILLED),
    "an error beside an answer": (whole(more={"error": {"message": "slow"}}), BILLED),
    "content that is null": (whole(content=None), BILLED | {"text": ""}),
    "content that is a number": (whole(content=7), BILLED | {"text": ""}),
    "content in parts": (
        whole(content=[{"type": "text", "text": "h"}, None, {"text": "m"}, {"text": 7}]),
        BILLED | {"text": "hm"},
    ),
    "half a letter": (whole(content="h\ud800m"), BILLED | {"text": "h?m"}),
    "a refusal": (
        whole(content=None, refusal="No."),
        BILLED | {"text": "", "finish_reason": "content_filter"},
    ),
    "a call of a tool": (
        whole(content=None, tool_calls=[CALL], finish_reason="tool_calls"),
        BILLED | {"text": "", "finish_reason": "other"},
    ),
    "a reason in capitals": (whole(finish_reason="LENGTH"), BILLED | {"finish_reason": "length"}),
    "a reason that is null": (whole(finish_reason=None), BILLED | {"finish_reason": "other"}),
    "a reason that is a list": (whole(finish_reason=["stop"]), BILLED | {"finish_reason": "other"}),
    "no usage": (whole(usage=None), {"usage": None}),
    "usage in digits as texts": (whole(usage=count("9", "9")), BILLED),
    "reasoning in the total alone": (whole(usage=count(9, 4) | {"total_tokens": 18}), BILLED),
    "a total of true": (whole(usage=count(9, 9) | {"total_tokens": True}), BILLED),
    "usage in words": (whole(usage=count("nine", "nine")), {"usage": None}),
    "usage that is a list": (whole(usage=[9, 9]), {"usage": None}),
    "usage below zero": (whole(usage=count(-9, 9)), {"usage": None}),
    "usage in fractions": (whole(usage=count(9.5, 9)), {"usage": None}),
    "usage without an end": (
        whole().replace(b": 9,", b": 1e999,"),
        {"usage": None},
    ),
    "usage that is no number": (whole().replace(b": 9,", b": NaN,"), {"usage": None}),
    "half a usage": (whole(usage={"prompt_tokens": 9}), {"usage": None}),
    "a model that is a path": (whole(model="/home/someone/models/toy"), BILLED | {"model": "toy"}),
    "a model that is a list": (whole(model=["m"]), BILLED | {"model": "toy"}),
    "a model of two lines": (whole(model="m\n\x1b[31m"), BILLED | {"model": "m [31m"}),
}


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
    monkeypatch.setattr(rate_limit, "FIRST_DELAY_SECONDS", 0.0)
    monkeypatch.setattr(rate_limit, "LONGEST_RETRY_AFTER_SECONDS", 0.01)
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


def single_exchange(body):
    answer = yield body
    return answer


def test_no_answer_is_too_odd_to_be_taken(server):
    draw, outcomes = random.Random(7), {"completion": 0, "message": 0}
    journal = Journal(MODEL)
    for n in range(N_ANSWERS):
        server(write_answer(draw))
        body = build_body("toy", f"prompt {n}", 0, 100, 1)
        try:
            [answer] = ask_live([single_exchange(body)], journal, LIMITS)
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


@pytest.mark.parametrize("name", SHAPES)
def test_answers_of_known_shapes_are_read_or_refused_as_they_should_be(server, name):
    content, expected = SHAPES[name]
    server((200, {"content-type": "application/json"}, content))
    body, journal = build_body("toy", "prompt", 0, 100, 1), Journal(MODEL)
    if isinstance(expected, str):
        with pytest.raises(StudyError) as found:
            list(ask_live([single_exchange(body)], journal, LIMITS))
        assert expected in str(found.value)
        return
    [answer] = ask_live([single_exchange(body)], journal, LIMITS)
    usage = expected.get("usage") and Usage(input_tokens=9, output_tokens=9)
    plain = {"model": "m", "finish_reason": "stop", "text": "hm"} | expected | {"usage": usage}
    assert answer == journal.find(body) == Completion(**plain)
    spent = Ledger(journal, LIMITS).spent.tokens
    assert spent == 18 if usage else spent > 100  # no bill counts as the most that it can have been


def test_no_value_is_too_odd_for_the_readers():
    draw = random.Random(8)
    for _ in range(N_VALUES):
        value = WHOLE
        for _ in range(draw.randint(1, 5)):
            value = spoil(value, draw) if isinstance(value, dict | list) else value
        try:
            read_completion(value, "toy").model_dump_json()
        except GarbledError:
            continue
    for name in ("retry-after", "retry-after-ms", "x-ratelimit-reset-requests"):
        for text in (*WAITS, "1m" * 500, "\ud800", "9" * 5_000 + "s"):
            assert retry_after_seconds({name: text}) >= 0
            assert parse_duration(text) >= 0


def test_how_many_odd_answers_there_are(capsys):
    counts = {"of known shapes": len(SHAPES), "drawn": N_ANSWERS, "values for the readers": N_VALUES}
    with capsys.disabled():
        print(" odd answers: " + ", ".join(f"{n:,} {what}" for what, n in counts.items()), end=" ")  # noqa: T201
    assert len(SHAPES) >= 40
