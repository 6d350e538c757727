"""Servers of other makes, in the shapes in which they refuse and answer (as transformers, LiteLLM, Mistral,
OpenAI and llama-cpp-python do, and as their users report).
"""

import json

import pytest

from helpers.bench import fake_server
from helpers.errors import StudyError
from helpers.provider import rate_limit
from helpers.provider.journal import Journal, RemoteModel
from helpers.provider.ledger import Ledger, ProviderLimits
from helpers.provider.request_fields import NEW_LIMIT, OLD_LIMIT, RequestFields
from helpers.synthesis.pipeline import synthesize
from helpers.synthesis.settings import SynthesisSettings

LIMITS = ProviderLimits(max_cost_tokens=10**6, n_parallel=2)
TASK = json.dumps(
    {"tasks": [{"instruction": "Name a drug for this", "input": "x", "output": "y", "category": "qa"}]}
)


@pytest.fixture(autouse=True)
def short_delays(monkeypatch):
    monkeypatch.setattr(rate_limit, "FIRST_DELAY_SECONDS", 0.01)


def settings(provider):
    return SynthesisSettings(teacher="toy", teacher_url=provider.url, n_requests=2, reply_format="json")


def extra(*names):
    return [
        {
            "type": "extra_forbidden",
            "loc": ["body", name],
            "msg": "Extra inputs are not permitted",
            "input": 1,
        }
        for name in names
    ]


def refuse_unknown(monkeypatch, known, explain):
    """Let the provider refuse fields that it does not know, in words that `explain` makes of their names."""
    answer, sent = fake_server.Handler._complete, []

    def complete(handler, data):
        body = json.loads(data)
        sent.append(body)
        if unknown := [name for name in (NEW_LIMIT, OLD_LIMIT, "seed") if name in body and name not in known]:
            handler._send(*explain(unknown))
        else:
            answer(handler, data)

    monkeypatch.setattr(fake_server.Handler, "_complete", complete)
    return sent


@pytest.mark.parametrize(
    ("known", "explain"),
    [
        ((OLD_LIMIT,), lambda names: (422, {"detail": extra(*names)})),
        (
            (OLD_LIMIT,),
            lambda names: (422, {"object": "error", "message": {"detail": extra(*names)}, "param": None}),
        ),
        ((OLD_LIMIT,), lambda names: (422, {"object": "Error", "message": extra(*names), "code": 3001})),
        (
            (OLD_LIMIT,),
            lambda names: (422, {"object": "error", "message": json.dumps({"detail": extra(names[0])})}),
        ),
        (
            (OLD_LIMIT,),
            lambda names: (400, {"object": "error", "message": str(extra(names[0])), "code": 400}),
        ),
        ((OLD_LIMIT,), lambda names: (422, {"detail": f"Unexpected fields in the request: {set(names)}"})),
        (
            (NEW_LIMIT,),
            lambda names: (
                400,
                {
                    "error": {
                        "message": f"Unsupported parameter: '{names[0]}' is not supported with this "
                        f"model. Use '{NEW_LIMIT}' instead.",
                        "type": "invalid_request_error",
                        "param": names[0],
                        "code": "unsupported_parameter",
                    }
                },
            ),
        ),
        (
            (NEW_LIMIT, OLD_LIMIT),
            lambda _: (
                400,
                {
                    "error": {
                        "message": "litellm.UnsupportedParamsError: anthropic does not support parameters: "
                        "['seed'], for model=x. To drop these, set `litellm.drop_params=True`",
                        "type": "None",
                        "param": "None",
                        "code": "400",
                    }
                },
            ),
        ),
        (
            (NEW_LIMIT, OLD_LIMIT),
            lambda _: (
                500,
                {
                    "error": {
                        "message": "ollama does not support parameters: {'seed': 1}",
                        "code": 500,
                    }
                },
            ),
        ),
    ],
)
def test_a_field_that_a_server_does_not_take_is_left_out_and_nothing_is_lost(
    provider, monkeypatch, known, explain
):
    sent = refuse_unknown(monkeypatch, known, explain)
    facts = synthesize(settings(provider), LIMITS).manifest["facts"]
    assert facts["n_replies"] == 2
    assert set(sent[-1]) & {NEW_LIMIT, OLD_LIMIT, "seed"} == set(known)
    assert len(sent) <= 8
    account = Ledger(Journal(RemoteModel("teacher", "toy", provider.url)), LIMITS)
    assert account.spent.tokens == facts["n_input_tokens"] + facts["n_output_tokens"]


def test_two_names_at_once_become_one_where_a_server_takes_one_only(provider, monkeypatch):
    answer, sent = fake_server.Handler._complete, []
    words = f"Setting '{OLD_LIMIT}' and '{NEW_LIMIT}' at the same time is not supported."

    def complete(handler, data):
        sent.append(json.loads(data))
        if NEW_LIMIT in sent[-1] and OLD_LIMIT in sent[-1]:
            handler._send(
                400,
                {"error": {"message": words, "param": OLD_LIMIT, "code": "invalid_parameter_combination"}},
            )
        else:
            answer(handler, data)

    monkeypatch.setattr(fake_server.Handler, "_complete", complete)
    assert synthesize(settings(provider), LIMITS).manifest["facts"]["n_replies"] == 2
    assert NEW_LIMIT in sent[-1]
    assert OLD_LIMIT not in sent[-1]


def test_an_answer_without_a_limit_is_never_asked_for(provider, monkeypatch):
    sent = refuse_unknown(
        monkeypatch, ("seed",), lambda names: (400, {"error": {"message": f"unknown field {names}"}})
    )
    with pytest.raises(StudyError, match=r"refused \(400\): unknown field \['max_tokens'\]"):
        synthesize(settings(provider), LIMITS)
    assert all(NEW_LIMIT in body or OLD_LIMIT in body for body in sent)
    assert len(sent) <= 6


def test_a_limit_that_is_too_large_is_an_error_not_an_unknown_field(provider, monkeypatch):
    words = "max_tokens is too large: 6000. This model supports at most 4096 completion tokens."
    sent = refuse_unknown(monkeypatch, (), lambda _: (400, {"error": {"message": words, "param": OLD_LIMIT}}))
    with pytest.raises(StudyError, match="supports at most 4096"):
        synthesize(settings(provider), LIMITS)
    assert len(sent) <= 2


COMPLETE = {"id": "x", "object": "chat.completion", "created": 0}
USAGE = {"prompt_tokens": 700, "completion_tokens": 20, "total_tokens": 720}


@pytest.mark.parametrize(
    ("answer", "source", "is_counted"),
    [
        (  # transformers serve
            {
                "model": "HuggingFaceTB/SmolLM2-135M-Instruct@main",
                "choices": [
                    {
                        "index": 0,
                        "finish_reason": "stop",
                        "message": {"role": "assistant", "content": TASK, "reasoning_content": "hm"},
                    }
                ],
                "usage": USAGE,
            },
            "HuggingFaceTB/SmolLM2-135M-Instruct@main",
            True,
        ),
        (  # llama-cpp-python, whose model is a file
            {
                "model": "/home/somebody/models/tiny-q4.gguf",
                "choices": [
                    {
                        "index": 0,
                        "message": {"role": "assistant", "content": TASK},
                        "logprobs": None,
                        "finish_reason": "stop",
                    }
                ],
                "usage": USAGE,
            },
            "tiny-q4.gguf",
            True,
        ),
        (  # LiteLLM before a server that does not count
            {
                "model": "ollama/llama3",
                "choices": [
                    {"finish_reason": "stop", "index": 0, "message": {"content": TASK, "role": "assistant"}}
                ],
                "usage": {"prompt_tokens": None, "completion_tokens": None, "total_tokens": None},
            },
            "ollama/llama3",
            False,
        ),
        ({"choices": [{"finish_reason": "stop", "message": {"content": TASK}}]}, "toy", False),
        (
            {"choices": [{"finish_reason": "eos", "message": {"content": [{"type": "text", "text": TASK}]}}]},
            "toy",
            False,
        ),
    ],
)
def test_answers_of_other_servers_are_read(provider, monkeypatch, answer, source, is_counted):
    monkeypatch.setattr(
        fake_server.Handler, "_complete", lambda handler, data: handler._send(200, COMPLETE | answer)
    )
    run = synthesize(settings(provider), LIMITS)
    [row] = [json.loads(line) for line in run.file("instructions.jsonl").read_text().splitlines()]
    assert (row["source"], row["usage"] is not None) == (source, is_counted)
    spent = Ledger(Journal(RemoteModel("teacher", "toy", provider.url)), LIMITS).spent.tokens
    assert spent == 2 * 720 if is_counted else spent > 12_000


def test_the_providers_own_server_gets_the_one_name_that_it_takes(provider, monkeypatch):
    from helpers.provider import urls

    monkeypatch.setattr(urls, "PROVIDER_URL", provider.url)
    sent = refuse_unknown(monkeypatch, (NEW_LIMIT, "seed"), lambda names: (400, {}))
    synthesize(SynthesisSettings(teacher="gpt-5.5", n_requests=1, reply_format="json"), LIMITS)
    assert [set(body) & {NEW_LIMIT, OLD_LIMIT} for body in sent] == [{NEW_LIMIT}]


def test_only_a_refusal_of_its_value_takes_a_judges_temperature_away():
    sent = {"temperature": 0, "seed": 1, NEW_LIMIT: 5, OLD_LIMIT: 5}
    judge, teacher = (RequestFields(RemoteModel(role, "toy", "http://x/v1")) for role in ("judge", "teacher"))
    for other in (
        {"message": "refused", "param": ["messages"]},
        {"message": "refused", "param": {}},
        {"message": "content filter: 'The temperature was 39 degrees'"},
        {"message": "Prompt flagged: 'Vitals: temperature: 39.4, pulse 120'"},
        {"message": "Prompt flagged: 'Body temperature may rise to 39.4'"},
    ):
        assert not judge.drop_refused(sent, 400, other)
    for words in (
        "`temperature` must be strictly positive",
        "temperature: Input should be greater than 0",
        "Temperature must be above 0",
        "Temperature cannot be set to 0",
        "Temperature is not supported by this model",
        "invalid temperature: only 1 is allowed for this model",
        "Invalid value for temperature: expected a value in (0, 2]",
    ):
        judge, refused = RequestFields(RemoteModel("judge", "toy", "http://x/v1")), {"message": words}
        assert not teacher.drop_refused(sent, 422, refused)
        assert judge.drop_refused(sent, 422, refused)
        assert "temperature" not in judge.apply(sent)
