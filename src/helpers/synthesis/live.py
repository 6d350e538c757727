"""A live teacher behind an OpenAI-compatible server: many requests at a time, patient with faults, within the cap."""

from __future__ import annotations

import asyncio
import os
import re
import threading
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import CancelledError, Future, wait
from contextlib import contextmanager
from functools import cached_property
from typing import TYPE_CHECKING

from helpers.errors import StudyError
from helpers.records import TeacherReply, Usage
from helpers.synthesis.journal import Body, Completion, Journal
from helpers.synthesis.ledger import Ledger, TeacherLimits
from helpers.synthesis.teacher import RECORDED, Conversation

if TYPE_CHECKING:
    from openai import APIStatusError, AsyncOpenAI
    from openai.types.chat import ChatCompletion

MAX_ATTEMPTS = 10
FIRST_DELAY_SECONDS = 0.5
LONGEST_DELAY_SECONDS = 60.0
LONGEST_ORDERED_DELAY_SECONDS = 300.0
LOOKAHEAD = 4  # requests under way or waiting, for each slot: one slow reply at the head must not idle the others
FINISH_REASONS = ("stop", "length", "content_filter")
QUOTA_CODES = ("insufficient_quota", "billing_hard_limit_reached", "billing_not_active")
REFUSAL_CODES = ("content_policy_violation", "content_filter")
DURATION = re.compile(r"(?P<value>[\d.]+)(?P<unit>ms|s|m|h)")
SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}


class GarbledError(Exception):
    """The server answered with something that is no completion."""


def read_key(model: str, base_url: str) -> str:
    """Return the key from the environment; a server of one's own may need none.

    Raises:
        StudyError: no key is set for the provider's own server.
    """
    key = os.environ.get("OPENAI_API_KEY", "")
    if not key and not base_url:
        raise StudyError(f"`teacher` is {model!r}, but OPENAI_API_KEY is not set. Set it in the environment, or use teacher = {RECORDED!r}.")
    return key or "none"


class LiveTeacher:
    """Asks a model through the openai SDK, at most `n_parallel` requests at a time.

    Rate limits (429) hold all requests back for as long as the server says; server errors, broken lines, stalls and garbled answers are tried again with
    growing delays, a limited number of times; a wrong key, an exhausted quota and a request that the server does not take stop at once. Its methods run in
    one event loop.
    """

    def __init__(self, model: str, base_url: str, journal: Journal, limits: TeacherLimits) -> None:
        self._model, self._url, self._journal, self._limits = model, base_url, journal, limits
        self._slots = asyncio.Semaphore(limits.n_parallel)
        self._settled = asyncio.Condition()
        self._resume_at = 0.0
        self._stopping = False
        self.failure: StudyError | None = None

    @cached_property
    def _client(self) -> AsyncOpenAI:
        """The connection, opened by the first request that the journal does not answer."""
        from openai import AsyncOpenAI

        return AsyncOpenAI(base_url=self._url or None, api_key=read_key(self._model, self._url), max_retries=0, timeout=self._limits.timeout_seconds)

    @cached_property
    def _ledger(self) -> Ledger:
        return Ledger(self._journal.folder, self._model, self._url, self._limits)

    def stop(self) -> None:
        """Send nothing more; what is under way may still come in."""
        self._stopping = True

    async def close(self) -> None:
        """Close the connection if there is one."""
        if "_client" in self.__dict__:
            await self._client.close()

    async def hold(self, conversation: Conversation) -> TeacherReply:
        """Carry a conversation to its end, answers of the journal first; an error that the user must mend stops all others too."""
        body = next(conversation)
        while True:
            try:
                answer = self._journal.find(body) or await self._ask(body)
            except StudyError as error:
                self.failure = self.failure or error
                self.stop()
                raise
            try:
                body = conversation.send(answer)
            except StopIteration as end:
                return end.value

    async def _ask(self, body: Body) -> Completion:
        key = self._journal.key(body)
        async with self._slots:
            for attempt in range(MAX_ATTEMPTS):
                await self._wait_for_turn()
                ticket = await self._reserve(key, body)
                try:
                    answer = await self._send(body)
                except Exception as error:
                    answer = await self._handle(error, ticket, key, attempt, body)
                    if answer is None:
                        continue
                else:
                    self._ledger.settle(ticket, answer.usage)
                self._journal.keep(key, answer)
                await self._tell_settled()
                return answer
        raise StudyError(f"The teacher {body['model']!r} gave no usable answer in {MAX_ATTEMPTS} attempts. Replies so far are kept: run again later.")

    async def _send(self, body: Body) -> Completion:
        raw = await self._client.chat.completions.with_raw_response.create(**body)
        self._heed_limits(raw.headers)
        try:
            return read_completion(raw.parse(), body["model"])
        except (ValueError, AttributeError, TypeError, IndexError) as error:
            raise GarbledError(str(error)) from None

    async def _handle(self, error: Exception, ticket: str, key: str, attempt: int, body: Body) -> Completion | None:
        """Return the completion that an error amounts to, None if the request is to be tried again after a delay; raise StudyError where trying is vain."""
        from openai import APIConnectionError, APIStatusError

        if isinstance(error, APIStatusError):
            self._ledger.release(ticket)
        elif isinstance(error, APIConnectionError | GarbledError):
            self._ledger.abandon(ticket)
        else:
            raise error
        await self._tell_settled()
        delay = min(FIRST_DELAY_SECONDS * 2**attempt, LONGEST_DELAY_SECONDS) * (0.5 + int(key[:4], 16) / 0xFFFF)
        if isinstance(error, APIStatusError):
            if error.code in REFUSAL_CODES:
                return Completion(model=body["model"], finish_reason="content_filter", text="", usage=None)
            if error.code in QUOTA_CODES or (error.status_code < 500 and error.status_code not in (408, 409, 429)):
                raise StudyError(explain_refusal(error, body["model"])) from None
            if error.status_code == 429:
                self._hold_back(ordered_delay(error.response.headers) or delay)
                return None
        await asyncio.sleep(delay)
        return None

    async def _reserve(self, key: str, body: Body) -> str:
        """Set aside the most that a request can cost; where the cap leaves no room, wait for what is under way to settle."""
        n_input = len(str(body).encode())  # a token is at least a byte
        async with self._settled:
            while (ticket := self._ledger.reserve(key, n_input, body["max_completion_tokens"])) is None:
                if not self._ledger.n_under_way:
                    raise StudyError(self._ledger.explain_stop())
                await self._settled.wait()
        return ticket

    async def _tell_settled(self) -> None:
        async with self._settled:
            self._settled.notify_all()

    async def _wait_for_turn(self) -> None:
        while (delay := self._resume_at - asyncio.get_running_loop().time()) > 0:
            await asyncio.sleep(delay)
        if self._stopping:
            raise asyncio.CancelledError

    def _hold_back(self, seconds: float) -> None:
        if seconds > LONGEST_ORDERED_DELAY_SECONDS:
            raise StudyError(f"The server asks to wait for {seconds / 60:.0f} minutes. Every reply so far is kept: run the same command again then.")
        self._resume_at = max(self._resume_at, asyncio.get_running_loop().time() + seconds)

    def _heed_limits(self, headers: Mapping[str, str]) -> None:
        """Hold back when an answer says that nothing is left of the allowance for requests or tokens."""
        for kind in ("requests", "tokens"):
            if headers.get(f"x-ratelimit-remaining-{kind}") == "0":
                self._hold_back(min(parse_duration(headers.get(f"x-ratelimit-reset-{kind}", "")), LONGEST_DELAY_SECONDS))


def read_completion(answer: ChatCompletion, model: str) -> Completion:
    """Return what counts of a server's answer; an answer without a choice raises one of the errors of garbled data."""
    choice, usage = answer.choices[0], answer.usage
    refused = bool(choice.message.refusal)
    finish_reason = "content_filter" if refused else choice.finish_reason if choice.finish_reason in FINISH_REASONS else "other"
    billed = Usage(input_tokens=usage.prompt_tokens, output_tokens=usage.completion_tokens) if usage else None
    return Completion(model=answer.model or model, finish_reason=finish_reason, text=choice.message.content or "", usage=billed)


def ordered_delay(headers: Mapping[str, str]) -> float:
    """Return the seconds for which a server asks to wait, 0 if it does not say."""
    for name, unit in (("retry-after-ms", 0.001), ("retry-after", 1.0)):
        try:
            return float(headers[name]) * unit
        except (KeyError, ValueError):
            continue
    return max((parse_duration(headers.get(f"x-ratelimit-reset-{kind}", "")) for kind in ("requests", "tokens")), default=0.0)


def parse_duration(text: str) -> float:
    """Return the seconds of a duration such as '1m30s' or '20ms', 0 for anything else."""
    return sum(float(match["value"]) * SECONDS[match["unit"]] for match in DURATION.finditer(text))


def explain_refusal(error: APIStatusError, model: str) -> str:
    """Return what a server's refusal means and what to do, without the request."""
    remedy = {
        401: "Check OPENAI_API_KEY.",
        403: "The key has no right to use this model.",
        404: "Check `teacher` and `teacher_url`.",
        429: "The quota is used up: check the account's billing.",
    }.get(error.status_code, "Check `temperature`, `reasoning_effort` and `reply_format`: not every model takes every value.")
    return f"The teacher {model!r} refused ({error.status_code}): {error.message} {remedy} Every reply so far is kept."


@contextmanager
def running_loop() -> Iterator[asyncio.AbstractEventLoop]:
    """Run an event loop in a thread of its own, so that notebooks, whose kernels run one already, may use it."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    try:
        yield loop
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


def hold_conversations(conversations: Iterable[Conversation], teacher: LiveTeacher, loop: asyncio.AbstractEventLoop, n_ahead: int) -> Iterator[TeacherReply]:
    """Yield the replies of many conversations in their order, `n_ahead` of them under way; if the reader stops, what was sent still comes in and is kept."""
    window: deque[Future[TeacherReply]] = deque()
    try:
        for conversation in conversations:
            window.append(asyncio.run_coroutine_threadsafe(teacher.hold(conversation), loop))
            if len(window) >= n_ahead:
                yield window.popleft().result()
        while window:
            yield window.popleft().result()
    except CancelledError:
        raise teacher.failure or StudyError("The requests were stopped. Every reply so far is kept: run the same command again.") from None
    finally:
        teacher.stop()
        wait(window)


def ask_live(conversations: Iterable[Conversation], model: str, base_url: str, journal: Journal, limits: TeacherLimits) -> Iterator[TeacherReply]:
    """Yield the replies of a live teacher in the order of the conversations; each answer is on disk before it is used.

    Args:
        conversations: what is to be asked.
        model: name as the server knows it.
        base_url: address of an OpenAI-compatible server; empty for the provider's own.
        journal: where answers are kept and found.
        limits: `TeacherLimits`.

    Raises:
        StudyError: no key, an exhausted quota or cap, or a server that does not answer.
    """
    with running_loop() as loop:
        teacher = LiveTeacher(model, base_url, journal, limits)
        try:
            yield from hold_conversations(conversations, teacher, loop, LOOKAHEAD * limits.n_parallel)
        finally:
            asyncio.run_coroutine_threadsafe(teacher.close(), loop).result()
