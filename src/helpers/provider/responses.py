"""What a provider says: completions, refusals, delays and limits, read without trust."""

from __future__ import annotations

import json
import math
import re
import time
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from typing import Any

from pydantic import ValidationError

from helpers.jsonl import scrub_text
from helpers.provider.journal import Body, Completion
from helpers.provider.text_cleaning import mask_key, name_source, quote_line, quote_server
from helpers.records import Usage

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
TIMED_OUT = 408  # of a gateway too, which may hide an answer that was billed, as its other time-outs may
RETRYABLE = (TIMED_OUT, 409, 425, 429)
TRANSIENT_STATUSES = (*RETRYABLE, 500, 502, 503, 504, 529)
MOST_BYTES_PER_TOKEN = 16  # more than any tokenizer packs into one over a whole text
NEVER_BILLED = (500, 503, 529)  # of the server's errors; 529: overloaded
DURATION = re.compile(r"(?P<value>\d+(\.\d+)?)(?P<unit>ms|s|m|h)")
SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}


class GarbledError(Exception):
    """The server answered with something that is not a completion."""


class NotCompletionError(Exception):
    """The server answered with something that is not a completion and that asking again would bring again."""

    def __init__(self, found: str, may_be_billed: bool = False) -> None:
        super().__init__(found)
        self.may_be_billed = may_be_billed


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
        NotCompletionError: it is a web page, a stream of events or an error; asking again brings the same.
        GarbledError: it is not JSON, as a broken line leaves it.
    """
    start = content[:200].lstrip()
    if "event-stream" in kind or start.startswith((b"data:", b"event:")):
        raise NotCompletionError("a stream of events, though none was asked for", may_be_billed=True)
    if start.startswith(b"<"):
        raise NotCompletionError(f"a web page ({quote_server(content.decode('utf-8', 'replace'))})")
    try:
        answer = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise GarbledError(f"its answer is not JSON: {quote_line(str(error), 80)}") from None
    check_no_error(answer)
    return answer


def check_no_error(answer: Any) -> None:
    """Look for an error in the value of a successful answer.

    Raises:
        NotCompletionError: there is one, and asking again brings the same.
        GarbledError: there is a transient one.
    """
    if isinstance(answer, dict) and answer.get("error") and not answer.get("choices"):
        if _find_status(answer["error"]) in TRANSIENT_STATUSES:
            raise GarbledError(f"its answer is an error: {quote_server(answer)}")
        raise NotCompletionError(f"an error: {quote_server(answer)}")


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
    text = mask_key(scrub_text(_read_content(message.get("content"))))
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
    """Return what was billed, if the server says so; nothing for a text is not a bill but a server that does
    not count. Some servers count reasoning in the total alone.
    """
    if not isinstance(usage, dict):
        return None
    n_input, n_output = usage.get("prompt_tokens"), usage.get("completion_tokens")
    if isinstance(n_input, bool) or isinstance(n_output, bool):  # `true` would count as one
        return None
    try:
        read = Usage(input_tokens=n_input, output_tokens=n_output)
    except ValidationError:
        return None
    total = usage.get("total_tokens")
    if type(total) is int and total > read.input_tokens + read.output_tokens:
        read = Usage(input_tokens=read.input_tokens, output_tokens=total - read.input_tokens)
    return read if read.input_tokens and (read.output_tokens or not text) else None


def count_most_input(body: Body) -> int:
    """Return how many tokens a request can have at most: a token is at least a byte."""
    return len(str(body).encode())


def count_tokens(answer: Completion) -> int:
    """Return how many tokens an answer has, by its text where the server does not say."""
    return answer.usage.output_tokens if answer.usage else len(answer.text.encode()) // MOST_BYTES_PER_TOKEN


def is_permanent(status: int, code: str | None) -> bool:
    """Say whether asking again cannot change what the server said of a request."""
    return code in QUOTA_CODES or (300 <= status < 500 and status not in RETRYABLE)


def may_be_billed(status: int) -> bool:
    """Say whether an answer with this status may have been billed."""
    return status == TIMED_OUT or (status >= 500 and status not in NEVER_BILLED)


def retry_after_seconds(headers: Mapping[str, str]) -> float:
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
    except (TypeError, ValueError, OverflowError):  # of no calendar
        return None


def parse_duration(text: str) -> float:
    """Return the seconds of a duration such as '1m30s' or '20ms', 0 for anything else."""
    return sum(float(match["value"]) * SECONDS[match["unit"]] for match in DURATION.finditer(text))
