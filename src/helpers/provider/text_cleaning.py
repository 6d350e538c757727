"""Words of servers and models, made fit to be shown and stored: one line, no secret, no thinking block."""

from __future__ import annotations

import base64
import html
import json
import os
import re
from collections.abc import Iterator
from typing import Any
from urllib.parse import unquote

LONGEST_LINE = 300
LONGEST_NAME = 200
SHORTEST_KEY = 16  # of a key in a reply: own servers take any word for one, and a reply may hold it too
SHORTEST_QUOTED = 4  # of a key in an error message, of which no word is needed
ESCAPED_WITHIN = 5  # ways to spell a key, one within the other
ESCAPE = re.compile(r"\\(?:u00|x)([0-9a-f]{2})|\\([!-/:-@\[-`{-~])", re.IGNORECASE)
DEPTH = 6  # of an error object, as deep as any known server nests its message
SECRET = re.compile(
    r"\b(?:sk|pk|rk|hf|gsk|xai|key)[-_][\w-]{8,}|\bAIza[\w-]{8,}|(?<=Bearer )\S+|"
    r"(?<=://)[^/\s]+(?=@)",
    re.IGNORECASE,
)
BASIC = re.compile(r"basic ([a-z0-9+/_-]{4,}=*)", re.IGNORECASE)
TITLE = re.compile(r"<title[^>]*>(.*?)</title>", re.IGNORECASE | re.DOTALL)
TAGS = "think(?:ing)?|thought|reason(?:ing)?|reflection|scratchpad"
TAG = re.compile(rf"<(?P<end>/?)(?P<name>{TAGS})>|\[(?P<closes>/?)THINK\]", re.IGNORECASE)
CHANNEL = re.compile(r"\A.*<\|channel\|>final<\|message\|>|<\|(?:end|return)\|>\s*\Z", re.DOTALL)


def quote_server(body: Any, most: int = LONGEST_LINE) -> str:
    """Return what a server said in an error: its message, on one line, cut and without secrets."""
    return quote_line(_find_message(body, DEPTH), most)


def quote_line(text: str, most: int = LONGEST_LINE) -> str:
    """Return a foreign text as one printable line of at most `most` characters, keys and passwords masked."""
    start = mask_key(text, SHORTEST_QUOTED)[: 20 * most]  # a key that the cut would divide is masked before
    line = " ".join("".join(letter if letter.isprintable() else " " for letter in start).split())
    line = BASIC.sub(_mask_login, SECRET.sub("***", mask_key(line, SHORTEST_QUOTED)))
    return line if len(line) <= most else line[: most - 3] + "..."


def mask_key(text: str, least: int = SHORTEST_KEY) -> str:
    """Return a foreign text without the key that was sent, should the server say it again, as it is or as
    addresses, web pages and JSON spell it, one in the other too; where it is spelt, the text comes with its
    escapes resolved. A key of fewer than `least` letters is none.
    """
    api_key = os.environ.get("OPENAI_API_KEY", "").strip()
    if len(api_key) < least:
        return text
    key = re.compile(re.escape(api_key), re.IGNORECASE)
    masked = key.sub("***", text)
    spelt = next(filter(key.search, _resolve_escapes(masked)), None)
    return mask_key(spelt, least) if spelt else masked


def _resolve_escapes(text: str) -> Iterator[str]:
    """Yield a text as it reads once the escapes of addresses, of web pages or of JSON are resolved, and those
    of one in the other.
    """
    seen = latest = {text: None}
    for _ in range(ESCAPED_WITHIN):
        ways = (unquote, html.unescape, lambda form: ESCAPE.sub(_unescape, form))
        latest = dict.fromkeys(form for one in latest for way in ways if (form := way(one)) not in seen)
        seen = seen | latest
        yield from latest


def _unescape(match: re.Match[str]) -> str:
    return chr(int(match[1], 16)) if match[1] else match[2]


def _mask_login(match: re.Match[str]) -> str:
    """Return the words of HTTP's basic authentication without the name and the password in them."""
    word = match[1].rstrip("=").replace("-", "+").replace("_", "/")
    whole = word[:-1] if len(word) % 4 == 1 else word  # it may have been cut
    return "Basic ***" if b":" in base64.b64decode(whole + "==") else match[0]


def _find_message(body: Any, depth: int) -> str:
    if isinstance(body, str):
        title = TITLE.search(body)
        return title[1] if title else "a web page" if body.lstrip().startswith("<") else body
    if isinstance(body, list) and depth:
        return "; ".join(_find_message(part, depth - 1) for part in body[:3])
    if isinstance(body, dict) and depth:
        message = next((body[name] for name in ("message", "msg", "error", "detail") if body.get(name)), None)
        path = body.get("loc")
        where = ".".join(map(str, path)) + ": " if isinstance(path, list) and len(path) < DEPTH else ""
        return where + (_find_message(message, depth - 1) if message else _dump(body))
    return "" if body is None else _dump(body)


def _dump(value: Any) -> str:
    try:
        return json.dumps(value)
    except (TypeError, ValueError, RecursionError):
        return type(value).__name__


def cut_reasoning(text: str) -> str:
    """Return a reply without what a reasoning model wrote before it answered.

    Closed thinking blocks go; so does all before a closing tag that was never opened (the chat template holds
    the opening one) and all after an opening tag that was never closed (the answer was cut off in the block).
    Tags of other names than `think`, such as `reason`, may be a part of an answer: they count where it begins
    with one.
    """
    text = CHANNEL.sub("", text)
    kept, position, opened = "", 0, None
    for tag in TAG.finditer(text):
        name, closes = (tag["name"] or "think").lower(), bool(tag["end"] or tag["closes"])
        before, is_sure = kept + text[position : tag.start()], name.startswith("think")
        if opened is None and not closes:
            if is_sure or not before.strip():
                kept, opened = before, name
        elif opened is None:
            if is_sure:
                kept, position = "", tag.end()
        elif closes and name == opened:
            position, opened = tag.end(), None
    return kept if opened else kept + text[position:]


def name_source(name: Any) -> str:
    """Return a server's name of its model as results may show it: printable, not too long, of a path only
    the last part; empty where there is none.
    """
    line = quote_line(name, LONGEST_NAME) if isinstance(name, str) else ""
    is_path = line.startswith(("/", "~", ".")) or "\\" in line or line[1:3] == ":/"
    return re.split(r"[/\\]", line.rstrip("/\\"))[-1] if is_path else line
