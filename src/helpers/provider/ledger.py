"""Money: what a model was paid, what is under way, and a stop before the cap."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TextIO

from helpers.errors import StudyError
from helpers.jsonl import read_whole_lines
from helpers.paths import shown
from helpers.provider.journal import Journal
from helpers.provider.prices import BATCH_DISCOUNT, Price, find_price
from helpers.provider.urls import mask_address
from helpers.records import Usage
from helpers.settings import parameter

BATCH_PREFIX = "batch-"  # begins the name of a reservation for a request in a batch


@dataclasses.dataclass(frozen=True)
class ProviderLimits:
    """How a live model may be asked; nothing here changes what it is asked, so nothing here enters a
    fingerprint.
    """

    max_cost_usd: float = parameter(
        5.0, "cap on all spending for this model, earlier runs included, in US dollars", minimum=0
    )
    max_cost_tokens: int = parameter(
        0, "the same cap in tokens, needed where the price is unknown; 0: none", minimum=0, maximum=10**12
    )
    n_parallel: int = parameter(8, "requests to a live model at a time", minimum=1, maximum=1000)
    timeout_seconds: float = parameter(
        300.0, "longest wait for one reply, in seconds", minimum=1, maximum=86_400
    )
    batch: bool = parameter(False, "ask through the provider's Batch API: half the price, within a day")


@dataclasses.dataclass
class Amount:
    """Tokens and dollars."""

    tokens: int = 0
    usd: float = 0.0

    def __add__(self, other: Amount) -> Amount:
        return Amount(self.tokens + other.tokens, self.usd + other.usd)

    def __sub__(self, other: Amount) -> Amount:
        return Amount(self.tokens - other.tokens, self.usd - other.usd)


class Ledger:
    """The running account of one model in one role, kept in `ledger.jsonl` beside its replies.

    Before a request leaves, the most that it can cost is set aside; the answer settles it at what was billed.
    A request without an answer (the line broke, the process was killed) stays at the most that it can have
    cost, since the provider may have billed it. The cap holds for all of that together.

    Args:
        journal: the model's replies; only the provider's own server has known prices.
        limits: the caps.

    Raises:
        StudyError: the price is unknown and no cap in tokens is given.
    """

    def __init__(self, journal: Journal, limits: ProviderLimits) -> None:
        model = journal.model
        self.price: Price | None = find_price(model.name, model.server)
        self._limits, self._path, self._factor = (
            limits,
            journal.folder / "ledger.jsonl",
            BATCH_DISCOUNT if limits.batch else 1.0,
        )
        if self.price is None and not limits.max_cost_tokens:
            where = f" on {mask_address(model.url)}" if model.server else ""
            raise StudyError(
                f"The price of {model.name!r}{where} is unknown. Set `max_cost_tokens` (tokens in and out, "
                "all requests), the cap that then holds."
            )
        self._open: dict[str, Amount] = {}
        self._own: set[str] = set()
        self.settled, self._at_risk = Amount(), Amount()
        entries, self._n_bytes = self._read_account()
        self._n_entries = len(entries)
        self._file: TextIO | None = None
        self._waits_to_write = False

    def _read_account(self) -> tuple[list[dict[str, Any]], int]:
        """Apply the entries on disk; return them and the bytes that they take.

        Raises:
            StudyError: the account is damaged, so nobody knows what was spent.
        """
        remedy = (
            "What was spent is not known without it, and nothing is asked. Put the file back, or correct the "
            "line; the replies beside it are kept."
        )
        try:
            entries, n_bytes = read_whole_lines(self._path)
        except StudyError as error:
            raise StudyError(f"{error} {remedy}") from None
        for number, entry in enumerate(entries, 1):
            try:
                self._apply(entry)
            except (KeyError, TypeError):
                raise StudyError(f"Line {number} of {shown(self._path)} is damaged. {remedy}") from None
        return entries, n_bytes

    @property
    def n_under_way(self) -> int:
        """How many requests of this process have left without an answer so far."""
        return len(self._own)

    @property
    def spent(self) -> Amount:
        """What is settled, and the most that the open requests can cost."""
        return self.settled + self._at_risk

    def reserve(self, request_hash: str, n_input: int, n_output: int) -> str | None:
        """Set aside the most that a request can cost.

        Args:
            request_hash: the request's name in the journal.
            n_input: most tokens in.
            n_output: most tokens out.

        Returns:
            A reservation for `settle` or `release`; None if the request might break the cap.
        """
        if not self._fits(self.spent + self._amount(n_input, n_output)):
            return None
        reservation = f"{BATCH_PREFIX if self._limits.batch else ''}{request_hash}-{self._n_entries}"
        self._own.add(reservation)
        self._record(
            {
                "ticket": reservation,  # so ledgers on disk name it
                "state": "sent",
                "input_tokens": n_input,
                "output_tokens": n_output,
                "factor": self._factor,
            }
        )
        return reservation

    def settle(self, reservation: str, usage: Usage | None) -> None:
        """Book what an answer was billed; the amount set aside stands if the server does not say."""
        entry = {"ticket": reservation, "state": "answered", "factor": self._factor}
        self._record(entry | (usage.model_dump() if usage else {}))

    def release(self, reservation: str) -> None:
        """Take back what was set aside for a request that the server turned down."""
        self._record({"ticket": reservation, "state": "refused"})

    def list_batch_reservations(self) -> dict[str, str]:
        """Return the reservations for requests that are in batches, by the requests' names."""
        reservations = (reservation for reservation in self._open if reservation.startswith(BATCH_PREFIX))
        return {
            reservation.removeprefix(BATCH_PREFIX).rpartition("-")[0]: reservation
            for reservation in reservations
        }

    def leave_booked(self, reservation: str) -> None:
        """Leave a request without an answer behind; what was set aside for it stays booked."""
        self._own.discard(reservation)

    def describe(self) -> str:
        """Return the account in a few words."""
        waiting = (
            f", {self._say(self._at_risk)} of it at most, for requests without an answer"
            if self._at_risk.tokens
            else ""
        )
        return f"{self._say(self.spent)} spent so far{waiting}"

    def explain_stop(self) -> str:
        """Return why nothing more is asked and what to do."""
        caps = [f"`max_cost_usd` ({self._limits.max_cost_usd:.2f})"] * bool(self.price)
        caps += [f"`max_cost_tokens` ({self._limits.max_cost_tokens:,})"] * bool(self._limits.max_cost_tokens)
        return (
            f"The next request could break the cap, {' or '.join(caps)}: {self.describe()}. Every reply so "
            "far is kept. Raise the cap and run the same command "
            "again, or ask for less (`n_requests` or `target_rows` of a teacher, `n_items` of a judge)."
        )

    def _say(self, amount: Amount) -> str:
        return (
            f"{amount.usd:.2f} US dollars ({amount.tokens:,} tokens)"
            if self.price
            else f"{amount.tokens:,} tokens"
        )

    def _fits(self, amount: Amount) -> bool:
        within_tokens = not self._limits.max_cost_tokens or amount.tokens <= self._limits.max_cost_tokens
        return within_tokens and (self.price is None or amount.usd <= self._limits.max_cost_usd)

    def _amount(self, n_input: int, n_output: int, factor: float | None = None) -> Amount:
        factor = self._factor if factor is None else factor
        return Amount(n_input + n_output, factor * self.price.cost(n_input, n_output) if self.price else 0.0)

    def _apply(self, entry: dict[str, Any]) -> None:
        reservation = entry["ticket"]
        if entry["state"] == "sent":
            self._open[reservation] = self._amount(
                entry["input_tokens"], entry["output_tokens"], entry["factor"]
            )
            self._at_risk += self._open[reservation]
            return
        self._own.discard(reservation)
        reserved = self._open.pop(reservation, None)
        if reserved is None:
            return  # settled before: an answer that is collected again after a kill is booked once
        self._at_risk -= reserved
        if entry["state"] == "answered":
            billed = "input_tokens" in entry
            self.settled += (
                self._amount(entry["input_tokens"], entry["output_tokens"], entry["factor"])
                if billed
                else reserved
            )

    @contextmanager
    def write_together(self) -> Iterator[None]:
        """Put the entries of the block on the disk at its end, all at once. Nothing that they set money aside
        for may be sent within the block.
        """
        self._waits_to_write = True
        try:
            yield
        finally:
            self._waits_to_write = False
            self._flush()

    def _record(self, entry: dict[str, Any]) -> None:
        self._apply(entry)
        self._n_entries += 1
        if self._file is None:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            if self._path.is_file() and self._path.stat().st_size > self._n_bytes:
                os.truncate(self._path, self._n_bytes)  # a line that a kill broke off
            self._file = self._path.open("a", encoding="utf-8")
        self._file.write(json.dumps(entry) + "\n")
        if not self._waits_to_write:
            self._flush()

    def _flush(self) -> None:
        if self._file is not None:
            self._file.flush()
            os.fsync(self._file.fileno())
