"""A live model behind an OpenAI-compatible server: many requests at a time, patient with faults, within the
cap.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from functools import cached_property
from typing import TYPE_CHECKING

from helpers.errors import StudyError
from helpers.files import DISK_FULL
from helpers.paths import shown
from helpers.provider.batch_records import list_records
from helpers.provider.connection import open_async
from helpers.provider.failures import (
    explain_excess,
    explain_not_completion,
    explain_refusal,
    explain_unreached,
    was_not_sent,
)
from helpers.provider.journal import Body, Completion, Exchange, Journal, Result
from helpers.provider.ledger import Ledger, ProviderLimits
from helpers.provider.rate_limit import RateLimiter, now
from helpers.provider.request_fields import RequestFields
from helpers.provider.responses import (
    REFUSAL_CODES,
    GarbledError,
    NotCompletionError,
    count_most_input,
    is_permanent,
    may_be_billed,
    read_answer,
    read_completion,
)

if TYPE_CHECKING:
    from openai import AsyncOpenAI

MAX_ATTEMPTS = 10
MAX_UNREACHED = 3  # attempts at a server that nothing of this process has reached yet
DISK_PATIENCE_SECONDS = 600.0
DISK_POLL_SECONDS = 1.0


class LiveClient:
    """Asks a model through the openai SDK, at most `n_parallel` requests at a time.

    Rate limits (429) hold all requests back for as long as the server says; server errors, broken lines,
    stalls and garbled answers are tried again with growing delays, a limited number of times; a wrong key, an
    exhausted quota, a request that the server does not take and answers that are not completions stop at
    once; so does an answer longer than was asked for, or a bill for more input than was sent, since no cap
    can be kept with it. Its methods run in one event loop.
    """

    def __init__(self, journal: Journal, limits: ProviderLimits) -> None:
        self._model, self._journal, self._limits = journal.model, journal, limits
        self._slots = asyncio.Semaphore(limits.n_parallel)
        self._settled = asyncio.Condition()
        self._turns: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._fields = RequestFields(journal.model)
        self._rate_limiter = RateLimiter(journal.model.label, limits.n_parallel)
        self._reached = False
        self.failure: Exception | None = None
        self.n_asked = 0  # exchanges for which the server was asked

    @cached_property
    def _client(self) -> AsyncOpenAI:
        """The connection, opened by the first request that the journal does not answer."""
        return open_async(self._model, self._limits.timeout_seconds)

    @cached_property
    def _ledger(self) -> Ledger:
        return Ledger(self._journal, self._limits)

    @cached_property
    def _in_batches(self) -> dict[str, str]:
        """Requests that batches on record hold, which are paid for."""
        return self._ledger.list_batch_reservations() if list_records(self._journal.folder) else {}

    def stop(self) -> None:
        """Send nothing more; what is under way may still come in."""
        self._rate_limiter.stopping.set()

    async def close(self) -> None:
        """Close the connection if there is one."""
        if "_client" in self.__dict__:
            await self._client.close()

    async def carry_out(self, exchange: Exchange[Result]) -> tuple[Result, bool]:
        """Carry an exchange to its end; an error in it stops all others too.

        Here a request that was paid for before is kept from being sent again: a request that the journal can
        answer is not sent.

        Returns:
            What came of it, and whether the server was asked.
        """
        asked = False
        try:
            body = next(exchange)
            while True:
                answer, is_new = await self._find_or_ask(body)
                self.n_asked += is_new and not asked
                asked = asked or is_new
                try:
                    body = exchange.send(answer)
                except StopIteration as end:
                    return end.value, asked
        except Exception as error:
            self.failure = self.failure or error
            self.stop()
            await self._notify_settled()
            raise

    async def _find_or_ask(self, body: Body) -> tuple[Completion, bool]:
        """Return the answer to a request, and whether the server was asked: of two equal requests at a time
        the second waits for the answer to the first.
        """
        async with self._turns[self._journal.hash_request(body)]:
            if answer := self._journal.find(body):
                return answer, False
            return await self._ask(body), True

    async def _ask(self, body: Body) -> Completion:
        request_hash = self._journal.hash_request(body)
        if request_hash in self._in_batches:
            raise StudyError(
                f"A request to the {self._model.label} is in a batch already, on record in "
                f"{shown(self._journal.folder / 'batches')}. Go on with `batch=true` (--batch) to collect "
                "it, or ask for something else; asked singly it would be paid twice."
            )
        async with self._slots:
            attempt, began = 0, now()
            while attempt < MAX_ATTEMPTS:
                await self._rate_limiter.wait_for_turn()
                answer, is_attempt = await self._try(body, request_hash, attempt, began)
                if answer:
                    return answer
                attempt += is_attempt
        raise StudyError(
            f"The {self._model.label} gave no usable answer in {MAX_ATTEMPTS} attempts "
            f"({self._rate_limiter.reason}). Replies so far are kept: run again later."
        )

    async def _try(
        self, body: Body, request_hash: str, attempt: int, began: float
    ) -> tuple[Completion | None, bool]:
        """Send a request once; return its answer, on disk by now, or none after the delay that its failure
        asks for, and whether that was an attempt.
        """
        client, reservation = self._client, await self._reserve(request_hash, body)
        sent = self._fields.apply(body)
        try:
            answer = await self._send(client, sent)
            await self._keep(request_hash, answer)
            self._ledger.settle(reservation, answer.usage)
            most = count_most_input(body), body["max_completion_tokens"]
            if fault := explain_excess(answer, *most, self._model, self._ledger.describe()):
                raise StudyError(fault)
            return answer, True
        except Exception as error:
            answer = await self._book_failure(error, reservation, request_hash, sent, attempt)
            await self._notify_settled()
            if answer is None:
                await self._rate_limiter.wait_after(error, attempt)
            return answer, not self._rate_limiter.is_held_back(error, began)
        finally:
            await self._notify_settled()

    async def _send(self, client: AsyncOpenAI, body: Body) -> Completion:
        async with asyncio.timeout(self._limits.timeout_seconds):
            raw = await client.chat.completions.with_raw_response.create(**body)
        response, self._reached = raw.http_response, True
        self._rate_limiter.apply_rate_limits(response.headers)
        answer = read_answer(response.content, response.headers.get("content-type", ""))
        completion = read_completion(answer, body["model"])
        self._rate_limiter.note_answer()
        return completion

    async def _keep(self, request_hash: str, answer: Completion) -> None:
        """Write an answer to disk; on a full one, send nothing more and wait for room, since the answer is
        paid for.
        """
        until = now() + DISK_PATIENCE_SECONDS
        while True:
            try:
                self._journal.keep(request_hash, answer)
                return
            except OSError as error:
                if error.errno not in DISK_FULL or now() > until:
                    raise
            self.failure = self.failure or StudyError(
                "The disk was full. Every answer that was paid for is kept: free some space and run the same "
                "command again."
            )
            self.stop()
            self._rate_limiter.tell(
                "The disk is full, and answers that are paid for wait to be written: free space"
            )
            await asyncio.sleep(DISK_POLL_SECONDS)

    async def _book_failure(
        self, error: Exception, reservation: str, request_hash: str, sent: Body, attempt: int
    ) -> Completion | None:
        """Book what a failed request may have cost; return the completion that it amounts to, if any, and
        raise where trying again is useless.
        """
        from openai import APIConnectionError, APIStatusError

        if isinstance(error, APIStatusError):
            self._reached = True
            (self._ledger.leave_booked if may_be_billed(error.status_code) else self._ledger.release)(
                reservation
            )
            if error.code in REFUSAL_CODES:
                answer = Completion(model=sent["model"], finish_reason="content_filter", text="", usage=None)
                await self._keep(request_hash, answer)
                return answer
            is_tried_again = self._fields.drop_refused(sent, error.status_code, error.body)
            if not is_tried_again and is_permanent(error.status_code, error.code):
                raise StudyError(
                    explain_refusal(
                        error.status_code,
                        error.body,
                        self._model,
                        error.response.headers.get("location", ""),
                    )
                ) from None
        elif isinstance(error, NotCompletionError):
            (self._ledger.leave_booked if error.may_be_billed else self._ledger.release)(reservation)
            raise StudyError(explain_not_completion(error, self._model)) from None
        elif was_not_sent(error):
            self._ledger.release(reservation)
            if not self._reached and attempt + 1 >= min(MAX_UNREACHED, MAX_ATTEMPTS):
                raise StudyError(explain_unreached(error, self._model)) from None
        else:
            self._ledger.leave_booked(reservation)
            if not isinstance(error, APIConnectionError | GarbledError | TimeoutError):
                raise error
        return None

    async def _reserve(self, request_hash: str, body: Body) -> str:
        """Set aside the most that a request can cost; where the cap leaves no room, wait for what is under
        way to settle.
        """
        n_input = count_most_input(body)
        async with self._settled:
            while not self._rate_limiter.stopping.is_set():
                if reservation := self._ledger.reserve(request_hash, n_input, body["max_completion_tokens"]):
                    return reservation
                if not self._ledger.n_under_way:
                    raise StudyError(self._ledger.explain_stop())
                await self._settled.wait()
        raise asyncio.CancelledError

    async def _notify_settled(self) -> None:
        async with self._settled:
            self._settled.notify_all()
