"""Many exchanges with a live model at a time, their results in order."""

from __future__ import annotations

import asyncio
import signal
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import CancelledError, Future, wait
from contextlib import contextmanager
from itertools import islice
from typing import Any

from helpers.errors import StudyError
from helpers.progress import tell
from helpers.provider.journal import Body, Exchange, Journal, Result
from helpers.provider.ledger import ProviderLimits
from helpers.provider.live import LiveClient

SWITCH_SECONDS = 0.0005  # the filters must not keep the loop from its sockets: a tenth of Python's usual turn
LOOKAHEAD = (
    4  # requests under way or waiting, for each slot: one slow reply at the head must not idle the others
)


@contextmanager
def running_loop() -> Iterator[asyncio.AbstractEventLoop]:
    """Run an event loop in a thread of its own, so that notebooks, whose kernels run one
    already, may use it.
    """
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


@contextmanager
def interruptible() -> Iterator[None]:
    """Within the block, let the signals that end a process (SIGTERM, and SIGHUP of a closed terminal) do what
    Ctrl-C does, so that answers under way are waited for and kept.
    """

    def interrupt(*_: Any) -> None:
        raise KeyboardInterrupt

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    numbers = [getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]
    before = {number: signal.getsignal(number) for number in numbers}
    replaced = [number for number in numbers if before[number] is signal.SIG_DFL]  # nohup's is left alone
    for number in replaced:
        signal.signal(number, interrupt)
    try:
        yield
    finally:
        for number in replaced:
            signal.signal(number, before[number])


def run_exchanges(
    exchanges: Iterable[Exchange[Result]],
    client: LiveClient,
    loop: asyncio.AbstractEventLoop,
    count_ahead: Callable[[], int],
) -> Iterator[Result]:
    """Yield the results of many exchanges in their order, as many of them under way as `count_ahead`
    says; if the reader stops, what was sent still comes in and is kept.
    """
    window: deque[Future[tuple[Result, bool]]] = deque()
    waiting_ones, n_used = iter(exchanges), 0

    def fill() -> None:
        for exchange in islice(waiting_ones, max(0, max(1, count_ahead()) - len(window))):
            window.append(asyncio.run_coroutine_threadsafe(client.carry_out(exchange), loop))

    def take() -> Result:
        nonlocal n_used
        result, asked = window[0].result()  # left there until it has come: an interrupt waits for it too
        window.popleft()
        n_used += asked
        return result

    try:
        fill()
        while window:
            yield take()
            fill()
    except CancelledError:
        raise client.failure or StudyError(
            "The requests were stopped. Every reply so far is kept: run the same command again."
        ) from None
    finally:
        loop.call_soon_threadsafe(client.stop)
        _, waiting = wait(window, timeout=1)
        if waiting:
            tell(f"Waiting for {len(waiting)} answers under way, so that what they cost is not lost.")
        wait(waiting)
        if not count_ahead() and client.n_asked > n_used:
            tell(
                f"{client.n_asked - n_used} replies were asked for beyond those that the target needed; they "
                "are kept for a larger one."
            )


def ask_live(
    exchanges: Iterable[Exchange[Result]],
    journal: Journal,
    limits: ProviderLimits,
    count_wanted: Callable[[], int] | None = None,
) -> Iterator[Result]:
    """Yield the results of exchanges with a live model in their order; each answer is on disk before it
    is used.

    Args:
        exchanges: what is to be asked.
        journal: where the model's answers are kept and found.
        limits: caps and pace.
        count_wanted: returns how many further results the reader is likely to take; None: all.

    Raises:
        StudyError: no key, an exhausted quota or cap, or a server that does not answer.
    """
    most = LOOKAHEAD * limits.n_parallel
    with interruptible(), running_loop() as loop:
        client = LiveClient(journal, limits)
        try:
            yield from run_exchanges(
                exchanges, client, loop, lambda: min(most, count_wanted()) if count_wanted else most
            )
        finally:
            asyncio.run_coroutine_threadsafe(client.close(), loop).result()


def replay(exchange: Exchange[Result], journal: Journal) -> tuple[Body | None, Result | None]:
    """Carry an exchange on as far as the journal answers it; return the request that it does not answer,
    or else what came of the exchange.
    """
    body = next(exchange)
    while (answer := journal.find(body)) is not None:
        try:
            body = exchange.send(answer)
        except StopIteration as end:
            return None, end.value
    return body, None


def find_missing(exchanges: Iterable[Exchange[Any]], journal: Journal) -> Iterator[Body]:
    """Yield the first request of each exchange that the journal does not answer yet."""
    bodies = (replay(exchange, journal)[0] for exchange in exchanges)
    return (body for body in bodies if body is not None)
