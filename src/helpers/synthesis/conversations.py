"""Many conversations with a live teacher at a time, their replies in order."""

from __future__ import annotations

import asyncio
import logging
import sys
import threading
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import CancelledError, Future, wait
from contextlib import contextmanager

from helpers.errors import StudyError
from helpers.records import TeacherReply
from helpers.synthesis.journal import Journal
from helpers.synthesis.ledger import TeacherLimits
from helpers.synthesis.live import LiveTeacher
from helpers.synthesis.teacher import Conversation

SWITCH_SECONDS = 0.0005  # the filters must not keep the loop from its sockets: a tenth of Python's usual turn
LOOKAHEAD = 4  # requests under way or waiting, for each slot: one slow reply at the head must not idle the others


@contextmanager
def running_loop() -> Iterator[asyncio.AbstractEventLoop]:
    """Run an event loop in a thread of its own, so that notebooks, whose kernels run one already, may use it."""
    loop, interval = asyncio.new_event_loop(), sys.getswitchinterval()
    sys.setswitchinterval(SWITCH_SECONDS)
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    try:
        yield loop
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()
        sys.setswitchinterval(interval)


def hold_conversations(conversations: Iterable[Conversation], teacher: LiveTeacher, loop: asyncio.AbstractEventLoop, n_ahead: int) -> Iterator[TeacherReply]:
    """Yield the replies of many conversations in their order, `n_ahead` of them under way; if the reader stops, what was sent still comes in and is kept."""
    window: deque[Future[TeacherReply]] = deque()

    def take() -> TeacherReply:
        reply = window[0].result()  # left in the window until it is there: an interrupt waits for it too
        window.popleft()
        return reply

    try:
        for conversation in conversations:
            window.append(asyncio.run_coroutine_threadsafe(teacher.hold(conversation), loop))
            if len(window) >= n_ahead:
                yield take()
        while window:
            yield take()
    except CancelledError:
        raise teacher.failure or StudyError("The requests were stopped. Every reply so far is kept: run the same command again.") from None
    finally:
        loop.call_soon_threadsafe(teacher.stop)
        _, waiting = wait(window, timeout=1)
        if waiting:
            logging.getLogger(__name__).warning("Waiting for %d answers that are under way, so that what they cost is not lost.", len(waiting))
        wait(waiting)


def ask_live(conversations: Iterable[Conversation], model: str, base_url: str, journal: Journal, limits: TeacherLimits) -> Iterator[TeacherReply]:
    """Yield the replies of a live teacher in the order of the conversations; each answer is on disk before it is used.

    Args:
        conversations: what is to be asked.
        model: name as the server knows it.
        base_url: address of an OpenAI-compatible server; empty for the provider's own.
        journal: where answers are kept and found.
        limits: caps and pace.

    Raises:
        StudyError: no key, an exhausted quota or cap, or a server that does not answer.
    """
    with running_loop() as loop:
        teacher = LiveTeacher(model, base_url, journal, limits)
        try:
            yield from hold_conversations(conversations, teacher, loop, LOOKAHEAD * limits.n_parallel)
        finally:
            asyncio.run_coroutine_threadsafe(teacher.close(), loop).result()
