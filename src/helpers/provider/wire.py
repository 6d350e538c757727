"""What a provider says: completions, refusals, delays and limits, read without trust."""

from __future__ import annotations

import json
import math
import os
import re
import time
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from helpers.jsonl import scrub_text
from helpers.provider.address import mask_address
from helpers.provider.journal import Body, Completion, RemoteModel
from helpers.provider.words import name_source, quote_line, quote_server
from helpers.records import Usage

if TYPE_CHECKING:
    from openai import APIStatusError

FINISH_REASONS = {
    "stop": "stop",
    "eos": "stop",
    "eos_token": "stop",
    "end_turn": "stop",
    "stop_sequence": "stop",
    "length": "length",
    "max_tokens": "length",
    "content_filter": "content_filter",
}
QUOTA_CODES = ("insufficient_quota", "billing_hard_limit_reached", "billing_not_active")
REFUSAL_CODES = ("content_policy_violation", "content_filter")
WORTH_ANOTHER_TRY = (408, 409, 425, 429)
PASSING = (*WORTH_ANOTHER_TRY, 500, 502, 503, 504, 529)
MOST_BYTES_PER_TOKEN = 16  # more than any tokenizer packs into one over a whole text
NEVER_BILLED = (
    429,
    500,
    503,
)  # of the server's errors; a gateway's time-out may hide an answer that was billed
DURATION = re.compile(r"(?P<value>\d+(\.\d+)?)(?P<unit>ms|s|m|h)")
SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}


class GarbledError(Exception):
    """The server answered with something that is no completion."""


class ForeignAnswerError(Exception):
    """The server answered with something that is no completion and that asking again would bring again."""

    def __init__(self, found: str, was_billed: bool = False) -> None:
        super().__init__(found)
        self.was_billed = was_billed


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


def read_answer(content: bytes, kind: str) -> Any:
    """Return the value that a successful answer holds.

    Args:
        content: the answer as it came.
        kind: its content type.

    Raises:
        ForeignAnswerError: it is a web page, a stream of events or an error; asking again brings the same.
        GarbledError: it is no JSON, as a broken line leaves it.
    """
    start = content[:200].lstrip()
    if "event-stream" in kind or start.startswith((b"data:", b"event:")):
        raise ForeignAnswerError("a stream of events, though none was asked for", was_billed=True)
    if start.startswith(b"<"):
        raise ForeignAnswerError(f"a web page ({quote_server(content.decode('utf-8', 'replace'))})")
    try:
        answer = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise GarbledError(f"its answer is no JSON: {quote_line(str(error), 80)}") from None
    if isinstance(answer, dict) and answer.get("error") and not answer.get("choices"):
        if _find_status(answer["error"]) in PASSING:
            raise GarbledError(f"its answer is an error: {quote_server(answer)}")
        raise ForeignAnswerError(f"an error: {quote_server(answer)}")
    return answer


def _find_status(error: Any) -> Any:
    """A gateway that answers 200 may pass on the status of the server behind it."""
    return error.get("code") if isinstance(error, dict) and type(error.get("code")) is int else None


def read_completion(answer: Any, model: str) -> Completion:
    """Return what counts of a server's answer.

    Raises:
        GarbledError: the answer has no choice with a message.
    """
    choices = answer.get("choices") if isinstance(answer, dict) else None
    choice = choices[0] if isinstance(choices, list) and choices else None
    message = choice.get("message") if isinstance(choice, dict) else None
    if not isinstance(message, dict):
        raise GarbledError("its answer has no message")
    text = scrub_text(_read_content(message.get("content")))
    reason = choice.get("finish_reason")
    finish_reason = FINISH_REASONS.get(reason.lower(), "other") if isinstance(reason, str) else "other"
    return Completion(
        model=name_source(answer.get("model")) or model,
        finish_reason="content_filter" if message.get("refusal") else finish_reason,
        text=text,
        usage=_read_usage(answer.get("usage"), text),
    )


def _read_content(content: Any) -> str:
    """Return the text of a message, which some servers give in parts."""
    if isinstance(content, list):
        parts = [part.get("text") for part in content if isinstance(part, dict)]
        return "".join(part for part in parts if isinstance(part, str))
    return content if isinstance(content, str) else ""


def _read_usage(usage: Any, text: str) -> Usage | None:
    """Return what was billed, if the server says so; nothing for a text is no bill but a server that does not
    count.
    """
    if not isinstance(usage, dict):
        return None
    try:
        read = Usage(input_tokens=usage.get("prompt_tokens"), output_tokens=usage.get("completion_tokens"))
    except ValidationError:
        return None
    return read if read.input_tokens and (read.output_tokens or not text) else None


def count_tokens(answer: Completion) -> int:
    """Return how many tokens an answer has, by its text where the server does not say."""
    return answer.usage.output_tokens if answer.usage else len(answer.text.encode()) // MOST_BYTES_PER_TOKEN


def is_permanent(status: int, code: str | None) -> bool:
    """Say whether asking again cannot change what the server said of a request."""
    return code in QUOTA_CODES or (300 <= status < 500 and status not in WORTH_ANOTHER_TRY)


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
    """Return what a server's refusal means, in its own words, and what to do, without the request."""
    status = error.status_code
    remedy = {
        401: "Check OPENAI_API_KEY.",
        403: "The key has no right to use this model.",
        404: f"Check `{model.role}` and `{model.role}_url` (most addresses end in /v1).",
        405: f"Check `{model.role}_url` (most addresses end in /v1).",
        429: "The quota is used up: check the account's billing.",
    }.get(
        status,
        "Check `temperature`, `reasoning_effort`, `reply_format` and what else was asked for: not every "
        "model takes every value.",
    )
    words = re.sub(r"(?<!\.)\.$", "", quote_server(error.body))
    if status < 400:
        other = mask_address(quote_line(error.response.headers.get("location", "")))
        words = f"it names another address, {other!r}"
        remedy = f"Nothing was sent there. Check it, and name it as `{model.role}_url`."
    said = words or "without a word"
    return f"The {model.label} refused ({status}): {said}. {remedy} Every reply so far is kept."


def explain_failure(error: Exception) -> str:
    """Return in a few words why a request got no answer."""
    from openai import APIStatusError

    if isinstance(error, APIStatusError):
        return f"{error.status_code}: {quote_server(error.body) or 'without a word'}"
    if isinstance(error, GarbledError):
        return quote_line(str(error))
    if isinstance(error, TimeoutError) or type(error).__name__ == "APITimeoutError":
        return "no answer in time (`timeout_seconds`)"
    causes = [error]
    while following := causes[-1].__cause__ or causes[-1].__context__:
        causes.append(following)
    system = next((cause for cause in causes if isinstance(cause, OSError) and cause.errno), None)
    spoken = system and (os.strerror(system.errno) if system.errno > 0 else system.strerror)
    named = causes[min(1, len(causes) - 1)]
    return quote_line(spoken or f"{type(named).__name__}: {named}".removesuffix(": "), 120)


def never_left(error: Exception) -> bool:
    """Say whether a request failed before anything of it was sent."""
    import httpx2

    before = (
        httpx2.ConnectError,
        httpx2.ConnectTimeout,
        httpx2.PoolTimeout,
        httpx2.ProxyError,
        httpx2.UnsupportedProtocol,
        httpx2.LocalProtocolError,
        httpx2.InvalidURL,
    )
    return isinstance(error.__cause__, before)
