"""What a provider says: completions, refusals, delays and limits, read without trust."""

from __future__ import annotations

import math
import os
import re
import time
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from helpers.errors import StudyError
from helpers.jsonl import scrub_text
from helpers.provider.journal import Body, Completion, RemoteModel
from helpers.records import Usage

if TYPE_CHECKING:
    from openai import APIStatusError

# named, so that no variable of the environment sends requests elsewhere at this provider's prices
PROVIDER_URL = "https://api.openai.com/v1"
FINISH_REASONS = ("stop", "length", "content_filter")
QUOTA_CODES = ("insufficient_quota", "billing_hard_limit_reached", "billing_not_active")
REFUSAL_CODES = ("content_policy_violation", "content_filter")
WORTH_ANOTHER_TRY = (408, 409, 429)
NEVER_BILLED = (
    429,
    500,
    503,
)  # of the server's errors; a gateway's time-out may hide an answer that was billed
DURATION = re.compile(r"(?P<value>\d+(\.\d+)?)(?P<unit>ms|s|m|h)")
SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}


class GarbledError(Exception):
    """The server answered with something that is no completion."""


def build_body(
    model: str, prompt: str, temperature: float, max_tokens: int, seed: int, reasoning_effort: str = ""
) -> Body:
    """Return the body of a chat completion, as the SDK and the Batch API take it; an empty effort is not
    sent.
    """
    body: Body = {
        "model": model,
        "messages": [{"role": "user", "content": prompt}],
        "temperature": temperature,
        "max_completion_tokens": max_tokens,
        "seed": seed,
    }
    return body | ({"reasoning_effort": reasoning_effort} if reasoning_effort else {})


def read_key(model: RemoteModel) -> str:
    """Return the key from the environment; a server of one's own may need none.

    Raises:
        StudyError: no key is set for the provider's own server.
    """
    key = os.environ.get("OPENAI_API_KEY", "")
    if not key and not model.url:
        raise StudyError(
            f"`{model.role}` is {model.name!r}, but OPENAI_API_KEY is not set. Set it in the environment, or "
            f"name a server of your own (`{model.role}_url`)."
        )
    return key or "none"


def read_completion(answer: Any, model: str) -> Completion:
    """Return what counts of a server's answer.

    Raises:
        GarbledError: the answer has no choice with a message.
    """
    try:
        choice = answer.choices[0]
        refused = bool(choice.message.refusal)
        text = scrub_text(choice.message.content or "")
    except (AttributeError, IndexError, TypeError) as error:
        raise GarbledError(str(error)) from None
    finish_reason = (
        "content_filter"
        if refused
        else choice.finish_reason
        if choice.finish_reason in FINISH_REASONS
        else "other"
    )
    source = answer.model if isinstance(answer.model, str) and answer.model else model
    return Completion(model=source, finish_reason=finish_reason, text=text, usage=_read_usage(answer.usage))


def _read_usage(usage: Any) -> Usage | None:
    try:
        return Usage(input_tokens=usage.prompt_tokens, output_tokens=usage.completion_tokens)
    except (AttributeError, ValidationError):
        return None


def is_permanent(status: int, code: str | None) -> bool:
    """Say whether asking again cannot fix what the server said of a request."""
    return code in QUOTA_CODES or (400 <= status < 500 and status not in WORTH_ANOTHER_TRY)


def was_billed(status: int) -> bool:
    """Say whether an answer with this status may have been billed."""
    return status >= 500 and status not in NEVER_BILLED


def ordered_delay(headers: Mapping[str, str]) -> float:
    """Return the seconds for which a server asks to wait, 0 if it does not say."""
    for name, unit in (("retry-after-ms", 0.001), ("retry-after", 1.0)):
        if (seconds := _read_number(headers.get(name, ""))) is not None:
            return seconds * unit
    if (moment := _read_date(headers.get("retry-after", ""))) is not None:
        return max(0.0, moment - time.time())
    return max(
        parse_duration(headers.get(f"x-ratelimit-reset-{kind}", "")) for kind in ("requests", "tokens")
    )


def _read_number(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) and value >= 0 else None


def _read_date(text: str) -> float | None:
    try:
        return parsedate_to_datetime(text).timestamp()
    except (TypeError, ValueError):
        return None


def parse_duration(text: str) -> float:
    """Return the seconds of a duration such as '1m30s' or '20ms', 0 for anything else."""
    return sum(float(match["value"]) * SECONDS[match["unit"]] for match in DURATION.finditer(text))


def explain_refusal(error: APIStatusError, model: RemoteModel) -> str:
    """Return what a server's refusal means and what to do, without the request."""
    remedy = {
        401: "Check OPENAI_API_KEY.",
        403: "The key has no right to use this model.",
        404: f"Check `{model.role}` and `{model.role}_url`.",
        429: "The quota is used up: check the account's billing.",
    }.get(
        error.status_code,
        "Check `temperature`, `reasoning_effort` and what else was asked for: not every model takes every "
        "value.",
    )
    return (
        f"The {model.role} {model.name!r} refused ({error.status_code}): {error.message} {remedy} Every "
        "reply so far is kept."
    )
