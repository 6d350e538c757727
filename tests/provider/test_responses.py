"""What a provider says, read without trust."""

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest

from helpers.provider.responses import build_body, may_be_billed, parse_duration, retry_after_seconds


@pytest.mark.parametrize(
    ("text", "seconds"), [("1m30s", 90), ("20ms", 0.02), ("6.5s", 6.5), ("2h", 7200), ("", 0), ("soon", 0)]
)
def test_durations_of_rate_limit_headers_are_read(text, seconds):
    assert parse_duration(text) == pytest.approx(seconds)


def test_the_delay_that_a_server_asks_for_is_found_in_any_of_its_forms():
    assert retry_after_seconds({"retry-after": "3"}) == 3
    assert retry_after_seconds({"retry-after-ms": "250"}) == 0.25
    assert retry_after_seconds({"x-ratelimit-reset-requests": "2s", "x-ratelimit-reset-tokens": "1m"}) == 60
    assert retry_after_seconds(
        {"retry-after": format_datetime(datetime.now(UTC) + timedelta(seconds=30))}
    ) == pytest.approx(30, abs=2)
    assert (
        retry_after_seconds({"retry-after": "nan"})
        == retry_after_seconds({"retry-after": "-3"})
        == retry_after_seconds({"retry-after": f"Mon, 01 Jan {10**20} 00:00:00 GMT"})
        == retry_after_seconds({})
        == 0
    )


def test_a_reasoning_effort_is_sent_only_where_it_is_set():
    assert "reasoning_effort" not in build_body("toy", "p", 0, 10, 1)
    assert build_body("toy", "p", 0, 10, 1, "none")["reasoning_effort"] == "none"


@pytest.mark.parametrize(("status", "may_be"), [(408, True), (429, False), (500, False), (504, True)])
def test_a_time_out_may_hide_an_answer_that_was_billed(status, may_be):
    assert may_be_billed(status) == may_be
