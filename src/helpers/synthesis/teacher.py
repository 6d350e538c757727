"""The teacher: what it is asked for one request, and the recorded replies that take its place by default."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable
from typing import NamedTuple

from helpers.errors import StudyError
from helpers.jsonl import read_rows
from helpers.paths import SEEDS
from helpers.provider.journal import Body, Exchange, RemoteModel
from helpers.provider.responses import build_body
from helpers.records import Category, TeacherReply, Usage
from helpers.synthesis.label_parsing import parse_labels
from helpers.synthesis.parsing import ParsedTask, parse_json_reply, parse_reply
from helpers.synthesis.requests import JSON, LIST, N_SHOWN, REPLY_SCHEMA, build_label_request, prompt_sha256
from helpers.synthesis.settings import SynthesisSettings

REPLIES = SEEDS / "teacher_replies.jsonl"
MAX_REPLY_TOKENS = 6000
MAX_LABEL_TOKENS = 2000

Ask = Callable[[int, tuple[str, ...], str], TeacherReply]


class ParsedReply(NamedTuple):
    """A reply, and the tasks that were cut out of it."""

    reply: TeacherReply
    tasks: list[ParsedTask]


def build_teacher(settings: SynthesisSettings) -> RemoteModel:
    """Return the live teacher that `SynthesisSettings` name."""
    return RemoteModel("teacher", settings.teacher, settings.teacher_url)


def replay_teacher() -> Ask:
    """Return a teacher that looks replies up by the sha256 of the prompt they were written for.

    The recorded replies were written for this project; no language model of a provider wrote them.
    """
    replies = {reply.prompt_sha256: reply for reply in read_rows(REPLIES, TeacherReply)}

    def ask(request: int, seed_ids: tuple[str, ...], prompt: str) -> TeacherReply:
        reply = replies.get(prompt_sha256(prompt))
        if reply is None:
            raise StudyError(
                f"No recorded reply answers the prompt of request {request} (seeds {', '.join(seed_ids)}). "
                f"{REPLIES.name} holds {len(replies)} replies, drawn with the default `draw_seed` from the "
                f"seed tasks as shipped. Ask for at most {len(replies)} requests with that seed in the "
                "'list' format, or name a live model as `teacher`."
            )
        return reply

    return ask


def find_reply(replies: Iterable[TeacherReply], request: int) -> TeacherReply:
    """Return the reply to a request.

    Raises:
        StudyError: there is none.
    """
    found = {reply.request: reply for reply in replies}
    if request not in found:
        raise StudyError(
            f"`example_request` must be the number of a request that was answered, {min(found)} to "
            f"{max(found)}, but {request} was found."
        )
    return found[request]


def teacher_exchange(
    settings: SynthesisSettings, request: int, seed_ids: tuple[str, ...], prompt: str
) -> Exchange[ParsedReply]:
    """Yield what a live teacher is asked for one request, take each answer, return the reply with its tasks.

    First come the tasks; then, in the 'list' format, their categories, unless the classifier of `categories`
    is to give them. The caller decides where the answers come from: the journal, single requests,
    or a batch.

    Args:
        settings: `SynthesisSettings`.
        request: number of the request.
        seed_ids: the seeds that the prompt shows.
        prompt: what is asked.
    """
    answer = yield build_teacher_body(settings, prompt, request, MAX_REPLY_TOKENS)
    tasks, labels = _split_reply(answer.text, answer.finish_reason, settings.reply_format)
    bills, label_finish_reason = [answer.usage], None
    complete = [task for task in tasks if task.is_complete]
    if complete and settings.asks_for_labels:
        labelled = yield build_teacher_body(
            settings, build_label_request(complete), request, MAX_LABEL_TOKENS, wants_tasks=False
        )
        labels = parse_labels(labelled.text, [task.number for task in complete])
        label_finish_reason = labelled.finish_reason
        bills.append(labelled.usage)
    reply = TeacherReply(
        request=request,
        seed_ids=seed_ids,
        prompt_sha256=prompt_sha256(prompt),
        source=answer.model,
        finish_reason=answer.finish_reason,
        text=answer.text,
        categories=labels,
        usage=_add_usage(bills),
        label_finish_reason=label_finish_reason,
    )
    return ParsedReply(reply, tasks)


def build_teacher_body(
    settings: SynthesisSettings, prompt: str, request: int, max_tokens: int, wants_tasks: bool = True
) -> Body:
    """Return the body of a request to a live teacher; in the 'json' format it carries the schema of what is
    wanted.
    """
    body = build_body(
        settings.teacher, prompt, settings.temperature, max_tokens, request, settings.reasoning_effort
    )
    if settings.reply_format == JSON and wants_tasks:
        body["response_format"] = {
            "type": "json_schema",
            "json_schema": {"name": "tasks", "strict": True, "schema": REPLY_SCHEMA},
        }
    return body


def parse_teacher_reply(text: str, finish_reason: str, reply_format: str) -> list[ParsedTask]:
    """Return the tasks of a reply in the format that was asked for.

    An item whose number is that of a shown seed, or comes a second time, counts as incomplete: the teacher
    repeats the list instead of going on with it.
    """
    return _split_reply(text, finish_reason, reply_format)[0]


def _split_reply(
    text: str, finish_reason: str, reply_format: str
) -> tuple[list[ParsedTask], dict[int, Category]]:
    """Return the tasks of a reply, and their categories where the format has both in one reply."""
    if reply_format == LIST and (tasks := parse_reply(text, finish_reason)):
        return _refuse_repeats(tasks), {}
    tasks, labels = parse_json_reply(text, N_SHOWN + 1)  # some answer a list in JSON
    return _refuse_repeats(tasks), labels if reply_format == JSON else {}


def _refuse_repeats(tasks: Iterable[ParsedTask]) -> list[ParsedTask]:
    seen = set(range(N_SHOWN + 1))
    sound = []
    for task in tasks:
        sound.append(dataclasses.replace(task, is_complete=task.is_complete and task.number not in seen))
        seen.add(task.number)
    return sound


def _add_usage(bills: list[Usage | None]) -> Usage | None:
    if None in bills:
        return None
    return Usage(
        input_tokens=sum(bill.input_tokens for bill in bills),
        output_tokens=sum(bill.output_tokens for bill in bills),
    )
