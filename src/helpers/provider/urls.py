"""Addresses of servers: checked before anything is sent, shown without secrets, one account per server."""

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
LONGEST_NAME = 200
EXAMPLE = "http://localhost:11434/v1"
LOGIN_FAULT = (
    "it holds a user name or a password, which results would show; give a key in OPENAI_API_KEY (an @ of the "
    "path is written %40)"
)


def check_address(parameter: str, url: str) -> None:
    """Check the address of a server; an empty one stands for the provider's own.

    Args:
        parameter: name of the parameter that holds it.
        url: the address.

    Raises:
        StudyError: it is not an http address of a host, or holds more than a host, a port and a path.
    """
    if url and (fault := _find_fault(url)):
        found = mask_address(url)[:LONGEST_NAME]
        raise StudyError(
            f"`{parameter}` must be an address such as {EXAMPLE!r}, but {found!a} was found: {fault}."
        )


def check_name(parameter: str, name: str) -> None:
    """Raise StudyError if the name of a model cannot be sent and shown."""
    if not name.isprintable() or len(name) > LONGEST_NAME:
        raise StudyError(
            f"`{parameter}` must be the name of a model, on one line of at most {LONGEST_NAME} characters, "
            f"but {name[:LONGEST_NAME]!a} was found."
        )


def _find_fault(url: str) -> str | None:
    """Return what is wrong with an address, None for a sound one."""
    if not url.isascii() or not url.isprintable() or " " in url:
        return "a space or a letter outside ASCII; write the host's name in its ASCII form"
    if "@" in url:  # in its path too: a password may hold a slash
        return LOGIN_FAULT
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        return str(error).lower()
    faults = {
        "it does not begin with http:// or https://": not re.match("https?://", url, re.IGNORECASE),
        "it goes on after the path; leave out what follows ? or #": "?" in url or "#" in url,
        "its host or its port cannot be one": port == 0 or not _is_host(parts.hostname or ""),
    }
    return next((fault for fault, is_found in faults.items() if is_found), None)


def _is_host(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return bool(HOST.fullmatch(host))
    return True


def mask_address(url: str) -> str:
    """Return an address without what may be secret: user name, password, and all that follows the path."""
    return re.sub(r"[?#].*", "?***", re.sub(r"(\w+://)?\S*@", r"\1***@", url), flags=re.DOTALL)


def normalize_address(url: str) -> str:
    """Return the one form of an address that names an account: `/v1/` and `/v1`, `localhost` and `127.0.0.1`
    are the same, and so are the provider's own address and an empty one.
    """
    if _find_fault(url):
        return url
    parts = urlsplit(url)
    normal = f"{parts.scheme}://{_normalize_host(parts)}{re.sub('/+', '/', parts.path).rstrip('/')}"
    return "" if normal == PROVIDER_URL else normal


def _normalize_host(parts: SplitResult) -> str:
    host = (parts.hostname or "").rstrip(".")
    host = "127.0.0.1" if host in THIS_MACHINE else f"[{host}]" if ":" in host else host
    return host if parts.port in (None, PORTS[parts.scheme]) else f"{host}:{parts.port}"
