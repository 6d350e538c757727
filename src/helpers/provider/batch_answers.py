"""The answers of a batch, each kept and booked as a single one is."""

from __future__ import annotations

from typing import Any

from helpers.errors import StudyError
from helpers.progress import tell
from helpers.provider.failures import explain_excess, explain_not_completion, explain_refusal
from helpers.provider.journal import Body, Completion, Journal
from helpers.provider.ledger import Ledger
from helpers.provider.request_fields import NEW_LIMIT, OLD_LIMIT, RequestFields
from helpers.provider.responses import (
    REFUSAL_CODES,
    GarbledError,
    NotCompletionError,
    check_no_error,
    count_most_input,
    is_permanent,
    read_completion,
)

Answer = dict[str, Any]


class BatchAnswers:
    """Takes the answers of one batch, all of them, before it says what was wrong with any.

    Args:
        journal: where they are kept.
        ledger: where they are booked.
        fields: learns what the server does not take.
    """

    def __init__(self, journal: Journal, ledger: Ledger, fields: RequestFields) -> None:
        self._journal, self._model, self._ledger, self._fields = journal, journal.model, ledger, fields
        self._faults: list[str] = []
        self._n_unread = 0

    def take(self, request_hash: str, reservation: str, answer: Answer, sent: Body | None) -> None:
        """Keep an answer and settle it; what was refused was not billed, and an answer in no known form stays
        booked at the most that it can have cost.

        Args:
            request_hash: the request's name in the journal.
            reservation: its reservation in the ledger.
            answer: status and body; empty where the line holds neither.
            sent: the request, where it is known.
        """
        if not is_answered(answer):
            self._take_refusal(request_hash, reservation, answer, sent)
            return
        try:
            check_no_error(answer.get("body"))
            completion = read_completion(answer.get("body"), self._model.name)
        except NotCompletionError as error:
            self._ledger.release(reservation)
            self._faults.append(explain_not_completion(error, self._model))
            return
        except GarbledError:
            self.lose(reservation)
            return
        self._journal.keep(request_hash, completion)
        self._ledger.settle(reservation, completion.usage)
        limit = sent and (sent.get(NEW_LIMIT) or sent.get(OLD_LIMIT))
        if not limit:
            return
        most = count_most_input(sent), limit
        if fault := explain_excess(completion, *most, self._model, self._ledger.describe()):
            self._faults.append(fault)

    def lose(self, reservation: str) -> None:
        """Book an answer that cannot be read at the most that it can have cost."""
        self._ledger.settle(reservation, None)
        self._n_unread += 1

    def raise_faults(self, batch: str) -> None:
        """Raise StudyError if an answer stops the asking; before, say what could not be read."""
        if self._n_unread:
            tell(
                f"{self._n_unread} answers of batch {batch} cannot be read: they stay booked at the most "
                "that they can have cost, and their requests are asked again."
            )
        if self._faults:
            raise StudyError(self._faults[0])

    def _take_refusal(self, request_hash: str, reservation: str, answer: Answer, sent: Body | None) -> None:
        error = as_object(answer.get("body")).get("error", answer.get("body"))
        code = as_object(error).get("code")
        if code in REFUSAL_CODES:
            refusal = Completion(model=self._model.name, finish_reason="content_filter", text="", usage=None)
            self._journal.keep(request_hash, refusal)
        self._ledger.release(reservation)
        if code in REFUSAL_CODES or (sent and self._fields.drop_refused(sent, _status(answer), error)):
            return
        if is_permanent(_status(answer), code):
            self._faults.append(explain_refusal(_status(answer), error, self._model))


def is_answered(answer: Answer) -> bool:
    """Say whether the provider gives an answer, and not that the request failed."""
    return _status(answer) == 200


def _status(answer: Answer) -> int:
    """Return the status of an answer; where a server gives none, that of what its body holds."""
    try:
        return int(answer.get("status_code"))
    except (TypeError, ValueError, OverflowError):
        return 200 if "choices" in as_object(answer.get("body")) else 500


def as_object(value: Any) -> dict[str, Any]:
    """Return a value of an answer if it is an object, an empty one in place of another."""
    return value if isinstance(value, dict) else {}
