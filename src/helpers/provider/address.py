"""Addresses of servers: checked before anything is sent, shown without secrets, one account for one server."""

from __future__ import annotations

import ipaddress
import re
from urllib.parse import SplitResult, urlsplit

from helpers.errors import StudyError

# named, so that no variable of the environment sends requests elsewhere at this provider's prices
PROVIDER_URL = "https://api.openai.com/v1"
PORTS = {"http": 80, "https": 443}
HOST = re.compile(r"(?!.{254})[a-z0-9_-]{1,63}(\.[a-z0-9_-]{1,63})*\.?", re.IGNORECASE)
THIS_MACHINE = ("localhost", "0.0.0.0", "::", "::1")  # noqa: S104
EXAMPLE = "http://localhost:11434/v1"


def check_address(parameter: str, url: str) -> None:
    """Check the address of a server; an empty one stands for the provider's own.

    Args:
        parameter: name of the parameter that holds it.
        url: the address.

    Raises:
        StudyError: it is no http address of a host, or holds more than a host, a port and a path.
    """
    if url and (fault := _find_fault(url)):
        raise StudyError(
            f"`{parameter}` must be an address such as {EXAMPLE!r}, but {mask_address(url)!r} was found: {fault}."
        )


def _find_fault(url: str) -> str | None:
    if not url.isascii() or not url.isprintable() or " " in url:
        return "a space or a letter outside ASCII; write the host's name in its ASCII form"
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        return str(error).lower()
    if parts.scheme not in PORTS or not url.lower().startswith(f"{parts.scheme}://"):
        return "it does not begin with http:// or https://"
    if "@" in parts.netloc:
        return "it holds a user name or a password, which results would show; give a key in OPENAI_API_KEY"
    if parts.query or parts.fragment or "?" in url or "#" in url:
        return "it goes on after the path; leave out what follows ? or #"
    if port == 0 or not _is_host(parts.hostname or ""):
        return "its host or its port cannot be one"
    return None


def _is_host(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return bool(HOST.fullmatch(host))
    return True


def mask_address(url: str) -> str:
    """Return an address without what may be secret: user name, password, and all that follows the path."""
    return re.sub(r"[?#].*", "?***", re.sub(r"[^/\s]*@", "***@", url), flags=re.DOTALL)


def settle_address(url: str) -> str:
    """Return the one form of an address that names an account: `/v1/` and `/v1`, `localhost` and `127.0.0.1`
    are the same, and so are the provider's own address and an empty one.
    """
    if _find_fault(url):
        return url
    parts = urlsplit(url)
    settled = f"{parts.scheme}://{_settle_host(parts)}{re.sub('/+', '/', parts.path).rstrip('/')}"
    return "" if settled == PROVIDER_URL else settled


def _settle_host(parts: SplitResult) -> str:
    host = (parts.hostname or "").rstrip(".")
    host = "127.0.0.1" if host in THIS_MACHINE else f"[{host}]" if ":" in host else host
    return host if parts.port in (None, PORTS[parts.scheme]) else f"{host}:{parts.port}"
