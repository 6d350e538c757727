"""The pace of many requests to one server: when the next may leave, how long a failure makes them wait."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Mapping
from contextlib import suppress

from helpers.errors import StudyError
from helpers.progress import tell
from helpers.provider.failures import explain_failure
from helpers.provider.responses import parse_duration, retry_after_seconds

FIRST_DELAY_SECONDS = 0.5
LONGEST_DELAY_SECONDS = 60.0
LONGEST_RETRY_AFTER_SECONDS = 300.0
JITTER = 0.25  # requests that were held back leave again over a quarter of the delay, not all at once
MAX_DOUBLINGS = 10
N_TRUSTED = (
    3  # refusals per slot, with no answer between them, after which a server's own delays are too short
)
TELL_SECONDS = 5.0  # a longer wait is explained
TELL_AGAIN_SECONDS = 30.0


class RateLimiter:
    """Holds the requests of one client back, all of them where the server asks for it.

    Args:
        label: the model and its server in a message.
        n_parallel: requests at a time.
    """

    def __init__(self, label: str, n_parallel: int) -> None:
        self._label, self._n_parallel = label, n_parallel
        self._resume_at = self._answered_at = 0.0
        self._told_at: float | None = None
        self._n_limited = 0
        self.stopping = asyncio.Event()
        self.reason = ""

    async def wait_for_turn(self) -> None:
        """Wait until the server lets requests through; raises CancelledError if none may leave any more."""
        while not self.stopping.is_set() and (delay := self._resume_at - now()) > 0:
            await self._pause(delay * random.uniform(1, 1 + JITTER))  # noqa: S311
        if self.stopping.is_set():
            raise asyncio.CancelledError

    async def wait_after(self, error: Exception, attempt: int) -> None:
        """Wait as long as a failure asks for, and say so where it takes long."""
        self.reason = explain_failure(error)
        seconds = self._choose_delay(error, attempt)
        held = max(seconds, self._resume_at - now())
        if held >= TELL_SECONDS:
            self.tell(f"The {self._label} gave no answer ({self.reason}). Trying again in {held:.0f} seconds")
        await self._pause(seconds)

    def note_answer(self) -> None:
        """Take note that the server answers."""
        self._answered_at, self._n_limited = now(), 0

    def is_held_back(self, error: Exception, began: float) -> bool:
        """Say whether the server only asked to wait: that is not a failed attempt while answers to others
        come in.
        """
        return (
            getattr(error, "status_code", 0) == 429
            and now() - max(began, self._answered_at) < LONGEST_RETRY_AFTER_SECONDS
        )

    def apply_rate_limits(self, headers: Mapping[str, str]) -> None:
        """Hold back when an answer says that nothing is left of the allowance for requests or tokens."""
        for kind in ("requests", "tokens"):
            if headers.get(f"x-ratelimit-remaining-{kind}") == "0":
                self._hold_back(
                    min(parse_duration(headers.get(f"x-ratelimit-reset-{kind}", "")), LONGEST_DELAY_SECONDS)
                )

    def tell(self, message: str) -> None:
        """Say why nothing moves, now and then."""
        if self._told_at is None or now() - self._told_at >= TELL_AGAIN_SECONDS:
            self._told_at = now()
            tell(f"{message}; every reply so far is kept.")

    def _choose_delay(self, error: Exception, attempt: int) -> float:
        """Return how long this request waits; a server that asks to wait holds all others back as well."""
        status = getattr(error, "status_code", 0)
        if status in (400, 422):
            return 0.0  # the server takes the request in another form
        asked_seconds = retry_after_seconds(error.response.headers) if status in (429, 503) else 0.0
        if status != 429 and not asked_seconds:
            return _grow(attempt) * random.uniform(0.5, 1.5)  # noqa: S311
        self._n_limited += 1
        n_each = self._n_limited / self._n_parallel
        self._hold_back(
            max(asked_seconds, _grow(n_each)) if n_each > N_TRUSTED else asked_seconds or _grow(n_each)
        )
        return 0.0

    def _hold_back(self, seconds: float) -> None:
        if seconds > LONGEST_RETRY_AFTER_SECONDS:
            raise StudyError(
                f"The {self._label} asks to wait for {seconds / 60:.0f} minutes. Every reply so far is kept: "
                "run the same command again then."
            )
        self._resume_at = max(self._resume_at, now() + seconds)

    async def _pause(self, seconds: float) -> None:
        """Sleep, but no longer than there is something to do."""
        with suppress(TimeoutError):
            await asyncio.wait_for(self.stopping.wait(), seconds)


def _grow(n: float) -> float:
    return min(FIRST_DELAY_SECONDS * 2 ** min(n, MAX_DOUBLINGS), LONGEST_DELAY_SECONDS)


def now() -> float:
    """Return the event loop's time in seconds."""
    return asyncio.get_running_loop().time()
