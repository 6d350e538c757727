"""The files in which a provider answers a batch: what they hold, and how much may come in them yet."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Collection
from typing import TYPE_CHECKING, Any

from helpers.provider.batch_answers import Answer, as_object, is_answered

if TYPE_CHECKING:
    from openai.types import Batch


@dataclasses.dataclass(frozen=True)
class FoundAnswers:
    """What the files of a batch hold.

    Attributes:
        answers: by the names of their requests; those that say that a request failed among them.
        n_unread: lines of a request that nobody can name.
        n_open: answers, at least, that the file of answers may hold when it is read again: one where its last
            line breaks off, all where something else came in its place, such as a gateway's page.
    """

    answers: dict[str, Answer]
    n_unread: int
    n_open: int


def read_answers(download: Callable[[str], str], batch: Batch, names: Collection[str]) -> FoundAnswers:
    """Return the answers in the files of a batch. A file without a line that can be named is taken for
    something else, so an only answer that cannot be read is waited for, and not paid again.

    Args:
        download: returns the content of a file by its id; a file that came odd is asked for twice.
        batch: of a final status.
        names: of its requests.
    """
    answers: dict[str, Answer] = {}
    n_unread = n_open = 0
    for file_id in filter(None, (batch.output_file_id, batch.error_file_id)):
        lines, is_cut = _read_lines(download(file_id))
        if is_cut or None in lines:
            lines, is_cut = _read_lines(download(file_id))
        own = [line for line in lines if str(as_object(line).get("custom_id")) in names]
        is_other = not own and (is_cut or bool(lines))
        if file_id == batch.output_file_id:
            n_open = len(names) if is_other else int(is_cut)
        n_unread += 0 if is_other else len(lines) - len(own)
        for line in own:
            if not is_answered(answers.get(line["custom_id"], {})):  # a failed try may stand beside it
                answers[line["custom_id"]] = as_object(line.get("response"))
    if n_open:  # what failed may have its answer among those that are not here yet
        answers = {name: answer for name, answer in answers.items() if is_answered(answer)}
    return FoundAnswers(answers, n_unread, n_open)


def _read_lines(text: str) -> tuple[list[Any], bool]:
    """Return the values of JSON lines, None for a line that cannot be read, and whether the last line breaks
    off: it is left out, since a later reading may bring it whole.
    """
    *lines, rest = text.split("\n")
    values = [_read_value(line) for line in lines if line.strip()]
    last = _read_value(rest)
    return values + [last] * (last is not None), bool(rest.strip()) and last is None


def _read_value(line: str) -> Any:
    try:
        return json.loads(line)
    except (ValueError, RecursionError):
        return None


def count_due(batch: Batch, found: FoundAnswers, n_requests: int) -> int | None:
    """Return how many answers of a batch that has ended may come yet, billed and missing in its files; None
    where nobody knows, since the provider does not count.

    A batch that is completed has a line for every request, but for those that it counts as failed. One that
    expired or was cancelled has a line for each that it counts as completed. One that failed was turned down
    as a whole.

    Args:
        batch: of a final status.
        found: what its files hold.
        n_requests: in the batch.
    """
    if batch.status == "failed":
        return 0
    n_missing = max(0, n_requests - len(found.answers) - found.n_unread)
    n_failed = sum(not is_answered(answer) for answer in found.answers.values())
    n_answered = len(found.answers) - n_failed + found.n_unread  # an unread line may hold an answer
    counts = batch.request_counts
    completed, failed = (getattr(counts, name, None) for name in ("completed", "failed"))
    due = completed - n_answered if type(completed) is int else -n_answered
    if batch.status == "completed":
        due = max(due, n_missing - max(0, (failed if type(failed) is int else 0) - n_failed))
    elif n_missing and not found.n_open and (type(completed) is not int or due < 0):
        return None
    return min(max(due, found.n_open, 0), n_missing)
