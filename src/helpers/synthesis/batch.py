"""The provider's Batch API: write, submit, poll, collect, each at any later time, at half the price."""

from __future__ import annotations

import io
import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from helpers.errors import StudyError
from helpers.store import sha256_text, write_text
from helpers.synthesis.journal import Body, Completion, Journal
from helpers.synthesis.ledger import Ledger, TeacherLimits
from helpers.synthesis.live import REFUSAL_CODES, read_completion, read_key
from helpers.synthesis.teacher import Conversation

if TYPE_CHECKING:
    from openai import OpenAI
    from openai.types import Batch

ENDPOINT = "/v1/chat/completions"
MAX_REQUESTS, MAX_BYTES = 50_000, 190_000_000  # the provider's limits for one file, the second with room to spare
FINAL = ("completed", "expired", "cancelled", "failed")


class PendingError(StudyError):
    """Batches are under way; the same command goes on with them later."""


class BatchTeacher:
    """Asks a model through batches, whose records lie beside the replies until they are collected.

    A batch carries the digest of its requests as metadata: if the process dies between the provider's answer and our record of it, the next run finds the
    batch by that digest and pays for nothing twice.
    """

    def __init__(self, model: str, base_url: str, journal: Journal, limits: TeacherLimits) -> None:
        from openai import OpenAI

        self._model, self._journal = model, journal
        self._client: OpenAI = OpenAI(base_url=base_url or None, api_key=read_key(model, base_url), timeout=limits.timeout_seconds)
        self._ledger = Ledger(journal.folder, model, base_url, limits)
        self._folder = journal.folder / "batches"

    def advance(self, conversations: Iterable[Conversation]) -> None:
        """Collect what is finished and submit what is missing.

        Raises:
            PendingError: batches are under way.
            StudyError: the provider refuses, or the cap leaves no room for another request.
        """
        under_way = [line for record in sorted(self._folder.glob("*.json")) if (line := self._collect(record))]
        covered = {key for record in self._folder.glob("*.json") for key in json.loads(record.read_text())["tickets"]}
        missing = {key: body for body in find_missing(conversations, self._journal) if (key := self._journal.key(body)) not in covered}
        if missing and (submitted := self._submit(missing)):
            under_way.append(submitted)
        if under_way:
            raise PendingError(f"{'; '.join(under_way)}. {self._ledger.describe()}. Run the same command again later; answers come within a day.")
        if missing:
            raise StudyError(self._ledger.explain_stop())

    def _submit(self, missing: dict[str, Body]) -> str | None:
        """Submit as many requests as the cap and one file can bear; return a line on it, None if there is no room for any."""
        tickets: dict[str, str] = {}
        lines, n_bytes = [], 0
        for key, body in missing.items():
            line = json.dumps({"custom_id": key, "method": "POST", "url": ENDPOINT, "body": body}) + "\n"
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
        text = "".join(lines)
        record = self._folder / f"{sha256_text(text)[:16]}.json"
        write_text(record.with_suffix(".jsonl"), text)
        write_text(record, json.dumps({"id": None, "tickets": tickets}))
        return self._collect(record)

    def _collect(self, record: Path) -> str | None:
        """Take one batch a step further; return a line on its state while it is under way, None once it is collected."""
        entry = json.loads(record.read_text(encoding="utf-8"))
        batch = self._client.batches.retrieve(entry["id"]) if entry["id"] else self._find_or_create(record)
        if entry["id"] is None:
            write_text(record, json.dumps(entry | {"id": batch.id}))
        if batch.status not in FINAL:
            done = batch.request_counts.completed if batch.request_counts else 0
            return f"batch {batch.id}: {batch.status}, {done} of {len(entry['tickets'])} answered"
        if batch.status == "failed":
            self._close(record, entry["tickets"], set())
            reasons = "; ".join(error.message or "" for error in (batch.errors.data if batch.errors else None) or []) or "no reason given"
            raise StudyError(f"The provider turned batch {batch.id} down: {reasons}. Nothing was billed; mend the cause and run the same command again.")
        answered = {key for key, answer in self._read_answers(batch) if self._keep(key, answer, entry["tickets"])}
        self._close(record, entry["tickets"], answered)
        return None

    def _find_or_create(self, record: Path) -> Batch:
        digest = record.stem
        for batch in self._client.batches.list(limit=100):
            if (batch.metadata or {}).get("digest") == digest:
                return batch
        requests = record.with_suffix(".jsonl").read_bytes()
        file = self._client.files.create(file=(f"{digest}.jsonl", io.BytesIO(requests)), purpose="batch")
        return self._client.batches.create(input_file_id=file.id, endpoint=ENDPOINT, completion_window="24h", metadata={"digest": digest})

    def _read_answers(self, batch: Batch) -> Iterator[tuple[str, dict[str, Any]]]:
        for file_id in filter(None, (batch.output_file_id, batch.error_file_id)):
            for line in self._client.files.content(file_id).text.splitlines():
                answer = json.loads(line)
                yield answer["custom_id"], answer.get("response") or {}

    def _keep(self, key: str, response: dict[str, Any], tickets: dict[str, str]) -> bool:
        from openai.types.chat import ChatCompletion

        status, body = response.get("status_code", 500), response.get("body") or {}
        if status == 200:
            answer = read_completion(ChatCompletion.model_validate(body), self._model)
        elif (body.get("error") or {}).get("code") in REFUSAL_CODES:
            answer = Completion(model=self._model, finish_reason="content_filter", text="", usage=None)
        elif 400 <= status < 500 and status not in (408, 409, 429):
            raise StudyError(f"The teacher {self._model!r} refused a request of the batch ({status}): {(body.get('error') or {}).get('message', '')}")
        else:
            return False
        self._journal.keep(key, answer)
        self._ledger.settle(tickets[key], answer.usage)
        return True

    def _close(self, record: Path, tickets: dict[str, str], answered: set[str]) -> None:
        """Take a collected batch off the records; what it did not answer was not billed and is asked again."""
        for key, ticket in tickets.items():
            if key not in answered:
                self._ledger.release(ticket)
        record.unlink()
        record.with_suffix(".jsonl").unlink(missing_ok=True)


def find_missing(conversations: Iterable[Conversation], journal: Journal) -> Iterator[Body]:
    """Yield the first request of each conversation that the journal does not answer yet."""
    for conversation in conversations:
        body = next(conversation)
        while (answer := journal.find(body)) is not None:
            try:
                body = conversation.send(answer)
            except StopIteration:
                break
        else:
            yield body
