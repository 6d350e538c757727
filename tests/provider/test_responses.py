"""What a provider says, read without trust."""

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest

from helpers.provider.responses import build_body, ordered_delay, parse_duration


@pytest.mark.parametrize(
    ("text", "seconds"), [("1m30s", 90), ("20ms", 0.02), ("6.5s", 6.5), ("2h", 7200), ("", 0), ("soon", 0)]
)
def test_durations_of_rate_limit_headers_are_read(text, seconds):
    assert parse_duration(text) == pytest.approx(seconds)


def test_an_ordered_delay_is_found_in_any_of_its_forms():
    assert ordered_delay({"retry-after": "3"}) == 3
    assert ordered_delay({"retry-after-ms": "250"}) == 0.25
    assert ordered_delay({"x-ratelimit-reset-requests": "2s", "x-ratelimit-reset-tokens": "1m"}) == 60
    assert ordered_delay(
        {"retry-after": format_datetime(datetime.now(UTC) + timedelta(seconds=30))}
    ) == pytest.approx(30, abs=2)
    assert (
        ordered_delay({"retry-after": "nan"})
        == ordered_delay({"retry-after": "-3"})
        == ordered_delay({})
        == 0
    )


def test_a_reasoning_effort_is_sent_only_where_it_is_set():
    assert "reasoning_effort" not in build_body("toy", "p", 0, 10, 1)
    assert build_body("toy", "p", 0, 10, 1, "none")["reasoning_effort"] == "none"
