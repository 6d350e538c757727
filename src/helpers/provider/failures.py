"""Why a request got no answer, and what to do about it, in words."""

from __future__ import annotations

import os
import re
from typing import Any

from helpers.provider.journal import Completion, RemoteModel
from helpers.provider.responses import QUOTA_CODES, GarbledError, NotCompletionError, count_tokens
from helpers.provider.text_cleaning import quote_line, quote_server
from helpers.provider.urls import mask_address

SLACK_TOKENS = 16  # servers differ in what they count at the end of an answer


def explain_refusal(status: int, body: Any, model: RemoteModel, location: str = "") -> str:
    """Return what a server's refusal means, in its own words, and what to do, without the request.

    Args:
        status: of its answer.
        body: what the answer said.
        model: that was asked.
        location: another address that it named.
    """
    of_judge = "`judge`, `judge_effort`"
    of_teacher = "`teacher`, `temperature`, `reasoning_effort`, `reply_format`"
    asked = of_judge if model.role == "judge" else of_teacher
    remedy = {
        401: "Check OPENAI_API_KEY.",
        403: "The key has no right to what was asked for.",
        404: f"Check `{model.role}` and `{model.role}_url` (most addresses end in /v1).",
        405: f"Check `{model.role}_url` (most addresses end in /v1).",
        402: "Check the account's billing.",
        407: "Check name and password of the proxy (HTTP_PROXY, HTTPS_PROXY, ALL_PROXY).",
        429: "The quota is used up: check the account's billing.",
    }.get(
        429 if isinstance(body, dict) and body.get("code") in QUOTA_CODES else status,
        f"Check {asked} and what else was asked for: a server knows its models by its own names, and not "
        "every model takes every value.",
    )
    said = _quote_refusal(body)
    if status < 400:
        other = mask_address(quote_line(location))
        said = f"it names another address, {other!r}"
        remedy = f"Nothing was sent there. Check it, and name it as `{model.role}_url`."
    return f"The {model.label} refused ({status}): {said}. {remedy} Every reply so far is kept."


def _quote_refusal(body: Any) -> str:
    return re.sub(r"(?<!\.)\.$", "", quote_server(body)) or "without a word"


def explain_unreached(error: Exception, model: RemoteModel) -> str:
    """Return what it means that a server cannot be reached, and what to do."""
    return (
        f"The {model.label} cannot be reached ({explain_failure(error)}). Nothing was sent or booked. Start "
        f"the server, or check `{model.role}_url`, network and proxies."
    )


def explain_no_batches(status: int, body: Any, model: RemoteModel) -> str:
    """Return what it means that a server has no place for batches, and what to do."""
    return (
        f"The {model.label} refused a batch ({status}): {_quote_refusal(body)}. Few servers but the "
        "provider's own know batches: ask without `batch=true` (--batch), or check "
        f"`{model.role}_url` (most addresses end in /v1). Every reply so far is kept."
    )


def explain_not_completion(error: NotCompletionError, model: RemoteModel) -> str:
    """Return what a server answered in place of a completion, and what to do."""
    return (
        f"The {model.label} did not answer with a completion but with {error}. Check `{model.role}_url` "
        "(most addresses end in /v1). Every reply so far is kept."
    )


def explain_excess(
    answer: Completion, most_input: int, most_output: int, model: RemoteModel, spent: str
) -> str | None:
    """Return what it means that an answer is longer than was asked for, or that more was billed for the
    request than it holds; None where neither is so.

    Args:
        answer: kept and booked by now.
        most_input: tokens that the request can have at most.
        most_output: tokens that were asked for at most.
        model: that was asked.
        spent: what was spent, in words.
    """
    if answer.usage and (n_input := answer.usage.input_tokens) > most_input + SLACK_TOKENS:
        return (
            f"The {model.label} billed {n_input:,} tokens of input where the request has at most "
            f"{most_input:,}: no cap can be kept with it ({spent}). The answer is kept. The server may put a "
            "prompt or documents of its own before the request: have it leave them out, or name another "
            f"server (`{model.role}_url`), and run the same command again."
        )
    if (n_tokens := count_tokens(answer)) <= most_output + SLACK_TOKENS:
        return None
    return (
        f"The {model.label} wrote {n_tokens:,} tokens where at most {most_output:,} were asked for: no cap "
        f"can be kept with it ({spent}). The answer is kept. Set a limit in the server's own settings (such "
        "as `num_predict` of Ollama), and run the same command again."
    )


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


def was_not_sent(error: Exception) -> bool:
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
