"""The journal: every answer that was paid for, on disk before it is used, found again by what was asked.

Where it is decided that a paid request is not sent again: `live.LiveClient.carry_out` (single requests: the
journal first; what an open batch holds is refused) and `batch.BatchClient.advance` (batches: what neither the
journal nor an open batch holds). A request whose answer never came to disk, since the run was killed, is sent
and paid again.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, TypeVar

from helpers.errors import StudyError
from helpers.files import sha256_text, write_text
from helpers.jsonl import dump_row, read_rows
from helpers.paths import runs_folder, shown
from helpers.provider.urls import mask_address, normalize_address
from helpers.records import StrictRecord, Usage
from helpers.store import LOCK, explain_marker

FinishReason = Literal["stop", "length", "content_filter", "other"]
Body = dict[str, Any]
Result = TypeVar("Result")


@dataclasses.dataclass(frozen=True)
class RemoteModel:
    """A model behind an OpenAI-compatible server.

    Attributes:
        role: what it is here, such as 'teacher': messages call it so, and the parameters that name it are
            `teacher` and `teacher_url`.
        name: as its server knows it.
        url: address of the server; empty for the provider's own.
    """

    role: str
    name: str
    url: str = ""

    @property
    def server(self) -> str:
        """The server's address in its one form; empty for OpenAI's own."""
        return normalize_address(self.url)

    @property
    def label(self) -> str:
        """The model and its server in a message."""
        where = f" at {mask_address(self.url)}" if self.server else ""
        return f"{self.role} {self.name!r}{where}"


class Completion(StrictRecord):
    """What came back for one request: the model's snapshot, how the answer ended, its text, and the tokens
    that were billed, if the server said so.
    """

    model: str
    finish_reason: FinishReason
    text: str
    usage: Usage | None


# yields what is asked, takes each answer, returns what came of them
Exchange = Generator[Body, Completion, Result]


class Journal:
    """The answers of one model in one role, one file each, named by the sha256 of the request's body.

    More requests, other filters and other draws find again what they share with an earlier run. Each file is
    written whole or not at all.
    """

    def __init__(self, model: RemoteModel) -> None:
        self.model = model
        self._server = model.server
        identity = json.dumps([model.role, model.name, self._server])
        self.folder = runs_folder() / "replies" / sha256_text(identity)[:16]

    def hash_request(self, body: Body) -> str:
        """Return the name under which the answer to a request is kept."""
        return sha256_text(json.dumps([self._server, body], sort_keys=True))[:32]

    def find(self, body: Body) -> Completion | None:
        """Return the answer to a request if it is there.

        Raises:
            StudyError: its file is damaged; it was paid for and is left as it is.
        """
        path = self._path(self.hash_request(body))
        if not path.is_file():
            return None
        try:
            return read_rows(path, Completion)[0]
        except StudyError as error:
            raise StudyError(
                f"A reply that was paid for cannot be read: {error} Put the file back, or move it elsewhere "
                "to have the reply asked for, and paid, once more."
            ) from None

    def keep(self, request_hash: str, completion: Completion) -> None:
        """Write an answer to disk."""
        write_text(self._path(request_hash), dump_row(completion))

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Keep other processes from asking the same model while the block runs: each would pay for what the
        other pays for.

        Raises:
            StudyError: another process is asking it.
        """
        from filelock import FileLock, Timeout

        self.folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(self.folder / LOCK, timeout=0)
        try:
            with lock:
                yield
        except Timeout:
            raise StudyError(
                f"Another process is asking this {self.model.role} ({shown(self.folder)} is locked). Wait "
                f"for it to end, or stop it.{explain_marker(lock)}"
            ) from None

    def _path(self, request_hash: str) -> Path:
        return self.folder / f"{request_hash}.jsonl"
