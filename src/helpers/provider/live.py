"""A live model behind an OpenAI-compatible server: many requests at a time, patient with faults, within the
cap.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Mapping
from contextlib import suppress
from functools import cached_property
from typing import TYPE_CHECKING

from helpers.errors import StudyError
from helpers.provider.journal import Body, Completion, Conversation, Journal, Result
from helpers.provider.ledger import Ledger, ProviderLimits
from helpers.provider.wire import (
    PROVIDER_URL,
    REFUSAL_CODES,
    GarbledError,
    explain_refusal,
    is_permanent,
    ordered_delay,
    parse_duration,
    read_completion,
    read_key,
    was_billed,
)

if TYPE_CHECKING:
    from openai import AsyncOpenAI

MAX_ATTEMPTS = 10
FIRST_DELAY_SECONDS = 0.5
LONGEST_DELAY_SECONDS = 60.0
LONGEST_ORDERED_DELAY_SECONDS = 300.0
SPREAD = 0.25  # requests that were held back leave again over a quarter of the delay, not all at once


class LiveClient:
    """Asks a model through the openai SDK, at most `n_parallel` requests at a time.

    Rate limits (429) hold all requests back for as long as the server says; server errors, broken lines,
    stalls and garbled answers are tried again with growing delays, a limited number of times; a wrong key, an
    exhausted quota and a request that the server does not take stop at once. Its methods run in one event
    loop.
    """

    def __init__(self, journal: Journal, limits: ProviderLimits) -> None:
        self._model, self._journal, self._limits = journal.model, journal, limits
        self._slots = asyncio.Semaphore(limits.n_parallel)
        self._settled = asyncio.Condition()
        self._resume_at = self._answered_at = 0.0
        self._stopping = asyncio.Event()
        self.failure: Exception | None = None

    @cached_property
    def _client(self) -> AsyncOpenAI:
        """The connection, opened by the first request that the journal does not answer."""
        from openai import AsyncOpenAI

        return AsyncOpenAI(
            base_url=self._model.url or PROVIDER_URL,
            api_key=read_key(self._model),
            max_retries=0,
            timeout=self._limits.timeout_seconds,
        )

    @cached_property
    def _ledger(self) -> Ledger:
        return Ledger(self._journal, self._limits)

    def stop(self) -> None:
        """Send nothing more; what is under way may still come in."""
        self._stopping.set()

    async def close(self) -> None:
        """Close the connection if there is one."""
        if "_client" in self.__dict__:
            await self._client.close()

    async def hold(self, conversation: Conversation[Result]) -> Result:
        """Carry a conversation to its end, answers of the journal first; an error in it stops
        all others too.
        """
        try:
            body = next(conversation)
            while True:
                answer = self._journal.find(body) or await self._ask(body)
                try:
                    body = conversation.send(answer)
                except StopIteration as end:
                    return end.value
        except Exception as error:
            self.failure = self.failure or error
            self.stop()
            await self._notify_settled()
            raise

    async def _ask(self, body: Body) -> Completion:
        key = self._journal.key(body)
        async with self._slots:
            attempt, began = 0, _now()
            while attempt < MAX_ATTEMPTS:
                await self._wait_for_turn()
                answer, is_attempt = await self._try(body, key, attempt, began)
                if answer:
                    return answer
                attempt += is_attempt
        raise StudyError(
            f"The {self._model.role} {self._model.name!r} gave no usable answer in {MAX_ATTEMPTS} attempts. "
            "Replies so far are kept: run again later."
        )

    async def _try(self, body: Body, key: str, attempt: int, began: float) -> tuple[Completion | None, bool]:
        """Send a request once; return its answer, on disk by now, or none after the delay that its failure
        asks for, and whether that was an attempt.
        """
        client, ticket = self._client, await self._reserve(key, body)
        try:
            answer = await self._send(client, body)
            self._journal.keep(key, answer)
            self._ledger.settle(ticket, answer.usage)
            return answer, True
        except Exception as error:
            delay = min(FIRST_DELAY_SECONDS * 2**attempt, LONGEST_DELAY_SECONDS) * random.uniform(0.5, 1.5)  # noqa: S311
            answer = self._book_failure(error, ticket, key, body)
            await self._notify_settled()
            if answer is None:
                await self._pause(self._choose_delay(error, delay))
            return answer, not self._is_held_back(error, began)
        finally:
            await self._notify_settled()

    async def _send(self, client: AsyncOpenAI, body: Body) -> Completion:
        async with asyncio.timeout(self._limits.timeout_seconds):
            raw = await client.chat.completions.with_raw_response.create(**body)
        self._answered_at = _now()
        self._apply_rate_limits(raw.headers)
        try:
            parsed = raw.parse()
        except ValueError as error:
            raise GarbledError(str(error)) from None
        return read_completion(parsed, body["model"])

    def _book_failure(self, error: Exception, ticket: str, key: str, body: Body) -> Completion | None:
        """Book what a failed request may have cost; return the completion that it amounts to, if any, and
        raise where trying again is useless.
        """
        from httpx2 import ConnectError, ConnectTimeout
        from openai import APIConnectionError, APIStatusError

        if isinstance(error, APIStatusError):
            (self._ledger.abandon if was_billed(error.status_code) else self._ledger.release)(ticket)
            if error.code in REFUSAL_CODES:
                answer = Completion(model=body["model"], finish_reason="content_filter", text="", usage=None)
                self._journal.keep(key, answer)
                return answer
            if is_permanent(error.status_code, error.code):
                raise StudyError(explain_refusal(error, self._model)) from None
        elif isinstance(error.__cause__, ConnectError | ConnectTimeout):
            self._ledger.release(ticket)
        else:
            self._ledger.abandon(ticket)
            if not isinstance(error, APIConnectionError | GarbledError | TimeoutError):
                raise error
        return None

    def _choose_delay(self, error: Exception, delay: float) -> float:
        """Return how long this request waits; a server that asks to wait holds all others back as well."""
        status = getattr(error, "status_code", 0)
        if status not in (429, 503):
            return delay
        ordered = ordered_delay(error.response.headers)
        if not ordered and status == 503:
            return delay
        self._hold_back(ordered or delay)
        return 0.0  # the pause of all is this request's too

    def _is_held_back(self, error: Exception, began: float) -> bool:
        """Say whether the server only asked to wait: that is no failed attempt while answers to others come
        in.
        """
        return (
            getattr(error, "status_code", 0) == 429
            and _now() - max(began, self._answered_at) < LONGEST_ORDERED_DELAY_SECONDS
        )

    async def _reserve(self, key: str, body: Body) -> str:
        """Set aside the most that a request can cost; where the cap leaves no room, wait for what is under
        way to settle.
        """
        n_input = len(str(body).encode())  # a token is at least a byte
        async with self._settled:
            while not self._stopping.is_set():
                if ticket := self._ledger.reserve(key, n_input, body["max_completion_tokens"]):
                    return ticket
                if not self._ledger.n_under_way:
                    raise StudyError(self._ledger.explain_stop())
                await self._settled.wait()
        raise asyncio.CancelledError

    async def _notify_settled(self) -> None:
        async with self._settled:
            self._settled.notify_all()

    async def _wait_for_turn(self) -> None:
        while not self._stopping.is_set() and (delay := self._resume_at - _now()) > 0:
            await self._pause(delay * random.uniform(1, 1 + SPREAD))  # noqa: S311
        if self._stopping.is_set():
            raise asyncio.CancelledError

    async def _pause(self, seconds: float) -> None:
        """Sleep, but no longer than there is something to do."""
        with suppress(TimeoutError):
            await asyncio.wait_for(self._stopping.wait(), seconds)

    def _hold_back(self, seconds: float) -> None:
        if seconds > LONGEST_ORDERED_DELAY_SECONDS:
            raise StudyError(
                f"The server asks to wait for {seconds / 60:.0f} minutes. Every reply so far is kept: run "
                "the same command again then."
            )
        self._resume_at = max(self._resume_at, _now() + seconds)

    def _apply_rate_limits(self, headers: Mapping[str, str]) -> None:
        """Hold back when an answer says that nothing is left of the allowance for requests or tokens."""
        for kind in ("requests", "tokens"):
            if headers.get(f"x-ratelimit-remaining-{kind}") == "0":
                self._hold_back(
                    min(parse_duration(headers.get(f"x-ratelimit-reset-{kind}", "")), LONGEST_DELAY_SECONDS)
                )


def _now() -> float:
    return asyncio.get_running_loop().time()
