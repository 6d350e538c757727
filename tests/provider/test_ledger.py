"""The account of a model."""

import os

import pytest

from helpers.errors import StudyError
from helpers.provider.journal import Journal, RemoteModel
from helpers.provider.ledger import Ledger, ProviderLimits
from helpers.provider.prices import find_price
from helpers.records import Usage

LIMITS = ProviderLimits(max_cost_usd=1.0)


def ledger(limits=LIMITS, model="gpt-5.5", role="teacher"):
    return Ledger(Journal(RemoteModel(role, model)), limits)


def test_prices_are_found_for_snapshots_and_never_for_a_server_of_ones_own():
    assert find_price("gpt-5.5-2026-04-23") == find_price("gpt-5.5")
    assert find_price("gpt-5.5").cost(1_000_000, 100_000) == pytest.approx(8.0)
    assert find_price("gpt-5.5", "http://localhost/v1") is None
    assert find_price("unheard-of") is None


def test_what_is_under_way_counts_at_its_most_until_it_is_settled():
    account = ledger()
    reservation = account.reserve("a", 10_000, 10_000)  # 0.05 + 0.30 dollars
    assert account.spent.usd == pytest.approx(0.35)
    assert account.n_under_way == 1
    account.settle(reservation, Usage(input_tokens=10_000, output_tokens=1_000))
    assert account.spent.usd == pytest.approx(0.08)
    assert account.n_under_way == 0


def test_nothing_leaves_that_might_break_the_cap():
    account = ledger()
    reservations = [account.reserve(str(n), 0, 10_000) for n in range(4)]
    assert [reservation is not None for reservation in reservations] == [True, True, True, False]
    account.settle(reservations[0], Usage(input_tokens=0, output_tokens=100))
    assert account.reserve("again", 0, 10_000)


def test_an_answer_without_usage_is_booked_at_its_most_and_a_refused_request_at_nothing():
    account = ledger()
    account.settle(account.reserve("a", 0, 10_000), None)
    account.release(account.reserve("b", 0, 10_000))
    assert account.spent.usd == pytest.approx(0.3)


def test_the_account_outlives_the_process_and_a_line_that_was_broken_off(runs):
    account = ledger()
    account.settle(account.reserve("a", 0, 10_000), Usage(input_tokens=0, output_tokens=1_000))
    account.reserve("lost", 0, 10_000)
    with next(runs.glob("replies/*/ledger.jsonl")).open("a") as file:
        file.write('{"ticket": "torn')
    again = ledger()
    assert again.spent.usd == pytest.approx(0.33)
    assert again.n_under_way == 0
    assert "0.30 US dollars" in again.describe()
    again.reserve("lost", 0, 10_000)
    assert ledger().spent.usd == pytest.approx(0.63)  # the first one may have been billed


def test_entries_that_are_gathered_are_flushed_once_and_outlive_the_process(runs, monkeypatch):
    flushed = []
    fsync = os.fsync
    monkeypatch.setattr(os, "fsync", lambda place: flushed.append(place) or fsync(place))
    account = ledger()
    with account.write_together():
        reservations = [account.reserve(str(n), 0, 100) for n in range(300)]
    assert len(flushed) == 1
    again = ledger()
    assert again.spent == account.spent
    again.settle(reservations[0], Usage(input_tokens=0, output_tokens=0))
    assert len(flushed) == 2
    assert ledger().spent.tokens == 299 * 100


@pytest.mark.parametrize("kept", [0.0, 0.4, 0.999])
def test_of_gathered_entries_that_a_kill_cuts_off_those_that_are_whole_count(runs, kept):
    account = ledger()
    with account.write_together():
        for n in range(50):
            account.reserve(str(n), 0, 100)
    path = next(runs.glob("replies/*/ledger.jsonl"))
    data = path.read_bytes()
    path.write_bytes(data[: int(kept * len(data))])
    assert ledger().spent.tokens == 100 * path.read_bytes().count(b"\n")


def test_what_a_block_that_fails_has_gathered_is_on_the_disk(runs):
    account = ledger()
    with pytest.raises(KeyboardInterrupt), account.write_together():
        account.reserve("a", 0, 100)
        raise KeyboardInterrupt
    assert ledger().spent.tokens == 100


def test_a_batch_costs_half():
    account = ledger(ProviderLimits(max_cost_usd=1.0, batch=True))
    account.reserve("a", 0, 10_000)
    assert account.spent.usd == pytest.approx(0.15)


def test_without_a_price_the_cap_is_in_tokens():
    with pytest.raises(StudyError, match="Set `max_cost_tokens`"):
        ledger(model="unheard-of")
    account = ledger(ProviderLimits(max_cost_tokens=100), model="unheard-of")
    assert account.reserve("a", 60, 30)
    assert account.reserve("b", 60, 30) is None
    assert "`max_cost_tokens` (100)" in account.explain_stop()


def test_a_model_in_two_roles_has_two_accounts():
    ledger().reserve("a", 0, 10_000)
    assert ledger(role="judge").spent.usd == 0


@pytest.mark.parametrize(
    "line", ["no JSON", "[]", "{}", "null", '{"ticket": []}', '{"ticket": "a", "state": "sent"}']
)
def test_a_damaged_account_is_named_and_left_as_it_is_and_nothing_is_asked(runs, line):
    ledger().reserve("a", 0, 10_000)
    path = next(runs.glob("replies/*/ledger.jsonl"))
    text = path.read_text() + f"{line}\n"
    path.write_text(text)
    with pytest.raises(StudyError, match=r"Line 2 of .*ledger\.jsonl is damaged.*nothing is asked"):
        ledger()
    assert path.read_text() == text


@pytest.mark.parametrize("text", ["", "\n", "{", "[]", "[" * 100_000, '{"model": "m"}', "\ud800"])
def test_a_damaged_reply_is_named_and_left_as_it_is(text):
    journal, body = Journal(RemoteModel("teacher", "gpt-5.5")), {"model": "gpt-5.5"}
    path = journal.folder / f"{journal.hash_request(body)}.jsonl"
    path.parent.mkdir(parents=True)
    path.write_bytes(text.encode("utf-8", "surrogatepass"))
    with pytest.raises(StudyError, match=rf"paid for cannot be read: .*{path.name}.*move it elsewhere"):
        journal.find(body)
    assert path.read_bytes() == text.encode("utf-8", "surrogatepass")
