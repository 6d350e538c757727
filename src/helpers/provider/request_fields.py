"""What a server takes: which name it has for the longest answer, whether it knows a seed, and whether a judge
of its can be asked for the likeliest reply.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from helpers.progress import tell
from helpers.provider.journal import Body, RemoteModel
from helpers.provider.text_cleaning import quote_server

NEW_LIMIT, OLD_LIMIT = "max_completion_tokens", "max_tokens"
LIMITS = (NEW_LIMIT, OLD_LIMIT)
UNSUPPORTED = re.compile(
    r"unknown|unrecogni[sz]ed|unsupported|unexpected|unused|extra|forbidden|both|same time|no such|"
    r"cannot be (?:set|used|given|combined)|mutually exclusive|only one of|"
    r"(?:not|isn't|doesn't|does not|aren't)\s+(?:\w+\s+)?"
    r"(?:support|permit|allow|compatible|recogni|known|know|accept|valid|take|available)",
    re.IGNORECASE,
)


class RequestFields:
    """The fields with which one server is asked: own servers get both names of the longest answer, since some
    know the old one alone; what a server says it does not take is left out from then on.
    """

    def __init__(self, model: RemoteModel) -> None:
        self._limits: tuple[str, ...] = LIMITS if model.server else (NEW_LIMIT,)
        # a teacher's temperature is a parameter of the study, and stays
        # of these a refused value is a refused field: they are the same in all requests of a judge
        self._fixed = {"temperature"} if model.role == "judge" else set()
        self._optional = {"seed", *self._fixed}
        self._fields = (*LIMITS, *self._optional)

    def apply(self, body: Body) -> Body:
        """Return the body as this server takes it."""
        left_out = {NEW_LIMIT, *self._fields} - self._optional
        fitted = {name: value for name, value in body.items() if name not in left_out}
        return fitted | dict.fromkeys(self._limits, body[NEW_LIMIT])

    def adopt(self, bodies: Iterable[Body]) -> None:
        """Ask as requests were asked before: what those of an earlier process leave out is left out."""
        for body in bodies:
            self._optional &= set(body)
            self._limits = tuple(name for name in self._limits if name in body) or self._limits

    def drop_refused(self, sent: Body, status: int, error: Any) -> bool:
        """Take from a refusal what the server does not take; returns whether the request can be sent in
        another way.

        Args:
            sent: the request.
            status: of the answer.
            error: what the answer says of the error.
        """
        if status not in (400, 422, 500):  # LiteLLM has said 500
            return False
        named = _find_unsupported(error, sent, self._fields, self._fixed)
        if "temperature" in self._optional & named:
            tell(
                "The judge takes no temperature: its replies are drawn, so another asking may differ. If it "
                "reasons, a low `--judge-effort` leaves it more tokens to write its marks."
            )
        self._optional -= named
        limits = tuple(name for name in LIMITS if name in sent)
        if self._limits == limits and (refused := [name for name in limits if name in named]):
            self._limits = _choose_limits(limits, refused)
        known = {*self._limits, *self._optional}
        return bool(known) and known != {name for name in self._fields if name in sent}


def _choose_limits(limits: tuple[str, ...], refused: list[str]) -> tuple[str, ...]:
    """An answer without a limit is never asked for: of two names one stays, of one the other is tried."""
    if len(limits) > 1:
        return (OLD_LIMIT,) if refused == [NEW_LIMIT] else (NEW_LIMIT,)
    return (OLD_LIMIT,) if limits == (NEW_LIMIT,) else limits


def _find_unsupported(error: Any, sent: Body, fields: Iterable[str], fixed: Iterable[str]) -> set[str]:
    """Return those of some fields of a request that a refusal names as ones that the server does not take; of
    `fixed` ones, which could have no other value, also those whose value it refuses.
    """
    detail = error
    for name in ("message", "detail"):
        detail = detail.get(name, detail) if isinstance(detail, dict) else detail
    if isinstance(detail, list):
        paths = [entry.get("loc") for entry in detail if isinstance(entry, dict)]
        return {str(path[-1]) for path in paths if isinstance(path, list) and path} & set(sent)
    words = quote_server(error, 4000)
    parameter = error.get("param") if isinstance(error, dict) else None
    if not UNSUPPORTED.search(words):
        ways = (
            "[`'\"]{0}[`'\"]|\\b(?:invalid|value (?:for|of)) {0}\\b|"
            "\\A\\W*{0}(?: ?:| (?:must|should|has to|needs to|cannot|may)\\b)"
        )
        said = {name for name in fixed if re.search(ways.format(name), words, re.IGNORECASE)}
        return (said | {name for name in fixed if name == parameter}) & set(sent)
    if parameter in tuple(fields):
        return {parameter} & set(sent)
    return {name for name in fields if name in sent and re.search(rf"\b{name}\b", words, re.IGNORECASE)}
