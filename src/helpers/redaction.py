"""What no message may show: keys of the environment, and logins of addresses."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from urllib.parse import unquote

KEY_NAMES = ("_KEY", "_TOKEN", "_SECRET", "_PASSWORD")
SHORTEST_KEY = 8  # own servers take any word for a key, such as "test"
SHORTEST_PASSWORD = 4
LOGIN = re.compile(r"(?:\w+://|https?:/)(\S*)@")
PROXY_LOGIN = re.compile(r"(?:\w+:/+)?(\S*)@")  # its scheme may lack
BREAKS = re.compile(r"[/#?@:\\]")  # where readers of addresses cut a password that is not encoded
SHOWN_LOGIN = re.compile(r"(:/{1,3})[^/\s]+@")
SHOWN_PORT = re.compile(r"(integer value as )'.*?'")  # a part of a password, where one is cut


def hide_secrets(text: str) -> str:
    """Return a text without the keys of the environment, and without user names and passwords of addresses,
    be they in the text or in the environment.
    """
    for secret, name in sorted(_list_secrets(), key=lambda pair: len(pair[0]), reverse=True):
        text = text.replace(secret, f"<{name}>")
    return SHOWN_PORT.sub(r"\1<hidden>", SHOWN_LOGIN.sub(r"\1<hidden>@", text))


def _list_secrets() -> Iterator[tuple[str, str]]:
    """Yield each secret of the environment, in whole and in the parts in which it may be shown, and the
    variable that holds it.
    """
    for name, value in os.environ.items():
        upper = name.upper()
        if upper.endswith(KEY_NAMES):
            for word in {value.strip(), *value.split()}:
                if len(word) >= SHORTEST_KEY:
                    yield word, name
        elif "@" in value:
            for found in (PROXY_LOGIN if upper.endswith("_PROXY") else LOGIN).finditer(value):
                user, _, password = found[1].partition(":")
                login = password or user
                shortest = SHORTEST_PASSWORD if password else SHORTEST_KEY
                for part in {login, unquote(login), *BREAKS.split(login)}:
                    if len(part) >= shortest:
                        yield part, name
