"""Batches: submitted, polled and collected by separate runs, paid once."""

import json
import random

import pytest

from helpers.bench import fake_server
from helpers.errors import StudyError
from helpers.provider import batch as batch_module
from helpers.provider.batch import PendingError
from helpers.provider.batch_answers import BatchAnswers
from helpers.provider.batch_records import list_records, read_record, read_sent
from helpers.provider.journal import Journal, RemoteModel
from helpers.provider.ledger import Ledger, ProviderLimits
from helpers.provider.request_fields import NEW_LIMIT, OLD_LIMIT
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


def assert_nothing_was_booked_and_all_can_be_asked_singly(provider):
    assert not provider.batches
    assert "0 tokens spent so far." in explain_cost(settings(provider), LIMITS)
    run = synthesize(settings(provider), ProviderLimits(max_cost_tokens=10**9))
    assert run.manifest["facts"]["n_replies"] == 5
    assert max(provider.sent.values()) == 1


@pytest.mark.parametrize("status", [302, 401, 404, 501])
def test_a_server_that_refuses_batches_is_one_message_and_books_nothing(provider, monkeypatch, status):
    refusal = {"error": {"message": "no such thing", "code": "refused"}}
    with monkeypatch.context() as patch:
        patch.setattr(
            fake_server.Handler,
            "do_GET",
            lambda handler: handler._send(status, refusal, {"Location": "http://elsewhere.org/v1"}),
        )
        with pytest.raises(
            StudyError, match=rf"refused.*\({status}\): .*(no such thing|elsewhere\.org)"
        ) as caught:
            synthesize(settings(provider), LIMITS)
        assert ("ask without `batch=true` (--batch)" in str(caught.value)) == (status in (404, 501))
    assert_nothing_was_booked_and_all_can_be_asked_singly(provider)


@pytest.mark.parametrize("path", ["/files", "/batches"])
@pytest.mark.parametrize("status", [413, 501])
def test_a_batch_that_is_refused_when_it_is_sent_leaves_nothing_booked(provider, monkeypatch, path, status):
    take = fake_server.Handler.do_POST

    def refuse(handler):
        if not handler.path.endswith(path):
            return take(handler)
        handler.rfile.read(int(handler.headers["Content-Length"]))
        return handler._send(status, {"error": {"message": "too large", "code": "refused"}})

    with monkeypatch.context() as patch:
        patch.setattr(fake_server.Handler, "do_POST", refuse)
        for _ in range(2):
            with pytest.raises(StudyError, match=rf"refused.*\({status}\): too large"):
                synthesize(settings(provider), LIMITS)
    assert_nothing_was_booked_and_all_can_be_asked_singly(provider)


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


def test_a_file_of_answers_that_comes_cut_is_read_once_more(provider, monkeypatch):
    with pytest.raises(PendingError):
        synthesize(settings(provider), LIMITS)
    send, cut = fake_server.Handler._send_bytes, []

    def send_half_once(handler, status, content, kind, *headers):
        whole = cut or kind != "application/jsonl"
        if kind == "application/jsonl":
            cut.append(not whole)
        return send(handler, status, content if whole else content[: len(content) // 2], kind, *headers)

    monkeypatch.setattr(fake_server.Handler, "_send_bytes", send_half_once)
    advance(settings(provider), LIMITS)
    assert cut[0]
    assert max(provider.sent.values()) == 1


def test_answers_in_a_file_that_stays_cut_are_waited_for_and_paid_once(provider, monkeypatch):
    given = settings(provider, reply_format="json")
    with pytest.raises(PendingError):
        synthesize(given, LIMITS)
    name = next(iter(provider.batches.values()))["output_file_id"]
    whole = provider.files[name]
    provider.files[name] = whole[:-20]
    with pytest.raises(PendingError, match="1 of its 5 answers are not in its files yet"):
        synthesize(given, LIMITS)
    provider.files[name] = whole
    advance(given, LIMITS)
    assert max(provider.sent.values()) == 1


def await_answers(provider):
    """Submit the tasks in one batch; return its settings and the name of its file of answers."""
    given = settings(provider, reply_format="json")
    with pytest.raises(PendingError):
        synthesize(given, LIMITS)
    return given, next(iter(provider.batches.values()))["output_file_id"]


@pytest.mark.parametrize(
    "page",
    ["<html>\n<head>\n" + "x\n" * 9, '{\n  "error": {\n    "code": 1\n  }\n}\n', '{"error": "busy"}\n'],
)
def test_a_page_in_place_of_the_answers_is_waited_out_and_nothing_is_paid_twice(provider, page):
    given, name = await_answers(provider)
    whole, provider.files[name] = provider.files[name], page
    with pytest.raises(PendingError, match="5 of its 5 answers are not in its files yet"):
        synthesize(given, LIMITS)
    provider.files[name] = whole
    run, _ = advance(given, LIMITS)
    assert max(provider.sent.values()) == 1
    assert describe_account(provider) == bill(run.manifest["facts"])


def test_a_failed_try_beside_an_answer_costs_nothing_and_is_not_repeated(provider):
    given, name = await_answers(provider)
    first, second, *others = provider.files[name].split("\n")
    failed = [
        json.dumps(json.loads(line) | {"response": {"status_code": 500, "body": {}}})
        for line in (first, second)
    ]
    provider.files[name] = "\n".join(["\ufeff" + failed[0], first, second, failed[1], *others])
    run, _ = advance(given, LIMITS)
    assert max(provider.sent.values()) == 1
    assert describe_account(provider) == bill(run.manifest["facts"])


@pytest.mark.parametrize("kind", ["page", "cut"])
def test_a_failed_try_is_no_answer_while_the_answers_are_not_there(provider, kind):
    given, name = await_answers(provider)
    whole = provider.files[name]
    first, *others = whole.strip().split("\n")
    failed = json.dumps(json.loads(first) | {"response": {"status_code": 500, "body": {}}})
    if kind == "page":
        provider.files |= {name: "<html>busy</html>", "errors": failed + "\n"}
        next(iter(provider.batches.values()))["error_file_id"] = "errors"
    else:
        provider.files[name] = "\n".join([failed, *others, first[:-20]])
    with pytest.raises(PendingError, match=f"{5 if kind == 'page' else 1} of its 5 answers"):
        synthesize(given, LIMITS)
    provider.files[name] = whole
    run, _ = advance(given, LIMITS)
    assert max(provider.sent.values()) == 1
    assert describe_account(provider) == bill(run.manifest["facts"])


@pytest.mark.parametrize("status", ["completed", "expired"])
def test_an_only_answer_that_cannot_be_read_is_waited_for(provider, status):
    given = settings(provider, reply_format="json", n_requests=1)
    with pytest.raises(PendingError):
        synthesize(given, LIMITS)
    [batch] = provider.batches.values()
    provider.files[batch["output_file_id"]] = "no JSON\n"
    batch |= {"status": status, "request_counts": None}
    for _ in range(2):
        with pytest.raises(PendingError, match="1 of its 1 answers"):
            synthesize(given, LIMITS)
    assert max(provider.sent.values()) == 1


def test_a_file_of_errors_that_is_gone_costs_no_answer(provider, monkeypatch):
    given, _ = await_answers(provider)
    next(iter(provider.batches.values()))["error_file_id"] = "errors"
    answer = fake_server.Handler.do_GET
    monkeypatch.setattr(
        fake_server.Handler,
        "do_GET",
        lambda handler: handler._send(404, {}) if "/errors/" in handler.path else answer(handler),
    )
    advance(given, LIMITS)
    assert max(provider.sent.values()) == 1


def test_a_file_of_answers_that_the_provider_no_longer_holds_is_named(provider, monkeypatch):
    given, name = await_answers(provider)
    [record] = list_records(journal_of(provider).folder)
    answer = fake_server.Handler.do_GET

    def lack_content(handler):
        lacks = handler.path.endswith("/content")
        return handler._send(404, {"error": {"message": "none"}}) if lacks else answer(handler)

    monkeypatch.setattr(fake_server.Handler, "do_GET", lack_content)
    told = f"knows no file {name} of the batch, .*{record.name}.*move the rec"
    for _ in range(2):
        with pytest.raises(StudyError, match=told):
            synthesize(given, LIMITS)


@pytest.mark.parametrize("status", ["200", 200.0, None])
def test_an_answer_is_one_however_its_status_is_written(provider, status):
    given, name = await_answers(provider)
    lines = [json.loads(line) for line in provider.files[name].splitlines()]
    for line in lines:
        line["response"]["status_code"] = status
    provider.files[name] = "\r\n".join(map(json.dumps, lines)) + "\r\n\r\n"
    next(iter(provider.batches.values()))["status"] = "COMPLETED"
    run, n_waits = advance(given, LIMITS)
    assert n_waits == 0
    assert max(provider.sent.values()) == 1
    assert describe_account(provider) == bill(run.manifest["facts"])


def test_another_study_of_the_same_account_submits_a_batch_of_its_own(provider, monkeypatch, tmp_path):
    given, _ = await_answers(provider)
    advance(given, LIMITS)
    monkeypatch.setenv("STUDY_RUNS", str(tmp_path / "other"))
    advance(given, LIMITS)
    assert len(provider.batches) == 2


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
    make = fake_server.Handler._make_batch

    def make_and_drop(handler, request):
        monkeypatch.setattr(fake_server.Handler, "_make_batch", make)
        monkeypatch.setattr(handler, "_send_bytes", lambda *args: None)
        make(handler, request)
        handler.close_connection = True

    monkeypatch.setattr(fake_server.Handler, "_make_batch", make_and_drop)
    run, _ = advance(settings(provider, reply_format="json"), LIMITS)
    assert run.manifest["facts"]["n_replies"] == 5
    assert len(provider.batches) == 1
    assert max(provider.sent.values()) == 1


def test_a_kill_while_collecting_books_no_answer_twice(provider, monkeypatch, runs):
    def spent():
        return explain_cost(settings(provider, reply_format="json"), LIMITS).rsplit(", ", 1)[1]

    with pytest.raises(PendingError):
        synthesize(settings(provider, reply_format="json"), LIMITS)
    book, n_booked = BatchAnswers.take, []

    def die_at_the_third(teacher, *arguments):
        book(teacher, *arguments)
        n_booked.append(1)
        if len(n_booked) == 3:
            raise KeyboardInterrupt

    monkeypatch.setattr(BatchAnswers, "take", die_at_the_third)
    with pytest.raises(KeyboardInterrupt):
        synthesize(settings(provider, reply_format="json"), LIMITS)
    monkeypatch.setattr(BatchAnswers, "take", book)
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


def drop_answers(provider, n_left, **changes):
    """Let the first batch's file hold fewer answers; returns what puts it back."""
    batch = next(iter(provider.batches.values()))
    name, before = batch["output_file_id"], dict(batch)
    text = provider.files[name]
    provider.files[name] = "".join(text.splitlines(keepends=True)[:n_left])
    batch |= changes

    def put_back():
        provider.files[name] = text
        batch.update(before)

    return put_back


COUNTS = {"total": 5, "completed": 5, "failed": 0}


@pytest.mark.parametrize(
    ("n_left", "changes"),
    [
        (5, {"output_file_id": None, "request_counts": COUNTS}),
        (5, {"output_file_id": None, "request_counts": None}),
        (0, {"request_counts": COUNTS}),
        (2, {"request_counts": COUNTS}),
        (2, {}),  # counts that stay zero
        (2, {"status": "expired", "request_counts": COUNTS}),
    ],
)
def test_answers_that_a_batch_does_not_show_yet_are_waited_for_and_stay_booked(provider, n_left, changes):
    given = settings(provider, reply_format="json")
    with pytest.raises(PendingError):
        synthesize(given, LIMITS)
    put_back = drop_answers(provider, n_left, **changes)
    n_due = 5 if changes.get("output_file_id", "x") is None else 5 - n_left
    for _ in range(2):
        with pytest.raises(PendingError, match=rf", but {n_due} of its 5 answers are not in its files yet"):
            synthesize(given, LIMITS)
    assert len(journal_ledger(provider)) == 5 + 5 - n_due  # what is there is booked once
    put_back()
    run = synthesize(given, LIMITS)
    assert run.manifest["facts"]["n_replies"] == 5
    assert len(provider.batches) == max(provider.sent.values()) == 1
    assert describe_account(provider) == bill(run.manifest["facts"])
    assert not list_records(journal_of(provider).folder)


@pytest.mark.parametrize(
    ("status", "counts", "state"),
    [
        ("completed", {"total": 5, "completed": 3, "failed": 2}, "refused"),
        ("expired", {"total": 5, "completed": 3, "failed": 2}, "refused"),
        ("expired", None, "answered"),  # nobody knows: booked at the most that it can have cost
    ],
)
def test_requests_without_a_line_are_asked_again_where_none_can_come(provider, status, counts, state):
    given = settings(provider, reply_format="json")
    with pytest.raises(PendingError):
        synthesize(given, LIMITS)
    drop_answers(provider, 3, status=status, request_counts=counts)
    run, _ = advance(given, LIMITS)
    assert run.manifest["facts"]["n_replies"] == 5
    ended = [entry for entry in journal_ledger(provider) if entry["state"] != "sent"]
    assert sum(entry["state"] == state and "input_tokens" not in entry for entry in ended) == 2


def journal_ledger(provider):
    path = journal_of(provider).folder / "ledger.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_a_batch_billed_for_more_input_than_was_sent_stops_the_asking(provider, monkeypatch):
    def fatten(body, response):
        usage = {"prompt_tokens": 50_000, "completion_tokens": 9, "total_tokens": 50_009}
        return {"status_code": 200, "body": response["body"] | {"usage": usage}}

    change_answers(provider, monkeypatch, fatten)
    given = settings(provider, reply_format="json")
    with pytest.raises(PendingError):
        synthesize(given, LIMITS)
    with pytest.raises(StudyError, match=r"billed 50,000 tokens of input where the request has at most \d,"):
        synthesize(given, LIMITS)
    assert synthesize(given, LIMITS).manifest["facts"]["n_replies"] == 5
    assert len(provider.batches) == 1


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
        fake_server.Handler, "do_GET", lambda handler: handler._send_bytes(200, b"<html>", "text/html")
    )
    with pytest.raises(StudyError, match="know"):
        synthesize(settings(provider), LIMITS)


def change_answers(provider, monkeypatch, change):
    """Let `change` make another response of the request's body and the response, in every batch."""
    make = fake_server.Handler._make_batch

    def make_and_change(handler, request):
        make(handler, request)
        asked = {line["custom_id"]: line["body"] for line in read_lines(provider, request["input_file_id"])}
        name = next(reversed(provider.batches.values()))["output_file_id"]
        answers = [
            answer | {"response": change(asked[answer["custom_id"]], answer["response"])}
            for answer in read_lines(provider, name)
        ]
        provider.files[name] = "".join(json.dumps(answer) + "\n" for answer in answers)

    monkeypatch.setattr(fake_server.Handler, "_make_batch", make_and_change)


def read_lines(provider, name):
    return [json.loads(line) for line in provider.files[name].splitlines()]


def journal_of(provider):
    return Journal(RemoteModel("teacher", "toy", provider.url))


def describe_account(provider):
    return Ledger(journal_of(provider), LIMITS).describe()


def bill(facts):
    return f"{facts['n_input_tokens'] + facts['n_output_tokens']:,} tokens spent so far"


@pytest.mark.parametrize("reply_format", ["json", "list"])
def test_a_target_pays_for_few_requests_beyond_those_that_it_needs(provider, reply_format):
    given = settings(provider, n_requests=200, target_rows=50, reply_format=reply_format)
    run, n_waits = advance(given, LIMITS)
    facts = run.manifest["facts"]
    assert facts["n_kept"] == 50
    assert len(provider.batches) == n_waits <= 6
    n_asked = sum(provider.sent.values()) / (2 if reply_format == "list" else 1)
    assert facts["n_replies"] <= n_asked <= facts["n_replies"] + 1


def test_a_target_that_all_requests_do_not_reach_ends_with_what_they_give(provider):
    run, _ = advance(settings(provider, target_rows=500, reply_format="json"), LIMITS)
    assert run.manifest["facts"]["n_replies"] == 5


def test_answers_longer_than_was_asked_for_are_kept_and_stop_the_asking(provider, monkeypatch):
    def lengthen(body, response):
        usage = {"prompt_tokens": 10, "completion_tokens": body[NEW_LIMIT] + 17, "total_tokens": 0}
        return {"status_code": 200, "body": response["body"] | {"usage": usage}}

    change_answers(provider, monkeypatch, lengthen)
    given = settings(provider, reply_format="json")
    with pytest.raises(PendingError):
        synthesize(given, LIMITS)
    with pytest.raises(StudyError, match="wrote 6,017 tokens where at most 6,000 were asked for.*kept"):
        synthesize(given, LIMITS)
    run = synthesize(given, LIMITS)
    assert max(provider.sent.values()) == 1
    assert describe_account(provider) == bill(run.manifest["facts"]) == "30,135 tokens spent so far"


def refuse(words, **error):
    return {"status_code": 400, "body": {"error": {"message": words, **error}}}


@pytest.mark.parametrize(
    ("known", "explain"),
    [
        ((NEW_LIMIT, "seed"), lambda name: refuse(f"Unknown field: {name}")),
        ((OLD_LIMIT, "seed"), lambda name: refuse(f"Unsupported parameter: {name!r}.", param=name)),
        ((OLD_LIMIT,), lambda name: refuse("Unrecognized request argument supplied: " + name)),
    ],
)
def test_a_field_that_the_server_does_not_take_is_left_out_of_this_and_the_next_batch(
    provider, monkeypatch, known, explain
):
    def refuse_unknown(body, response):
        unknown = [name for name in (NEW_LIMIT, OLD_LIMIT, "seed") if name in body and name not in known]
        return explain(unknown[0]) if unknown else response

    change_answers(provider, monkeypatch, refuse_unknown)
    run, n_waits = advance(settings(provider), LIMITS)
    assert run.manifest["facts"]["n_replies"] == 5
    assert n_waits == len(provider.batches) <= 4  # two that are answered, and one for each field refused
    assert describe_account(provider) == bill(run.manifest["facts"])


def test_a_batch_that_is_turned_down_for_a_field_is_submitted_without_it(provider):
    given = settings(provider, reply_format="json")
    with pytest.raises(PendingError):
        synthesize(given, LIMITS)
    errors = {"data": [{"message": "Unsupported parameter: 'max_tokens'", "param": "max_tokens", "line": 1}]}
    next(iter(provider.batches.values())).update(status="failed", output_file_id=None, errors=errors)
    run, _ = advance(given, LIMITS)
    assert run.manifest["facts"]["n_replies"] == 5
    assert (
        OLD_LIMIT not in read_lines(provider, list(provider.batches.values())[1]["input_file_id"])[0]["body"]
    )


def test_an_error_in_place_of_a_completion_is_told_and_not_booked(provider, monkeypatch):
    error = {"status_code": 200, "body": {"error": {"message": "no such model", "code": 404}}}
    change_answers(provider, monkeypatch, lambda body, response: error)
    with pytest.raises(PendingError):
        synthesize(settings(provider), LIMITS)
    with pytest.raises(StudyError, match="did not answer with a completion but with an error: no such model"):
        synthesize(settings(provider), LIMITS)
    assert describe_account(provider) == "0 tokens spent so far"


def test_answers_that_cannot_be_read_are_told(provider, caplog, monkeypatch):
    monkeypatch.delenv("STUDY_PROGRESS")
    given = settings(provider, reply_format="json")
    with pytest.raises(PendingError):
        synthesize(given, LIMITS)
    change_first_answer(provider, {"status_code": 200, "body": {"choices": [{}]}})
    advance(given, LIMITS)
    assert "1 answers of batch batch-0 cannot be read: they stay booked" in caplog.text


DAMAGED = {
    "broken off": b'{"id": "ba',
    "empty": b"",
    "list": b"[]",
    "deep": b"[" * 100_000,
    "without tickets": b'{"id": "batch-0"}',
    "tickets of another kind": b'{"id": "batch-0", "tickets": {"a": 1}}',
    "other bytes": b"\xff\xfe\x00",
}


@pytest.mark.parametrize("damage", DAMAGED)
def test_no_damage_to_a_record_raises(damage, tmp_path):
    path = tmp_path / "batch.json"
    for file in (path, path.with_suffix(".jsonl")):
        file.write_bytes(DAMAGED[damage])
    assert read_record(path) is None
    assert read_sent(path) == {}


@pytest.mark.parametrize("is_under_way", [True, False])
@pytest.mark.parametrize("damaged", ["record", "requests", "both"])
def test_a_damaged_record_is_made_again_and_nothing_is_paid_twice(
    provider, damaged, is_under_way, caplog, monkeypatch
):
    monkeypatch.delenv("STUDY_PROGRESS")
    given = settings(provider, reply_format="json", n_requests=2)
    with pytest.raises(PendingError):
        synthesize(given, LIMITS)
    [record] = list_records(journal_of(provider).folder)
    requests = record.with_suffix(".jsonl")
    for path in {"record": [record], "requests": [requests], "both": [record, requests]}[damaged]:
        path.write_text('{"id": "ba')
    if is_under_way:
        provider.batches["batch-0"]["status"] = "in_progress"
        with pytest.raises(PendingError, match="batch batch-0: in_progress, 0 of 2 answered"):
            synthesize(given, LIMITS)
        provider.batches["batch-0"]["status"] = "completed"
    run = synthesize(given, LIMITS)
    assert len(provider.batches) == max(provider.sent.values()) == 1
    assert describe_account(provider) == bill(run.manifest["facts"])
    assert (f"{record.name} is damaged" in caplog.text) == (damaged != "requests")
    assert not [*record.parent.iterdir()]


def test_requests_that_were_damaged_before_they_left_are_asked_anew(provider, monkeypatch):
    given = settings(provider, reply_format="json")
    with monkeypatch.context() as patch:
        patch.setattr(batch_module.BatchClient, "_create", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            synthesize(given, LIMITS)
    [record] = list_records(journal_of(provider).folder)
    assert len(read_sent(record)) == 5
    record.with_suffix(".jsonl").write_text('{"custom_id": "x"')
    run, _ = advance(given, LIMITS)
    assert describe_account(provider) == bill(run.manifest["facts"])


def test_a_batch_that_the_provider_knows_no_more_is_named_and_left_as_it_is(provider, monkeypatch):
    with pytest.raises(PendingError):
        synthesize(settings(provider), LIMITS)
    [record] = list_records(journal_of(provider).folder)
    text = record.read_text()
    error = {"error": {"message": "No batch found", "code": None}}
    monkeypatch.setattr(fake_server.Handler, "do_GET", lambda handler: handler._send(404, error))
    for _ in range(2):
        with pytest.raises(StudyError, match=rf"knows no batch batch-0, .*{record.name}.*move the rec"):
            synthesize(settings(provider), LIMITS)
    assert record.read_text() == text


def test_what_is_in_a_batch_is_not_asked_singly_as_well(provider):
    with pytest.raises(PendingError):
        synthesize(settings(provider), LIMITS)
    with pytest.raises(StudyError, match="in a batch already.*--batch"):
        synthesize(settings(provider), ProviderLimits(max_cost_tokens=10**9))
    assert max(provider.sent.values()) == 1


def test_without_a_key_a_finished_journal_still_serves(provider, monkeypatch):
    advance(settings(provider), LIMITS)
    monkeypatch.delenv("OPENAI_API_KEY")
    synthesize(settings(provider, min_words=4), LIMITS)
