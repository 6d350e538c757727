"""The provider's Batch API: write, submit, poll, collect, each at any later time, at half the price."""

from __future__ import annotations

import io
import json
import secrets
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from helpers.errors import StudyError
from helpers.files import write_text
from helpers.paths import shown
from helpers.progress import tell
from helpers.provider.batch_answers import BatchAnswers, as_object
from helpers.provider.batch_files import count_due, read_answers
from helpers.provider.batch_records import BatchRecord, list_records, read_record, read_sent, remove_record
from helpers.provider.connection import open_sync
from helpers.provider.exchanges import find_missing, replay
from helpers.provider.failures import explain_no_batches, explain_refusal, explain_unreached, was_not_sent
from helpers.provider.journal import Body, Exchange, Journal, Result
from helpers.provider.ledger import Ledger, ProviderLimits
from helpers.provider.request_fields import RequestFields
from helpers.provider.responses import count_most_input, is_permanent
from helpers.provider.text_cleaning import quote_line

if TYPE_CHECKING:
    from openai import APIStatusError, OpenAI
    from openai.types import Batch

ENDPOINT = "/v1/chat/completions"
# the provider's limits for one file, the second with room to spare
MAX_REQUESTS = 50_000
MAX_BYTES = 190_000_000
FINAL = ("completed", "expired", "cancelled", "canceled", "failed")
NO_BATCHES = (404, 405, 501)  # what servers without batches answer


class PendingError(StudyError):
    """Batches are under way; the same command goes on with them later."""


def ask_batches(
    plan: Callable[[], Iterable[Exchange[Result]]],
    journal: Journal,
    limits: ProviderLimits,
    count_wanted: Callable[[], int] | None = None,
) -> Iterator[Result]:
    """Yield the results of exchanges in their order, all answers of the journal; what it lacks is
    collected from batches and asked for in new ones.

    Args:
        plan: returns the exchanges, not begun, each time it is called.
        journal: where the model's answers are kept and found.
        limits: the caps.
        count_wanted: returns how many further results the reader is likely to take, the size of the next
            batch; None: all.

    Raises:
        PendingError: batches are under way, or the provider cannot be reached just now.
        StudyError: the provider refuses, or the cap leaves no room for another request.
    """
    client, n_used = BatchClient(journal, limits), 0
    while True:
        begin, end = n_used, n_used + max(1, count_wanted()) if count_wanted else None
        client.advance(lambda begin=begin, end=end: islice(plan(), begin, end))
        for exchange in islice(plan(), begin, end):
            n_used += 1
            yield replay(exchange, journal)[1]
        if end is None or n_used < end:
            return


class BatchClient:
    """Asks a model through batches, whose records lie beside the replies until they are collected.

    A batch carries the name of its record as metadata: if the process dies, or the line breaks, between the
    provider's taking of the batch and our note of it, the next run finds the batch by that name and pays for
    nothing twice. So it does where a record was damaged.
    """

    def __init__(self, journal: Journal, limits: ProviderLimits) -> None:
        self._model, self._journal, self._limits = journal.model, journal, limits
        self._fields = RequestFields(self._model)
        self._under_way: list[str] | None = None
        self._reached = False

    @cached_property
    def _client(self) -> OpenAI:
        """The connection, opened where the journal lacks an answer."""
        return open_sync(self._model, self._limits.timeout_seconds)

    @cached_property
    def _ledger(self) -> Ledger:
        return Ledger(self._journal, self._limits)

    def advance(self, plan: Callable[[], Iterable[Exchange[Any]]]) -> None:
        """Collect what is finished and submit what is missing; return once the journal answers all.

        Raises:
            PendingError: batches are under way, or the provider cannot be reached just now.
            StudyError: the provider refuses, or the cap leaves no room for another request.
        """
        if next(find_missing(plan(), self._journal), None) is None:
            return
        with self._explain_faults():
            if self._under_way is None:
                self._under_way = self._collect_all()
            missing = {self._journal.hash_request(body): body for body in find_missing(plan(), self._journal)}
            covered = self._ledger.list_batch_reservations()
            left = {
                request_hash: body for request_hash, body in missing.items() if request_hash not in covered
            }
            if left and (submitted := self._submit(left)):
                self._under_way.append(submitted)
        if missing and self._under_way:
            raise PendingError(
                f"{'; '.join(self._under_way)}. {self._ledger.describe()}. Run the same command again later; "
                "answers come within a day."
            )
        if missing:
            raise StudyError(self._ledger.explain_stop())

    @contextmanager
    def _explain_faults(self) -> Iterator[None]:
        from openai import APIConnectionError, APIStatusError

        try:
            yield
        except (APIConnectionError, json.JSONDecodeError) as error:
            if was_not_sent(error) and not (self._reached or self._has_records):
                raise StudyError(explain_unreached(error, self._model)) from None
            raise PendingError(
                "The line to the provider broke. What was submitted is on record: run the same command again."
            ) from None
        except APIStatusError as error:
            lacks_batches = error.status_code in NO_BATCHES and self._model.server
            if lacks_batches and not self._has_records:
                raise StudyError(explain_no_batches(error.status_code, error.body, self._model)) from None
            if _is_final(error):
                location = error.response.headers.get("location", "")
                raise StudyError(
                    explain_refusal(error.status_code, error.body, self._model, location)
                ) from None
            raise PendingError(
                f"The provider is busy ({error.status_code}). What was submitted is on record: run the same "
                "command again."
            ) from None

    @property
    def _has_records(self) -> bool:
        """Whether a batch is on record."""
        return bool(list_records(self._journal.folder))

    def _collect_all(self) -> list[str]:
        """Take every batch on record a step further; return a line on each that is under way."""
        records = {path: read_record(path) for path in list_records(self._journal.folder)}
        named = {
            reservation
            for record in records.values()
            if record
            for reservation in record.reservations.values()
        }
        lost = {
            request_hash: reservation
            for request_hash, reservation in self._ledger.list_batch_reservations().items()
            if reservation not in named
        }
        for path in [path for path, record in records.items() if record is None]:
            tell(f"{shown(path)} is damaged: the provider is asked for the batch of that name.")
            sent = self._restore_sent(path)
            records[path] = BatchRecord(
                id=None,
                reservations={
                    request_hash: lost.pop(request_hash) for request_hash in sent if request_hash in lost
                },
            )
        for reservation in lost.values():
            self._ledger.release(reservation)  # the process died before it sent them
        return [line for path, record in records.items() if (line := self._collect(path, record))]

    def _restore_sent(self, path: Path) -> dict[str, Body]:
        """Return what was sent for a record, from the provider's copy where ours cannot be read; none where
        nothing was sent.
        """
        if not read_sent(path) and (batch := self._find(path)):
            write_text(path.with_suffix(".jsonl"), self._download(batch.input_file_id, path))
            if not read_sent(path):
                path.with_suffix(".jsonl").unlink()
                raise PendingError(
                    f"The provider's copy of what was sent in batch {batch.id} cannot be read just now. Run "
                    "the same command again later."
                )
        return read_sent(path)

    def _submit(self, missing: Mapping[str, Body]) -> str | None:
        """Submit as many requests as the cap and one file can bear; return a line on it, None if there is no
        room for any.
        """
        # a wrong key and a server that knows no batches are found out before money is set aside
        next(iter(self._client.batches.list(limit=1)), None)
        self._reached = True
        # on the disk before anything is sent: fifty thousand take minutes singly
        with self._ledger.write_together():
            reservations, lines = self._reserve_all(missing)
        if not lines:
            return None
        name = secrets.token_hex(8)  # another study of this account may submit the same
        path, record = (
            self._journal.folder / "batches" / f"{name}.json",
            BatchRecord(id=None, reservations=reservations),
        )
        write_text(path.with_suffix(".jsonl"), "".join(lines))
        write_text(path, record.model_dump_json())
        return self._collect(path, record) or f"{len(reservations)} requests were answered at once"

    def _reserve_all(self, missing: Mapping[str, Body]) -> tuple[dict[str, str], list[str]]:
        """Return reservations by name and lines of as many requests as the cap and one file can bear."""
        reservations: dict[str, str] = {}
        lines, n_bytes = [], 0
        for request_hash, body in missing.items():
            request = {
                "custom_id": request_hash,
                "method": "POST",
                "url": ENDPOINT,
                "body": self._fields.apply(body),
            }
            line = json.dumps(request) + "\n"
            n_bytes += len(line)
            if len(lines) == MAX_REQUESTS or n_bytes > MAX_BYTES:
                break
            reservation = self._ledger.reserve(
                request_hash, count_most_input(body), body["max_completion_tokens"]
            )
            if reservation is None:
                break
            reservations[request_hash] = reservation
            lines.append(line)
        return reservations, lines

    def _collect(self, path: Path, record: BatchRecord) -> str | None:
        """Take one batch a step further; return a line on its state while it is under way, None once it is
        collected.
        """
        sent = read_sent(path)
        self._fields.adopt(sent.values())
        batch = self._retrieve(path, record) if record.id else self._find(path)
        if batch is None and not sent:  # and nothing can be sent any more: it is all asked for anew
            return self._forget(path, record)
        batch = _check_batch(batch or self._create(path, record))
        self._reached = True
        if record.id is None:
            write_text(path, record.model_copy(update={"id": batch.id}).model_dump_json())
        if batch.status not in FINAL:
            done = getattr(batch.request_counts, "completed", 0)
            return f"batch {batch.id}: {batch.status}, {done} of {len(record.reservations)} answered"
        found = read_answers(
            lambda file_id: self._download(file_id, path, may_lack=file_id == batch.error_file_id),
            batch,
            record.reservations,
        )
        n_due = count_due(batch, found, len(record.reservations))
        open_reservations = set(self._ledger.list_batch_reservations().values())
        book = BatchAnswers(self._journal, self._ledger, self._fields)
        for request_hash, reservation in record.reservations.items():
            if reservation not in open_reservations:
                continue  # taken before: the batch was not whole, or the process died
            if request_hash in found.answers:
                book.take(request_hash, reservation, found.answers[request_hash], sent.get(request_hash))
            elif n_due:
                continue
            elif found.n_unread or n_due is None:
                book.lose(reservation)  # its answer may be one that cannot be read, or that is not there
            else:
                self._ledger.release(reservation)
        if not n_due:
            remove_record(path)
        self._explain_failed(batch, sent)
        book.raise_faults(batch.id)
        if not n_due:
            return None
        return (
            f"batch {batch.id}: {batch.status}, but {n_due} of its {len(record.reservations)} answers are "
            f"not in its files yet, and stay booked (where they never come, move {shown(path)} elsewhere: "
            "they are then asked for, and paid, once more, and the first asking is no longer counted)"
        )

    def _retrieve(self, path: Path, record: BatchRecord) -> Batch:
        from openai import NotFoundError

        try:
            return self._client.batches.retrieve(record.id)
        except NotFoundError:
            raise StudyError(_explain_gone(f"batch {quote_line(record.id, 80)}", path)) from None

    def _explain_failed(self, batch: Batch, sent: Mapping[str, Body]) -> None:
        """Raise StudyError if the provider turned the batch down, for what no other form of it cures."""
        if batch.status != "failed":
            return
        listed = getattr(batch.errors, "data", None) or []
        errors = [dict(error) for error in listed if hasattr(error, "message")]
        some = next(iter(sent.values()), None)
        if some and any(self._fields.drop_refused(some, 400, error) for error in errors):
            return
        reasons = "; ".join(str(error.get("message", "")) for error in errors) or "no reason given"
        raise StudyError(
            f"The provider turned batch {batch.id} down: {quote_line(reasons)}. Nothing was billed; fix "
            "the cause and run the same command again."
        )

    def _find(self, path: Path) -> Batch | None:
        """Return the batch that bears the name of a record, None where the provider has none."""
        batches = self._client.batches.list(limit=100)
        is_named = lambda batch: as_object(getattr(batch, "metadata", None)).get("record") == path.stem  # noqa: E731
        return next(filter(is_named, batches), None)

    def _create(self, path: Path, record: BatchRecord) -> Batch:
        """Send a batch that the provider has not got yet; where it refuses for good, nothing stays booked."""
        from openai import APIStatusError

        data = io.BytesIO(path.with_suffix(".jsonl").read_bytes())
        try:
            file = self._client.files.create(file=(f"{path.stem}.jsonl", data), purpose="batch")
            once = self._client.with_options(max_retries=0)  # a second try could pay for a second batch
            return once.batches.create(
                input_file_id=file.id,
                endpoint=ENDPOINT,
                completion_window="24h",
                metadata={"record": path.stem},
            )
        except APIStatusError as error:
            if _is_final(error):
                self._forget(path, record)
            raise

    def _forget(self, path: Path, record: BatchRecord) -> None:
        """Take back what was set aside for a batch that was never sent, and its record."""
        for reservation in record.reservations.values():
            self._ledger.release(reservation)
        remove_record(path)

    def _download(self, file_id: str, path: Path, may_lack: bool = False) -> str:
        """Return the content of a file; of one that may lack, none where the provider has it no more."""
        from openai import NotFoundError

        try:
            return self._client.files.content(file_id).content.decode("utf-8-sig", "replace")
        except NotFoundError:
            if may_lack:
                return ""
            raise StudyError(_explain_gone(f"file {quote_line(file_id, 80)} of the batch", path)) from None


def _explain_gone(what: str, record: Path) -> str:
    return (
        f"The server knows no {what}, which {shown(record)} has on record. Check the key's account and "
        "project. Where it is gone for good, move the record elsewhere: its requests are then asked for, and "
        "paid, once more, and what they have cost is no longer counted."
    )


def _is_final(error: APIStatusError) -> bool:
    """Say whether the same request would be refused again."""
    is_refusal = error.status_code < 500 and is_permanent(error.status_code, error.code)
    return is_refusal or error.status_code in NO_BATCHES


def _check_batch(batch: Batch) -> Batch:
    """Return the provider's answer, its status in lower case as the provider's own API writes it.

    Raises:
        StudyError: it is not a batch but, say, the page of another server.
    """
    if isinstance(getattr(batch, "id", None), str) and isinstance(getattr(batch, "status", None), str):
        return batch.model_copy(update={"status": batch.status.lower()})
    raise StudyError(
        "The server's answer is not a batch. Ask without `batch=true` (--batch), or check its address."
    )
