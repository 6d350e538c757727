"""Batches: submitted, polled and collected by separate runs, paid once."""

import json

import pytest

from helpers.synthesis import batch as batch_module
from helpers.synthesis.batch import PendingError
from helpers.synthesis.ledger import TeacherLimits
from helpers.synthesis.pipeline import SynthesisSettings, synthesize

LIMITS = TeacherLimits(max_cost_tokens=10**9, batch=True)


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
    single = synthesize(settings(provider), TeacherLimits(max_cost_tokens=10**9))
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
        synthesize(settings(provider), TeacherLimits(max_cost_tokens=25_000, batch=True))
    assert 1 <= sum(provider.sent.values()) < 5


def test_what_a_batch_did_not_answer_is_asked_again_and_not_booked(provider, runs):
    with pytest.raises(PendingError):
        synthesize(settings(provider), LIMITS)
    name = next(iter(provider.batches.values()))["output_file_id"]
    lines = provider.files[name].splitlines()
    failed = json.loads(lines[0]) | {"response": {"status_code": 500, "body": {}}}
    provider.files[name] = "\n".join([json.dumps(failed), *lines[1:]])
    advance(settings(provider), LIMITS)
    ledger = next(runs.glob("replies/*/ledger.jsonl")).read_text().splitlines()
    assert sum(json.loads(line)["state"] == "refused" for line in ledger) == 1
