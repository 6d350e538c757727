"""A live model behind an OpenAI-compatible server: many requests at a time, patient with faults, within the
cap.
"""

from __future__ import annotations

import asyncio
import errno
import random
from collections.abc import Mapping
from contextlib import suppress
from functools import cached_property
from typing import TYPE_CHECKING

from helpers.errors import StudyError
from helpers.progress import tell
from helpers.provider.connection import open_async
from helpers.provider.dialect import Dialect
from helpers.provider.journal import Body, Completion, Conversation, Journal, Result
from helpers.provider.ledger import Ledger, ProviderLimits
from helpers.provider.wire import (
    REFUSAL_CODES,
    ForeignAnswerError,
    GarbledError,
    count_tokens,
    explain_failure,
    explain_refusal,
    is_vain,
    ordered_delay,
    parse_duration,
    read_answer,
    read_completion,
    was_billed,
)

if TYPE_CHECKING:
    from openai import AsyncOpenAI

MAX_ATTEMPTS = 10
MAX_UNREACHED = 3  # attempts at a server that nothing of this process has reached yet
FIRST_DELAY_SECONDS = 0.5
LONGEST_DELAY_SECONDS = 60.0
LONGEST_ORDERED_DELAY_SECONDS = 300.0
SPREAD = 0.25  # requests that were held back leave again over a quarter of the delay, not all at once
N_LIMITED = 3  # refusals for each slot, without an answer between them, after which a server's word on waiting is not enough
TELL_SECONDS = 5.0  # of waiting that nobody should have to guess at
TELL_AGAIN_SECONDS = 30.0
SLACK_TOKENS = 16  # servers differ in what they count at the end of an answer
NO_ROOM = (errno.ENOSPC, errno.EDQUOT)
DISK_PATIENCE_SECONDS = 600.0
DISK_POLL_SECONDS = 1.0


class LiveClient:
    """Asks a model through the openai SDK, at most `n_parallel` requests at a time.

    Rate limits (429) hold all requests back for as long as the server says; server errors, broken lines,
    stalls and garbled answers are tried again with growing delays, a limited number of times; a wrong key, an
    exhausted quota, a request that the server does not take and answers that are no completions stop at once;
    so does an answer longer than was asked for, since no cap can be kept with it. Its methods run in one event
    loop.
    """

    def __init__(self, journal: Journal, limits: ProviderLimits) -> None:
        self._model, self._journal, self._limits = journal.model, journal, limits
        self._slots = asyncio.Semaphore(limits.n_parallel)
        self._settled = asyncio.Condition()
        self._dialect = Dialect(journal.model)
        self._resume_at = self._answered_at = self._told_at = 0.0
        self._n_limited = 0
        self._reason, self._reached = "", False
        self._stopping = asyncio.Event()
        self.failure: Exception | None = None

    @cached_property
    def _client(self) -> AsyncOpenAI:
        """The connection, opened by the first request that the journal does not answer."""
        return open_async(self._model, self._limits.timeout_seconds)

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
            await self._tell_settled()
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
            f"The {self._model.label} gave no usable answer in {MAX_ATTEMPTS} attempts ({self._reason}). "
            "Replies so far are kept: run again later."
        )

    async def _try(self, body: Body, key: str, attempt: int, began: float) -> tuple[Completion | None, bool]:
        """Send a request once; return its answer, on disk by now, or none after the delay that its failure
        asks for, and whether that was an attempt.
        """
        client, ticket = self._client, await self._reserve(key, body)
        sent = self._dialect.speak(body)
        try:
            answer = await self._send(client, sent)
            await self._keep(key, answer)
            self._ledger.settle(ticket, answer.usage)
            self._check_length(answer, body["max_completion_tokens"])
            return answer, True
        except Exception as error:
            delay = min(FIRST_DELAY_SECONDS * 2**attempt, LONGEST_DELAY_SECONDS) * random.uniform(0.5, 1.5)  # noqa: S311
            answer = await self._book_failure(error, ticket, key, sent, attempt)
            await self._tell_settled()
            if answer is None:
                await self._wait_after(error, delay)
            return answer, not self._is_held_back(error, began)
        finally:
            await self._tell_settled()

    async def _send(self, client: AsyncOpenAI, body: Body) -> Completion:
        async with asyncio.timeout(self._limits.timeout_seconds):
            raw = await client.chat.completions.with_raw_response.create(**body)
        response, self._reached = raw.http_response, True
        self._heed_limits(response.headers)
        answer = read_answer(response.content, response.headers.get("content-type", ""))
        completion = read_completion(answer, body["model"])
        self._answered_at, self._n_limited = _now(), 0
        return completion

    async def _keep(self, key: str, answer: Completion) -> None:
        """Write an answer to disk; on a full one, send nothing more and wait for room, since the answer is
        paid for.
        """
        until = _now() + DISK_PATIENCE_SECONDS
        while True:
            try:
                self._journal.keep(key, answer)
                return
            except OSError as error:
                if error.errno not in NO_ROOM or _now() > until:
                    raise
            self.stop()
            self._tell("The disk is full, and answers that are paid for wait to be written: free some space")
            await asyncio.sleep(DISK_POLL_SECONDS)

    def _check_length(self, answer: Completion, most: int) -> None:
        """Raise StudyError if an answer is longer than it may be; by then it is kept and booked."""
        if (n_tokens := count_tokens(answer)) > most + SLACK_TOKENS:
            raise StudyError(
                f"The {self._model.label} wrote {n_tokens:,} tokens where at most {most:,} were asked for, so that no "
                f"cap can be kept: {self._ledger.describe()}. The answer is kept. Set a limit in the server's own "
                "settings (such as `num_predict` of Ollama), and run the same command again."
            )

    async def _book_failure(
        self, error: Exception, ticket: str, key: str, sent: Body, attempt: int
    ) -> Completion | None:
        """Book what a failed request may have cost; return the completion that it amounts to, if any, and
        raise where trying again is vain.
        """
        from openai import APIConnectionError, APIStatusError

        if isinstance(error, APIStatusError):
            self._reached = True
            (self._ledger.abandon if was_billed(error.status_code) else self._ledger.release)(ticket)
            if error.code in REFUSAL_CODES:
                answer = Completion(model=sent["model"], finish_reason="content_filter", text="", usage=None)
                await self._keep(key, answer)
                return answer
            if is_vain(error.status_code, error.code) and not self._dialect.learn(sent, error):
                raise StudyError(explain_refusal(error, self._model)) from None
        elif isinstance(error, ForeignAnswerError):
            (self._ledger.abandon if error.was_billed else self._ledger.release)(ticket)
            raise StudyError(
                f"The {self._model.label} answered with no completion but with {error}. Check "
                f"`{self._model.role}_url` (most addresses end in /v1). Every reply so far is kept."
            ) from None
        elif _never_left(error):
            self._ledger.release(ticket)
            if not self._reached and attempt + 1 >= min(MAX_UNREACHED, MAX_ATTEMPTS):
                raise StudyError(
                    f"The {self._model.label} cannot be reached ({explain_failure(error)}). Nothing was sent or "
                    f"booked. Start the server, or check `{self._model.role}_url` and the network."
                ) from None
        else:
            self._ledger.abandon(ticket)
            if not isinstance(error, APIConnectionError | GarbledError | TimeoutError):
                raise error
        return None

    async def _wait_after(self, error: Exception, delay: float) -> None:
        """Wait as long as a failure asks for, and say so where it takes long."""
        self._reason = explain_failure(error)
        seconds = self._choose_delay(error, delay)
        held = max(seconds, self._resume_at - _now())
        if held >= TELL_SECONDS:
            self._tell(
                f"The {self._model.label} gave no answer ({self._reason}). Trying again in {held:.0f} seconds"
            )
        await self._pause(seconds)

    def _tell(self, message: str) -> None:
        """Say why nothing moves, now and then."""
        if not self._told_at or _now() - self._told_at >= TELL_AGAIN_SECONDS:
            self._told_at = _now()
            tell(f"{message}; every reply so far is kept.")

    def _choose_delay(self, error: Exception, delay: float) -> float:
        """Return how long this request waits; a server that asks to wait holds all others back as well."""
        status = getattr(error, "status_code", 0)
        if status not in (400, 422, 429, 503):
            return delay
        if status in (400, 422):
            return 0.0  # the server takes the request in another form
        ordered = ordered_delay(error.response.headers)
        if not ordered and status == 503:
            return delay
        self._n_limited += 1
        n_each = self._n_limited / self._limits.n_parallel
        growing = min(FIRST_DELAY_SECONDS * 2 ** min(n_each, 10), LONGEST_DELAY_SECONDS)
        self._hold_back(max(ordered, growing) if n_each > N_LIMITED else ordered or growing)
        return 0.0

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

    async def _tell_settled(self) -> None:
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
                f"The {self._model.label} asks to wait for {seconds / 60:.0f} minutes. Every reply so far is kept: "
                "run the same command again then."
            )
        self._resume_at = max(self._resume_at, _now() + seconds)

    def _heed_limits(self, headers: Mapping[str, str]) -> None:
        """Hold back when an answer says that nothing is left of the allowance for requests or tokens."""
        for kind in ("requests", "tokens"):
            if headers.get(f"x-ratelimit-remaining-{kind}") == "0":
                self._hold_back(
                    min(parse_duration(headers.get(f"x-ratelimit-reset-{kind}", "")), LONGEST_DELAY_SECONDS)
                )


def _never_left(error: Exception) -> bool:
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


def _now() -> float:
    return asyncio.get_running_loop().time()
