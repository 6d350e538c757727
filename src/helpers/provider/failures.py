"""Why a request got no answer, and what to do about it, in words."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING

from helpers.provider.address import mask_address
from helpers.provider.journal import RemoteModel
from helpers.provider.wire import GarbledError
from helpers.provider.words import quote_line, quote_server

if TYPE_CHECKING:
    from openai import APIStatusError


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
        f"Check `{model.role}`, `temperature`, `reasoning_effort`, `reply_format` and what else was asked "
        "for: a server knows its models by its own names, and not every model takes every value.",
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
