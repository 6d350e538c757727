"""The line to a server: its key, no header that is not meant for it, no redirect to another place."""

from __future__ import annotations

import json
import os
import re
from typing import TYPE_CHECKING, Any

from helpers.errors import StudyError
from helpers.provider import urls
from helpers.provider.journal import RemoteModel
from helpers.provider.text_cleaning import quote_line
from helpers.provider.urls import check_address

if TYPE_CHECKING:
    from openai import AsyncOpenAI, OpenAI

OWN_HEADERS = (
    "host",
    "accept",
    "accept-encoding",
    "connection",
    "user-agent",
    "content-type",
    "content-length",
    "transfer-encoding",
)
CERTIFICATES = ("SSL_CERT_FILE", "SSL_CERT_DIR", "SSLKEYLOGFILE")
CONNECT_SECONDS = 20.0  # longest wait for a server to take a connection
SDK_HEADERS = "x-stainless-"  # the SDK's own, by one of which it knows what to make of the answer


def read_api_key(model: RemoteModel) -> str:
    """Return the key from the environment; a server that a user names may need none.

    Raises:
        StudyError: no key is set for the provider's own server, or it cannot be sent.
    """
    api_key = os.environ.get("OPENAI_API_KEY", "").strip()
    if not api_key and not model.server:
        raise StudyError(
            f"`{model.role}` is {model.name!r}, but OPENAI_API_KEY is not set. Set it in the environment, or "
            f"name a server of your own (`{model.role}_url`)."
        )
    if not re.fullmatch(r"[!-~]*", api_key):
        raise StudyError(
            "OPENAI_API_KEY must be made of ASCII letters, digits and signs, but something else was found in "
            "it. Copy the key again."
        )
    return api_key or "none"


def open_async(model: RemoteModel, timeout_seconds: float) -> AsyncOpenAI:
    """Return a connection for many requests at a time; it tries nothing again by itself."""
    from httpx2 import AsyncClient
    from openai import AsyncOpenAI

    async def clean(request: Any) -> None:
        _clean_headers(request, model, api_key)

    api_key = _check(model)
    http = _build(AsyncClient, clean)
    return AsyncOpenAI(**_describe(model, api_key, timeout_seconds), max_retries=0, http_client=http)


def open_sync(model: RemoteModel, timeout_seconds: float) -> OpenAI:
    """Return a connection for one request at a time."""
    from httpx2 import Client
    from openai import OpenAI

    api_key = _check(model)
    http = _build(Client, lambda request: _clean_headers(request, model, api_key), check_object)
    return OpenAI(**_describe(model, api_key, timeout_seconds), http_client=http)


def _check(model: RemoteModel) -> str:
    check_address(f"{model.role}_url", model.url)
    return read_api_key(model)


def _describe(model: RemoteModel, api_key: str, timeout_seconds: float) -> dict[str, Any]:
    from httpx2 import Timeout

    # connecting gives up first, so that a request that never left is known as such
    timeout = Timeout(timeout_seconds, connect=min(CONNECT_SECONDS, timeout_seconds / 2))
    return {"base_url": model.url or urls.PROVIDER_URL, "api_key": api_key, "timeout": timeout}


def check_object(response: Any) -> None:
    """Raise StudyError if a successful answer about files and batches is not a JSON object, such as the page
    of a server that knows neither; the content of a file is left alone.
    """
    if not response.is_success or response.url.path.endswith("/content"):
        return
    try:
        answer = json.loads(response.read())
    except (ValueError, RecursionError):
        answer = None
    if not isinstance(answer, dict):
        raise StudyError(
            f"The server's answer is not a JSON object but {quote_line(response.text, 80)!r}. Ask "
            "without `batch=true` (--batch), or check its address: few servers but the provider's own know "
            "batches."
        )


def _build(client: type, clean: Any, check: Any = None) -> Any:
    import httpx2
    from openai._constants import DEFAULT_CONNECTION_LIMITS

    hooks = {"request": [clean], "response": [check] if check else []}
    try:
        return client(limits=DEFAULT_CONNECTION_LIMITS, follow_redirects=False, event_hooks=hooks)
    except (ImportError, ValueError, OSError, httpx2.InvalidURL):
        proxies = {name for name in os.environ if re.fullmatch(r"(?!no_)\w*_proxy", name, re.IGNORECASE)}
        found = [name for name in (*sorted(proxies), *CERTIFICATES) if os.environ.get(name)]
        raise StudyError(
            "No connection can be made with the environment's settings of proxies and certificates "
            f"({', '.join(found) or 'none of them is set'}). Name an http proxy (socks needs "
            "another package; percent-encode special characters of a password), or unset them."
        ) from None


def _clean_headers(request: Any, model: RemoteModel, api_key: str) -> None:
    """Take from a request to a server that a user names all that is not meant for it: the provider's
    organisation and project, and headers of the environment.
    """
    if model.server:
        foreign = [name for name in request.headers if name.lower() not in OWN_HEADERS]
        for name in (name for name in foreign if not name.lower().startswith(SDK_HEADERS)):
            del request.headers[name]
        request.headers["Authorization"] = f"Bearer {api_key}"
