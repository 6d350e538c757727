"""Batches: submitted, polled and collected by separate runs, paid once."""

import json
import random

import pytest

from helpers.benchmarks import provider as provider_module
from helpers.errors import StudyError
from helpers.provider import batch as batch_module
from helpers.provider.batch import PendingError
from helpers.provider.ledger import ProviderLimits
from helpers.synthesis.costs import explain_cost
from helpers.synthesis.pipeline import synthesize
from helpers.synthesis.settings import SynthesisSettings

LIMITS = ProviderLimits(max_cost_tokens=10**9, batch=True)


def settings(provider, **changes):
    return SynthesisSettings(**({"teacher": "toy", "teacher_url": provider.url, "n_requests": 5} | changes))


def advance(*arguments, most=9):
    """Run the same command until it ends; return the run and how often it had to wait."""
    for n_waits in range(most):
        try:
            return synthesize(*arguments), n_waits
        except PendingError:
            continue
    raise AssertionError("never ended")


def test_batches_end_in_the_rows_of_single_requests(provider, monkeypatch, tmp_path):
    run, n_waits = advance(settings(provider), LIMITS)
    assert n_waits == 2  # one for the tasks, one for their categories
    assert max(provider.sent.values()) == 1
    monkeypatch.setenv("STUDY_RUNS", str(tmp_path / "single"))
    single = synthesize(settings(provider), ProviderLimits(max_cost_tokens=10**9))
    assert run.file("instructions.jsonl").read_bytes() == single.file("instructions.jsonl").read_bytes()


def test_the_json_variant_needs_one_batch(provider):
    assert advance(settings(provider, reply_format="json"), LIMITS)[1] == 1


def test_a_process_that_dies_after_submitting_finds_its_batch_again(provider, monkeypatch):
    write = batch_module.write_text

    def die(path, text):
        if path.suffix == ".json" and json.loads(text)["id"]:
            raise KeyboardInterrupt
        write(path, text)

    monkeypatch.setattr(batch_module, "write_text", die)
    with pytest.raises(KeyboardInterrupt):
        synthesize(settings(provider), LIMITS)
    monkeypatch.setattr(batch_module, "write_text", write)
    advance(settings(provider), LIMITS)
    assert len(provider.batches) == 2
    assert max(provider.sent.values()) == 1


def test_a_batch_is_as_large_as_the_cap_can_bear(provider):
    with pytest.raises(PendingError):
        synthesize(settings(provider), ProviderLimits(max_cost_tokens=25_000, batch=True))
    assert 1 <= sum(provider.sent.values()) < 5


@pytest.mark.parametrize(
    ("status", "errors"), [("failed", [{"message": "bad line"}]), ("cancelled", []), ("expired", [])]
)
def test_a_batch_that_came_to_nothing_is_submitted_anew(provider, status, errors):
    with pytest.raises(PendingError):
        synthesize(settings(provider), LIMITS)
    batch = next(iter(provider.batches.values()))
    batch |= {"status": status, "output_file_id": None, "errors": {"object": "list", "data": errors}}
    if status == "failed":
        with pytest.raises(StudyError, match="bad line"):
            synthesize(settings(provider), LIMITS)
    run, _ = advance(settings(provider), LIMITS)
    assert run.manifest["facts"]["n_replies"] == 5
    assert len(provider.batches) == 3


def test_one_refused_request_is_told_once_and_keeps_the_others(provider, runs):
    with pytest.raises(PendingError):
        synthesize(settings(provider), LIMITS)
    change_first_answer(
        provider,
        {"status_code": 400, "body": {"error": {"message": "no such thing", "code": "unsupported_value"}}},
    )
    with pytest.raises(StudyError, match="no such thing"):
        synthesize(settings(provider), LIMITS)
    spent = explain_cost(settings(provider), LIMITS)
    advance(settings(provider), LIMITS)
    assert spent.startswith("5 of 5 requests")  # one task request, four label requests
    assert max(provider.sent.values()) == 2  # the refused one, which was not billed


def change_first_answer(provider, response):
    name = next(iter(provider.batches.values()))["output_file_id"]
    lines = provider.files[name].split("\n")
    provider.files[name] = "\n".join([json.dumps(json.loads(lines[0]) | {"response": response}), *lines[1:]])


def test_odd_answers_can_be_collected(provider):
    """A line separator that is no line feed, and an ending that no client knows."""
    with pytest.raises(PendingError):
        synthesize(settings(provider, reply_format="json"), LIMITS)
    message = {"role": "assistant", "content": "\u2028"}
    body = {"id": "x", "model": "m", "choices": [{"index": 0, "finish_reason": "eos", "message": message}]}
    change_first_answer(provider, {"status_code": 200, "body": body})
    name = next(iter(provider.batches.values()))["output_file_id"]
    provider.files[name] = provider.files[name].replace("\\u2028", "\u2028")
    run, _ = advance(settings(provider, reply_format="json"), LIMITS)
    assert run.manifest["facts"]["n_garbled_replies"] == 1


def test_a_line_that_breaks_after_the_batch_was_taken_pays_for_it_once(provider, monkeypatch):
    make = provider_module.Handler._make_batch

    def make_and_drop(handler, request):
        monkeypatch.setattr(provider_module.Handler, "_make_batch", make)
        monkeypatch.setattr(handler, "_send_bytes", lambda *args: None)
        make(handler, request)
        handler.close_connection = True

    monkeypatch.setattr(provider_module.Handler, "_make_batch", make_and_drop)
    run, _ = advance(settings(provider, reply_format="json"), LIMITS)
    assert run.manifest["facts"]["n_replies"] == 5
    assert len(provider.batches) == 1
    assert max(provider.sent.values()) == 1


def test_a_kill_while_collecting_books_no_answer_twice(provider, monkeypatch, runs):
    def spent():
        return explain_cost(settings(provider, reply_format="json"), LIMITS).rsplit(", ", 1)[1]

    with pytest.raises(PendingError):
        synthesize(settings(provider, reply_format="json"), LIMITS)
    book, n_booked = batch_module.BatchClient._book, []

    def die_at_the_third(teacher, *arguments):
        book(teacher, *arguments)
        n_booked.append(1)
        if len(n_booked) == 3:
            raise KeyboardInterrupt

    monkeypatch.setattr(batch_module.BatchClient, "_book", die_at_the_third)
    with pytest.raises(KeyboardInterrupt):
        synthesize(settings(provider, reply_format="json"), LIMITS)
    monkeypatch.setattr(batch_module.BatchClient, "_book", book)
    run, _ = advance(settings(provider, reply_format="json"), LIMITS)
    facts = run.manifest["facts"]
    assert spent().startswith(f"{facts['n_input_tokens'] + facts['n_output_tokens']:,} tokens spent")


def test_a_kill_before_the_record_is_written_books_nothing(provider, monkeypatch):
    def die(path, text):
        raise KeyboardInterrupt

    write = batch_module.write_text
    monkeypatch.setattr(batch_module, "write_text", die)
    with pytest.raises(KeyboardInterrupt):
        synthesize(settings(provider, reply_format="json"), LIMITS)
    monkeypatch.setattr(batch_module, "write_text", write)
    run, _ = advance(settings(provider, reply_format="json"), LIMITS)
    facts = run.manifest["facts"]
    assert f"{facts['n_input_tokens'] + facts['n_output_tokens']:,} tokens spent" in explain_cost(
        settings(provider, reply_format="json"), LIMITS
    )


def test_what_a_batch_did_not_answer_is_asked_again_and_not_booked(provider, runs):
    with pytest.raises(PendingError):
        synthesize(settings(provider), LIMITS)
    change_first_answer(provider, {"status_code": 500, "body": {}})
    advance(settings(provider), LIMITS)
    ledger = next(runs.glob("replies/*/ledger.jsonl")).read_text().splitlines()
    assert sum(json.loads(line)["state"] == "refused" for line in ledger) == 1


ODD = (
    None,
    True,
    -1,
    10**30,
    "text",
    "\ud800",
    [],
    {},
    [None],
    {"error": {"code": ["x"]}},
    {"choices": [{}]},
)


def test_no_line_of_a_batchs_answers_is_too_odd_to_be_collected(provider, runs):
    """Forty answers, each spoilt in another way: what cannot be read stays booked and is asked again."""
    draw, given = random.Random(5), settings(provider, reply_format="json", n_requests=40)
    with pytest.raises(PendingError):
        synthesize(given, LIMITS)
    name = next(iter(provider.batches.values()))["output_file_id"]
    lines = provider.files[name].splitlines()
    for n, line in enumerate(lines):
        answer = json.loads(line)
        places = [
            answer,
            answer["response"],
            answer["response"]["body"],
            answer["response"]["body"]["choices"][0],
        ]
        place = draw.choice(places)
        place[draw.choice(list(place))] = draw.choice(ODD)
        lines[n] = line[: draw.randint(0, len(line))] if n % 8 == 0 else json.dumps(answer)
    provider.files[name] = "\n".join(lines)
    for _ in range(9):
        try:
            run = synthesize(given, LIMITS)
            break
        except StudyError:  # batches are under way, or one of the answers refuses its request
            continue
    assert run.manifest["facts"]["n_replies"] == 40
    entries = map(json.loads, next(runs.glob("replies/*/ledger.jsonl")).read_text().splitlines())
    assert sum(entry["state"] == "answered" and "input_tokens" not in entry for entry in entries) > 5


def test_a_server_that_knows_no_batches_is_one_message(provider, monkeypatch):
    monkeypatch.setattr(
        provider_module.Handler, "do_GET", lambda handler: handler._send_bytes(200, b"<html>", "text/html")
    )
    with pytest.raises(StudyError, match="know"):
        synthesize(settings(provider), LIMITS)
