"""What no message may show: keys and passwords of the environment, and logins of addresses."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from urllib.parse import unquote

KEY_NAMES = ("_KEY", "_TOKEN", "_SECRET", "_PASSWORD")
SHORTEST_KEY, LONG_KEY = 8, 16  # own servers take any word for a key, such as "test"
SHORTEST_PASSWORD = 6  # a shorter one is too common a word to be hidden outside of its address
# a user name, or with a password, which may hold a slash; what follows a port is a path
USER = r"[^/\s:]+|[^/\s:]*:(?!\d+/)(?:(?!\w+://)\S)*"
LOGIN = re.compile(rf"(?:\w+://|https?:/{{1,3}})({USER})@")
PROXY_LOGIN = re.compile(r"(?:\w+:/+)?((?:(?!\w+://)\S)*)@")  # its scheme may lack
BREAKS = re.compile(r"[/#?@:\\]")  # where readers of addresses cut a password that is not encoded
SHOWN_LOGIN = re.compile(rf"(\w+://|https?:/{{1,3}})(?:{USER})@")
SHOWN_PORT = re.compile(r"(integer value as )(['\"]).*?\2")  # a part of a password, where one is cut


def hide_secrets(text: str) -> str:
    """Return a text without the keys of the environment and the passwords of its addresses, and without the
    logins of addresses in the text.
    """
    for pattern, name in sorted(_list_secrets(), key=lambda pair: len(pair[0]), reverse=True):
        text = re.sub(pattern, f"<{name}>", text)
    return SHOWN_PORT.sub(r"\1<hidden>", SHOWN_LOGIN.sub(r"\1<hidden>@", text))


def _list_secrets() -> Iterator[tuple[str, str]]:
    """Yield a pattern of each secret of the environment, in whole and in the parts in which it may be shown,
    and the variable that holds it.
    """
    for name, value in os.environ.items():
        if name.upper().endswith(KEY_NAMES):
            words = {value.strip(), *value.split()}
            yield from ((re.escape(word), name) for word in words if _may_be_key(word))
        elif "@" in value:
            parts = set(_list_passwords(PROXY_LOGIN if name.upper().endswith("_PROXY") else LOGIN, value))
            yield from ((rf"(?<!\w){re.escape(part)}(?!\w)", name) for part in parts)  # no part of a word


def _may_be_key(word: str) -> bool:
    """Say whether a word is as long as keys are, or of more than letters, as a name is not."""
    return len(word) >= LONG_KEY or (len(word) >= SHORTEST_KEY and any(map(str.isdigit, word)))


def _list_passwords(login: re.Pattern[str], value: str) -> Iterator[str]:
    for found in login.findall(value):
        user, _, password = found.partition(":")
        parts = (password, unquote(password), *BREAKS.split(password))
        yield from (part for part in parts if len(part) >= SHORTEST_PASSWORD)
        if len(user) >= SHORTEST_KEY:  # it may be a token
            yield user
