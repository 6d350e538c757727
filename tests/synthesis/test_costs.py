"""Estimates before money is spent."""

import re

import pytest

from helpers.errors import StudyError
from helpers.provider.batch import PendingError
from helpers.provider.ledger import ProviderLimits
from helpers.provider.prices import PRICES
from helpers.synthesis.costs import explain_cost, tabulate_costs, tabulate_tokens
from helpers.synthesis.pipeline import synthesize
from helpers.synthesis.settings import SynthesisSettings


def test_recorded_replies_cost_nothing():
    assert explain_cost(SynthesisSettings(), ProviderLimits()) == ""


def test_the_estimate_is_tokens_times_prices_and_a_batch_is_half():
    settings = SynthesisSettings(teacher="gpt-5.5", n_requests=100)
    tokens = tabulate_tokens(settings).set_index("part").loc["together"]
    expected = 100 * PRICES["gpt-5.5"].cost(tokens["tokens_in"], tokens["tokens_out"])
    full, half = (
        float(
            re.search(
                r"about ([\d.]+) US dollars", explain_cost(settings, ProviderLimits(batch=batch))
            ).group(1)
        )
        for batch in (False, True)
    )
    assert full == pytest.approx(expected, abs=0.01)
    assert half == pytest.approx(expected / 2, abs=0.01)


def test_what_the_journal_holds_is_not_estimated_again(provider):
    settings, limits = (
        SynthesisSettings(teacher="toy", teacher_url=provider.url, n_requests=3),
        ProviderLimits(max_cost_tokens=10**9),
    )
    assert explain_cost(settings, limits).startswith("3 of 3 requests")
    synthesize(settings, limits)
    text = explain_cost(settings, limits)
    assert text.startswith("0 of 3 requests")
    assert "price of 'toy' is unknown" in text


def test_nothing_more_is_asked_of_a_synthesis_that_has_reached_its_target(provider):
    settings = SynthesisSettings(
        teacher="toy", teacher_url=provider.url, n_requests=20, target_rows=3, reply_format="json"
    )
    limits = ProviderLimits(max_cost_tokens=10**9)
    assert explain_cost(settings, limits).startswith("20 of 20 requests are still to be asked, fewer if")
    synthesize(settings, limits)
    assert explain_cost(settings, limits).startswith("0 of 20 requests are still to be asked: about 0.00")


@pytest.mark.parametrize("reply_format", ["json", "list"])
def test_of_what_batches_hold_the_labels_alone_are_still_to_be_paid(provider, runs, reply_format):
    settings = SynthesisSettings(
        teacher="toy", teacher_url=provider.url, n_requests=500, reply_format=reply_format
    )
    limits = ProviderLimits(max_cost_tokens=10**9, batch=True)
    before = explain_cost(settings, limits)
    with pytest.raises(PendingError):
        synthesize(settings, limits)
    text, parts = explain_cost(settings, limits), tabulate_tokens(settings).set_index("part")
    assert text.startswith("0 of 500 requests are still to be asked, beside 500 that batches hold")
    n_input = 500 * parts.loc["categories", "tokens_in"] / 1e6 if reply_format == "list" else 0
    assert f"about {n_input:.2f} million tokens in" in text
    assert ("their labels" in text) == (reply_format == "list")
    for record in runs.glob("replies/*/batches/*.json"):
        record.rename(runs / record.name)  # as the message about a batch that is stuck tells
    assert explain_cost(settings, limits).split(".")[0] == before.split(".")[0]


@pytest.mark.parametrize("teacher", ["", " "])
def test_a_teacher_without_a_name_is_refused_before_it_is_asked(provider, teacher):
    with pytest.raises(StudyError, match="`teacher` must be 'recorded' or the name of a model"):
        synthesize(SynthesisSettings(teacher=teacher, teacher_url=provider.url))


def test_an_unknown_price_without_a_cap_in_tokens_is_refused():
    with pytest.raises(StudyError, match="Set `max_cost_tokens`"):
        explain_cost(SynthesisSettings(teacher="unheard-of"), ProviderLimits())


def test_every_model_of_the_table_has_its_bill():
    bill = tabulate_costs(SynthesisSettings(), 25_005, 15.0)
    assert bill["model"].to_list() == list(PRICES)
    assert (bill["usd_batch"] <= bill["usd_live"] / 2 + 0.01).all()
