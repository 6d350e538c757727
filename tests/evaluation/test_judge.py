"""The judge, through the real SDK, against a server on this machine."""

import json
import os
import re

import pytest
from typer.testing import CliRunner

from helpers.analysis.measures import tabulate_preferences
from helpers.bench import fake_server
from helpers.cli import app
from helpers.errors import StudyError
from helpers.evaluation import stage
from helpers.evaluation.judge import (
    JudgeRequest,
    JudgeSettings,
    build_journal,
    check_judge,
    combine_orders,
    explain_judging,
    judge_exchange,
    judge_pairs,
    judge_texts,
    list_rating_requests,
    parse_preference,
    parse_ratings,
)
from helpers.evaluation.settings import EvaluationSettings
from helpers.evaluation.stage import evaluate
from helpers.jsonl import read_json_lines
from helpers.provider import live, rate_limit, urls
from helpers.provider.exchanges import ask_live
from helpers.provider.ledger import ProviderLimits

LIMITS = ProviderLimits(max_cost_tokens=10**6, n_parallel=2, timeout_seconds=1)
RATINGS = '{"coherence": 4, "completeness": 2, "naturalness": 5}'


@pytest.fixture
def judging(provider, monkeypatch):
    """Let the provider judge: the same marks for all but rude texts; of two texts it prefers the one that
    says 'kind', else the first it is shown.
    """
    seen = []

    def complete(body):
        prompt = body["messages"][0]["content"]
        seen.append(body)
        if "Text A:" in prompt:
            content = '{"better": "B"}' if "kind" in prompt.split("Text B:")[1] else '{"better": "A"}'
        else:
            content = "no marks" if "rude" in prompt.split("Text:\n")[-1] else f"Marks: {RATINGS}"
        choice = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": content}}
        usage = {"prompt_tokens": 100, "completion_tokens": 10, "total_tokens": 110}
        return {
            "id": "x",
            "object": "chat.completion",
            "created": 0,
            "model": "m",
            "choices": [choice],
            "usage": usage,
        }

    monkeypatch.setattr(fake_server, "complete", complete)
    monkeypatch.setattr(rate_limit, "FIRST_DELAY_SECONDS", 0.01)
    provider.seen = seen
    return provider


@pytest.fixture
def settings(toy_model):
    return EvaluationSettings(model=toy_model, n_items=2, tasks="evidence_yesno,patient_answer")


def judge_of(provider):
    return JudgeSettings(judge="toy-judge", judge_url=provider.url)


def answer_with(monkeypatch, *texts):
    """Let every model write these texts and find every first option likeliest."""
    choice = {"loglikelihoods": [[0.0, -1.0]]}
    monkeypatch.setattr(
        stage,
        "answer_items",
        lambda model, tokenizer, prepared, partial: [
            choice if prepared.task.is_choice else {"response": text} for text in texts
        ],
    )


def rows(run):
    return read_json_lines(run.file("measured.jsonl"))


def test_texts_are_marked_once_unparsed_replies_give_none_and_the_key_is_never_written(
    judging, settings, monkeypatch, runs
):
    answer_with(monkeypatch, "kind words\n### Input: more", "rude words")
    run = judge_texts(judge_of(judging), settings, evaluate(settings), limits=LIMITS)
    assert [(row["coherence"], row["completeness"], row["naturalness"]) for row in rows(run)] == [
        (4, 2, 5),
        (None, None, None),
    ]
    assert run.manifest["facts"] == {"n_items": 2, "n_unparsed": 1}
    assert len(judging.seen) == 2
    assert not any("more" in body["messages"][0]["content"].split("Text:\n")[-1] for body in judging.seen)
    assert {(body["model"], body["temperature"], "reasoning_effort" in body) for body in judging.seen} == {
        ("toy-judge", 0, False)
    }
    assert not any(
        os.environ["OPENAI_API_KEY"] in path.read_text() for path in runs.rglob("*") if path.is_file()
    )


def test_a_judge_killed_half_way_is_not_asked_again_for_what_it_has_answered(judging, settings, monkeypatch):
    answer_with(monkeypatch, "kind words", "rude words")
    evaluation = evaluate(settings)
    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(
            "helpers.evaluation.judge.parse_ratings", lambda reply: (_ for _ in ()).throw(KeyboardInterrupt)
        )
        judge_texts(judge_of(judging), settings, evaluation, limits=LIMITS)
    assert judging.seen
    judge_texts(judge_of(judging), settings, evaluation, limits=LIMITS)
    assert max(judging.sent.values()) == 1


def test_faults_of_the_line_change_no_mark_and_pay_for_nothing_twice(judging, settings, monkeypatch):
    judging.fault_rate = 0.6
    monkeypatch.setattr(fake_server, "STALL_SECONDS", 1.2)
    monkeypatch.setattr(live, "MAX_ATTEMPTS", 100)
    answer_with(monkeypatch, "kind words", "rude words")
    run = judge_texts(judge_of(judging), settings, evaluate(settings), limits=LIMITS)
    assert [row["coherence"] for row in rows(run)] == [4, None]
    assert sum(judging.met.values()) >= 1
    assert list(judging.sent.values()) == [1, 1]


def test_the_cap_holds_and_the_estimate_counts_what_is_missing(judging, settings, monkeypatch):
    answer_with(monkeypatch, "kind words", "rude " * 300)
    evaluation, judge = evaluate(settings), judge_of(judging)
    requests = list_rating_requests(settings, evaluation)
    most = (
        len(requests[0].prompts[0]) + 1_000
    )  # room for the first request at its most, not for the second, which is longer
    assert len(requests[1].prompts[0]) > most
    with pytest.raises(StudyError, match="could break the cap"):
        judge_texts(judge, settings, evaluation, limits=ProviderLimits(max_cost_tokens=most))
    assert len(judging.seen) == 1
    assert explain_judging(judge, LIMITS, requests).startswith("1 of 2 requests are still to be asked")
    assert "110 tokens spent so far" in explain_judging(judge, LIMITS, requests)
    judge_texts(judge, settings, evaluation, limits=LIMITS)
    assert len(judging.seen) == 2


def test_a_server_of_ones_own_needs_a_cap_in_tokens(judging, settings, monkeypatch):
    answer_with(monkeypatch, "kind words", "rude words")
    with pytest.raises(StudyError, match="Set `max_cost_tokens`"):
        judge_texts(judge_of(judging), settings, evaluate(settings))
    assert not judging.seen


def test_no_variable_of_the_environment_sends_a_judge_elsewhere(judging, settings, monkeypatch):
    answer_with(monkeypatch, "kind words", "rude words")
    monkeypatch.setenv("OPENAI_BASE_URL", judging.url)
    monkeypatch.setattr(urls, "PROVIDER_URL", "http://127.0.0.1:9/v1")
    monkeypatch.setattr(live, "MAX_ATTEMPTS", 1)
    with pytest.raises(StudyError, match="The judge 'gpt-5.5' cannot be reached"):
        judge_texts(JudgeSettings(judge="gpt-5.5"), settings, evaluate(settings))
    assert not judging.seen


def test_pairs_are_judged_in_both_orders_and_a_liking_for_the_first_is_even(judging, settings, monkeypatch):
    answer_with(monkeypatch, "kind words", "plain words")
    first = evaluate(settings)
    answer_with(monkeypatch, "curt words", "other words")
    monkeypatch.setattr(stage, "identify_model", lambda name: "another model")
    second = evaluate(settings)
    run = judge_pairs(judge_of(judging), settings, first, second, limits=LIMITS)
    assert [(row["preference"], row["agrees"]) for row in rows(run)] == [(1.0, True), (0.5, False)]
    assert len(judging.seen) == 4
    assert tabulate_preferences({"first": run}).to_dict("records") == [
        {
            "cell": "first",
            "task": "patient_answer",
            "preference": 0.75,
            "share_agreeing": 0.5,
            "n": 2,
            "unparsed": 0.0,
        }
    ]


def test_two_equal_texts_are_a_tie_without_a_judge_and_say_nothing_of_the_order(
    judging, settings, monkeypatch
):
    answer_with(monkeypatch, "same words", "plain words")
    first = evaluate(settings)
    answer_with(monkeypatch, "same words", "kind words")
    monkeypatch.setattr(stage, "identify_model", lambda name: "another model")
    run = judge_pairs(judge_of(judging), settings, first, evaluate(settings), limits=LIMITS)
    assert [(row["preference"], row["agrees"]) for row in rows(run)] == [(0.5, None), (0.0, True)]
    assert run.manifest["facts"] == {"n_items": 2, "n_unparsed": 0}
    assert len(judging.seen) == 2
    shown = tabulate_preferences({"first": run}).iloc[0]
    assert (shown["preference"], shown["share_agreeing"], shown["n"]) == (0.25, 1.0, 2)
    same = judge_pairs(judge_of(judging), settings, first, first, limits=LIMITS)
    assert tabulate_preferences({"first": same})["share_agreeing"].isna().all()
    assert len(judging.seen) == 2


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (
            400,
            {
                "message": "Unsupported value: 'temperature' does not support 0 with this model. Only 1 is "
                "supported.",
                "param": "temperature",
                "code": "unsupported_value",
            },
        ),
        (422, "Input validation error: `temperature` must be strictly positive"),
    ],
)
def test_a_judge_that_takes_no_temperature_is_asked_without(
    judging, settings, monkeypatch, caplog, status, error
):
    answer_with(monkeypatch, "kind words", "plain words")
    answer = fake_server.Handler._complete

    def complete(handler, data):
        if "temperature" in json.loads(data):
            handler._send(status, {"error": error})
        else:
            answer(handler, data)

    monkeypatch.setattr(fake_server.Handler, "_complete", complete)
    monkeypatch.delenv("STUDY_PROGRESS")
    run = judge_texts(judge_of(judging), settings, evaluate(settings), limits=LIMITS)
    assert run.manifest["facts"]["n_unparsed"] == 0
    assert not any("temperature" in body for body in judging.seen)
    assert caplog.text.count("takes no temperature") == 1


def test_two_equal_requests_at_a_time_are_paid_once(judging):
    judging.latency_seconds = 0.2
    judge = judge_of(judging)
    twins = [JudgeRequest("patient_answer", name, ("Rate this.",)) for name in ("a", "b")]
    asked = (judge_exchange(judge, twin) for twin in twins)
    assert list(ask_live(asked, build_journal(judge), LIMITS)) == [[f"Marks: {RATINGS}"]] * 2
    assert list(judging.sent.values()) == [1]


def test_the_command_says_what_judging_costs_before_it_asks(judging, settings, toy_model):
    arguments = [
        "evaluate",
        "--model",
        toy_model,
        "--tasks",
        "patient_answer",
        "--n-items",
        "2",
        "--judge",
        "toy-judge",
        "--judge-url",
        judging.url,
    ]
    refused = CliRunner().invoke(app, arguments)
    assert refused.exit_code == 1
    assert "Set `max_cost_tokens`" in refused.stderr
    stopped = CliRunner().invoke(app, [*arguments, "--max-cost-tokens", "1"])
    assert "2 of 2 requests are still to be asked" in stopped.output
    assert "could break the cap" in stopped.stderr
    assert re.search(r"scores\n.*\n.*patient_answer", stopped.output)  # what is done is shown
    assert not judging.seen
    done = CliRunner().invoke(app, [*arguments, "--max-cost-tokens", "1000000"])
    assert done.exit_code == 0, done.output
    assert re.search(r"patient_answer .*4\.0 +2\.0 +5\.0", done.output)


def judge_through_the_command(judging, toy_model, monkeypatch, reply):
    """Have four texts judged, the first of them by the reply that is given; return what the command said."""
    complete, seen = fake_server.complete, []

    def judge(body):
        answer = complete(body)
        seen.append(body)
        if len(seen) > 1 or reply is None:
            answer["choices"][0]["message"]["content"] = reply or "I would give it four stars."
        return answer

    monkeypatch.setattr(fake_server, "complete", judge)
    arguments = ["evaluate", "--model", toy_model, "--tasks", "patient_answer", "--n-items", "4"]
    arguments += ["--judge", "toy-judge", "--judge-url", judging.url, "--max-cost-tokens", "1000000"]
    return CliRunner().invoke(app, arguments)


def test_the_number_of_judged_texts_and_of_unreadable_replies_is_shown(judging, toy_model, monkeypatch):
    done = judge_through_the_command(judging, toy_model, monkeypatch, "no marks")
    assert done.exit_code == 0, done.output
    assert re.search(r"judgements\n.*task.*n +unparsed\n.*patient_answer .* 4 +0\.75", done.output)


def test_marks_are_read_past_a_draft(judging, toy_model, monkeypatch):
    draft = '<think>{"coherence": 1}</think>```json\n' + RATINGS + "\n```"
    done = judge_through_the_command(judging, toy_model, monkeypatch, draft)
    assert re.search(r"patient_answer .* 4 +0\.0", done.output)


def test_a_judge_of_whom_nothing_can_be_read_is_an_error_and_paid_once(judging, toy_model, monkeypatch):
    for _ in range(2):
        done = judge_through_the_command(judging, toy_model, monkeypatch, None)
        assert done.exit_code == 1
        assert "None of the 4 judgements of the judge 'toy-judge' at http" in done.stderr
        assert "'I would give it four stars.'" in done.stderr
    assert max(judging.sent.values()) == 1


@pytest.mark.parametrize(
    ("straight", "swapped", "preference", "agrees"),
    [
        ("A", "B", 1.0, True),
        ("B", "A", 0.0, True),
        ("tie", "tie", 0.5, True),
        ("A", "A", 0.5, False),
        ("B", "tie", 0.5, False),
        (None, "A", None, None),
    ],
)
def test_only_a_preference_that_holds_in_both_orders_counts(straight, swapped, preference, agrees):
    assert combine_orders(straight, swapped) == {"preference": preference, "agrees": agrees}


@pytest.mark.parametrize(
    "reply",
    [
        "",
        "4 2 5",
        '{"coherence": 4, "completeness": 2}',
        RATINGS.replace("5", "6"),
        RATINGS.replace("5", "4.5"),
        RATINGS.replace("5", "true"),
        "[1]",
    ],
)
def test_replies_that_are_not_three_whole_marks_give_none(reply):
    assert set(parse_ratings(reply).values()) == {None}


@pytest.mark.parametrize(
    ("reply", "better"),
    [('{"better": "B"}', "B"), ('so {"better": "tie"}.', "tie"), ('{"better": "both"}', None), ("A", None)],
)
def test_preferences_are_read_strictly(reply, better):
    assert parse_preference(reply) == better


def test_no_judge_the_teacher_as_judge_and_a_missing_key_are_refused(monkeypatch):
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    with pytest.raises(StudyError, match="There is no default"):
        check_judge(JudgeSettings(), LIMITS)
    with pytest.raises(StudyError, match="must not be the teacher, but 'gpt' and 'gpt' were found"):
        check_judge(JudgeSettings(judge="gpt", teacher="gpt"), LIMITS)
    with pytest.raises(StudyError, match="must not be the teacher"):
        check_judge(JudgeSettings(judge="gpt-5.5", teacher="gpt-5.5-2026-04-23"), LIMITS)
    with pytest.raises(StudyError, match="must not be the teacher"):  # as a router calls it
        check_judge(JudgeSettings(judge="openai/gpt-5.5", teacher="gpt-5.5"), LIMITS)
    refused = CliRunner().invoke(app, ["evaluate", "--judge", "gpt-5.5"])
    assert "`judge` is 'gpt-5.5', but OPENAI_API_KEY is not set" in refused.stderr
