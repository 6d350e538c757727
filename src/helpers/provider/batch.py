"""The provider's Batch API: write, submit, poll, collect, each at any later time, at half the price."""

from __future__ import annotations

import io
import json
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from helpers.errors import StudyError
from helpers.provider.connection import open_sync
from helpers.provider.conversations import find_missing
from helpers.provider.failures import explain_refusal
from helpers.provider.journal import Body, Completion, Conversation, Journal
from helpers.provider.ledger import Ledger, ProviderLimits
from helpers.provider.request_fields import RequestFields
from helpers.provider.wire import REFUSAL_CODES, GarbledError, is_permanent, read_completion
from helpers.provider.words import quote_line, quote_server
from helpers.store import sha256_text, write_text

if TYPE_CHECKING:
    from openai import OpenAI
    from openai.types import Batch

ENDPOINT = "/v1/chat/completions"
MAX_REQUESTS, MAX_BYTES = (
    50_000,
    190_000_000,
)  # the provider's limits for one file, the second with room to spare
FINAL = ("completed", "expired", "cancelled", "failed")

Answer = dict[str, Any]


class PendingError(StudyError):
    """Batches are under way; the same command goes on with them later."""


class BatchClient:
    """Asks a model through batches, whose records lie beside the replies until they are collected.

    A batch carries the name of its record as metadata: if the process dies, or the line breaks, between the
    provider's taking of the batch and our note of it, the next run finds the batch by that name and pays for
    nothing twice.
    """

    def __init__(self, journal: Journal, limits: ProviderLimits) -> None:
        self._model, self._journal = journal.model, journal
        self._client: OpenAI = open_sync(self._model, limits.timeout_seconds)
        self._ledger = Ledger(journal, limits)
        self._folder = journal.folder / "batches"

    def advance(self, conversations: Iterable[Conversation[Any]]) -> None:
        """Collect what is finished and submit what is missing.

        Raises:
            PendingError: batches are under way, or the provider cannot be reached just now.
            StudyError: the provider refuses, or the cap leaves no room for another request.
        """
        from openai import APIConnectionError, APIStatusError

        try:
            self._advance(conversations)
        except (APIConnectionError, json.JSONDecodeError):
            raise PendingError(
                "The line to the provider broke. What was submitted is on record: run the same command again."
            ) from None
        except APIStatusError as error:
            if error.status_code < 500 and is_permanent(error.status_code, error.code):
                raise StudyError(explain_refusal(error, self._model)) from None
            raise PendingError(
                f"The provider is busy ({error.status_code}). What was submitted is on record: run the same "
                "command again."
            ) from None

    def _advance(self, conversations: Iterable[Conversation[Any]]) -> None:
        self._ledger.release_batches_except(
            {ticket for record in self._list_records() for ticket in _read_tickets(record).values()}
        )
        under_way = [line for record in self._list_records() if (line := self._collect(record))]
        covered = {key for record in self._list_records() for key in _read_tickets(record)}
        missing = {
            key: body
            for body in find_missing(conversations, self._journal)
            if (key := self._journal.key(body)) not in covered
        }
        if missing and (submitted := self._submit(missing)):
            under_way.append(submitted)
        if under_way:
            raise PendingError(
                f"{'; '.join(under_way)}. {self._ledger.describe()}. Run the same command again later; "
                "answers come within a day."
            )
        if missing:
            raise StudyError(self._ledger.explain_stop())

    def _list_records(self) -> list[Path]:
        return sorted(self._folder.glob("*.json"))

    def _submit(self, missing: dict[str, Body]) -> str | None:
        """Submit as many requests as the cap and one file can bear; return a line on it, None if there is no
        room for any.
        """
        tickets: dict[str, str] = {}
        lines, n_bytes, fields = [], 0, RequestFields(self._model)
        for key, body in missing.items():
            request = {"custom_id": key, "method": "POST", "url": ENDPOINT, "body": fields.apply(body)}
            line = json.dumps(request) + "\n"
            n_bytes += len(line)
            if len(lines) == MAX_REQUESTS or n_bytes > MAX_BYTES:
                break
            ticket = self._ledger.reserve(key, len(str(body).encode()), body["max_completion_tokens"])
            if ticket is None:
                break
            tickets[key] = ticket
            lines.append(line)
        if not lines:
            return None
        record = (
            self._folder / f"{sha256_text(str([*tickets.values()]))[:16]}.json"
        )  # tickets differ when the same requests are submitted again
        write_text(record.with_suffix(".jsonl"), "".join(lines))
        write_text(record, json.dumps({"id": None, "tickets": tickets}))
        return self._collect(record) or f"{len(tickets)} requests were answered at once"

    def _collect(self, record: Path) -> str | None:
        """Take one batch a step further; return a line on its state while it is under way, None once it is
        collected.
        """
        entry = json.loads(record.read_text(encoding="utf-8"))
        batch = _check_batch(
            self._client.batches.retrieve(entry["id"]) if entry["id"] else self._find_or_create(record)
        )
        if entry["id"] is None:
            write_text(record, json.dumps(entry | {"id": batch.id}))
        if batch.status not in FINAL:
            done = getattr(batch.request_counts, "completed", 0)
            return f"batch {batch.id}: {batch.status}, {done} of {len(entry['tickets'])} answered"
        answers, is_whole = self._read_answers(batch)
        for key, ticket in entry["tickets"].items():
            if key in answers or is_whole:
                self._book(key, ticket, answers.get(key, {}))
            else:
                self._ledger.settle(ticket, None)  # its answer may be the one that cannot be read
        record.unlink()
        record.with_suffix(".jsonl").unlink(missing_ok=True)
        self._explain_failures(batch, answers.values())
        return None

    def _explain_failures(self, batch: Batch, answers: Iterable[Answer]) -> None:
        """Raise StudyError if the provider turned down the batch, or a request of it for good."""
        if batch.status == "failed":
            found = getattr(batch.errors, "data", None) or []
            reasons = "; ".join(str(getattr(error, "message", "")) for error in found) or "no reason given"
            raise StudyError(
                f"The provider turned batch {batch.id} down: {quote_line(reasons)}. Nothing was billed; fix "
                "the cause and run the same command again."
            )
        refused = (
            answer
            for answer in answers
            if is_permanent(_status(answer), _error(answer).get("code")) and not _is_refusal(answer)
        )
        if answer := next(refused, None):
            raise StudyError(
                f"The {self._model.label} refused a request of the batch ({_status(answer)}): "
                f"{quote_server(answer.get('body'))}. All other answers are kept."
            )

    def _find_or_create(self, record: Path) -> Batch:
        name = record.stem
        for batch in self._client.batches.list(limit=100):
            if _as_object(getattr(batch, "metadata", None)).get("record") == name:
                return batch
        file = self._client.files.create(
            file=(f"{name}.jsonl", io.BytesIO(record.with_suffix(".jsonl").read_bytes())), purpose="batch"
        )
        once = self._client.with_options(max_retries=0)  # a second try could pay for a second batch
        return once.batches.create(
            input_file_id=file.id, endpoint=ENDPOINT, completion_window="24h", metadata={"record": name}
        )

    def _read_answers(self, batch: Batch) -> tuple[dict[str, Answer], bool]:
        """Return the answers by the names of their requests, and whether every line could be read."""
        answers: dict[str, Answer] = {}
        is_whole = True
        for file_id in filter(None, (batch.output_file_id, batch.error_file_id)):
            text = self._client.files.content(file_id).content.decode("utf-8", "replace")
            for line in filter(None, text.split("\n")):
                try:
                    answer = json.loads(line)
                except (ValueError, RecursionError):
                    answer = None
                if isinstance(answer, dict) and isinstance(answer.get("custom_id"), str):
                    answers[answer["custom_id"]] = _as_object(answer.get("response"))
                else:
                    is_whole = False
        return answers, is_whole

    def _book(self, key: str, ticket: str, answer: Answer) -> None:
        """Keep an answer and settle it; what was not answered was not billed, and an answer in no known form
        stays booked at its most.
        """
        if _is_refusal(answer):
            self._journal.keep(
                key, Completion(model=self._model.name, finish_reason="content_filter", text="", usage=None)
            )
        if _status(answer) != 200:
            self._ledger.release(ticket)
            return
        try:
            completion = read_completion(answer.get("body"), self._model.name)
        except GarbledError:
            self._ledger.settle(ticket, None)
            return
        self._journal.keep(key, completion)
        self._ledger.settle(ticket, completion.usage)


def _read_tickets(record: Path) -> dict[str, str]:
    return json.loads(record.read_text(encoding="utf-8"))["tickets"]


def _status(answer: Answer) -> int:
    status = answer.get("status_code")
    return status if type(status) is int else 500


def _error(answer: Answer) -> dict[str, Any]:
    return _as_object(_as_object(answer.get("body")).get("error"))


def _as_object(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _is_refusal(answer: Answer) -> bool:
    return _error(answer).get("code") in REFUSAL_CODES


def _check_batch(batch: Batch) -> Batch:
    """Raise StudyError if the provider's answer is no batch, such as a page of a server that knows none."""
    if isinstance(getattr(batch, "id", None), str) and isinstance(getattr(batch, "status", None), str):
        return batch
    raise StudyError("The server answered with no batch. Ask without --batch, or check its address.")
