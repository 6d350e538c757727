"""The teacher: recorded replies by default, or any model behind an OpenAI-compatible server."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from helpers.errors import StudyError
from helpers.paths import SEEDS
from helpers.records import CATEGORIES, TeacherReply, read_rows
from helpers.synthesis.parsing import ParsedTask, parse_reply
from helpers.synthesis.prompts import prompt_sha256

if TYPE_CHECKING:
    from openai import OpenAI

RECORDED = "recorded"
REPLIES = SEEDS / "teacher_replies.jsonl"
MAX_REPLY_TOKENS = 6000
FINISH_REASONS = ("stop", "length", "content_filter")
LABEL_REQUEST = (
    "Sort each biomedical task below into one category: qa (answers a question), ie (pulls structured information out of a given text), "
    "gen (writes new text, such as a summary, a note or advice), other (anything else, such as classification or inference). Reply with a JSON object "
    "that maps each task's number to its category, and nothing else.\n\n"
)

Ask = Callable[[int, tuple[str, ...], str], TeacherReply]


def replay_teacher(path: Path = REPLIES) -> Ask:
    """Return a teacher that looks replies up by the sha256 of the prompt they were written for.

    The recorded replies were written for this project in the teacher's stead; no language model of a provider wrote them.
    """
    replies = {reply.prompt_sha256: reply for reply in read_rows(path, TeacherReply)}

    def ask(request: int, seed_ids: tuple[str, ...], prompt: str) -> TeacherReply:
        reply = replies.get(prompt_sha256(prompt))
        if reply is None:
            raise StudyError(
                f"No recorded reply answers the prompt of request {request} (seeds {', '.join(seed_ids)}). "
                f"{path.name} holds {len(replies)} replies, drawn with the default `draw_seed` from the seed tasks as shipped. "
                f"Ask for at most {len(replies)} requests with that seed, or name a live model as `teacher`."
            )
        return reply

    return ask


def open_client(model: str, base_url: str) -> OpenAI:
    """Return a client of the openai SDK whose key comes from the environment; a server of one's own may need none."""
    from openai import OpenAI

    if not base_url and not os.environ.get("OPENAI_API_KEY"):
        raise StudyError(f"`teacher` is {model!r}, but OPENAI_API_KEY is not set. Set it in the environment, or use teacher = {RECORDED!r}.")
    return OpenAI(base_url=base_url or None, api_key=os.environ.get("OPENAI_API_KEY", "none"))


def live_teacher(model: str, base_url: str, temperature: float) -> Ask:
    """Return a teacher that asks `model` through the openai SDK: once for the tasks, once for their categories.

    The key comes from the environment (`OPENAI_API_KEY`) and goes nowhere else. The SDK retries rate limits and server errors a limited number of times.

    Args:
        model: name as the server knows it.
        base_url: address of an OpenAI-compatible server; empty for the provider's own.
        temperature: sampling temperature.

    Raises:
        StudyError: no key is set for the provider's own server.
    """
    client = open_client(model, base_url)

    def complete(prompt: str, request: int) -> tuple[str, str]:
        from openai import OpenAIError

        try:
            answer = client.chat.completions.create(
                model=model,
                messages=[{"role": "user", "content": prompt}],
                temperature=temperature,
                max_completion_tokens=MAX_REPLY_TOKENS,
                seed=request,
            )
        except OpenAIError as error:
            raise StudyError(f"The teacher {model!r} did not answer request {request}: {error} Replies so far are kept: mend the cause, run again.") from None
        choice = answer.choices[0]
        return choice.message.content or "", choice.finish_reason if choice.finish_reason in FINISH_REASONS else "other"

    def ask(request: int, seed_ids: tuple[str, ...], prompt: str) -> TeacherReply:
        text, finish_reason = complete(prompt, request)
        tasks = [task for task in parse_reply(text, finish_reason) if task.is_complete]
        labels = parse_labels(complete(LABEL_REQUEST + _list_tasks(tasks), request)[0]) if tasks else {}
        return TeacherReply(
            request=request,
            seed_ids=seed_ids,
            prompt_sha256=prompt_sha256(prompt),
            source=model,
            finish_reason=finish_reason,
            text=text,
            categories=labels,
        )

    return ask


def _list_tasks(tasks: Iterable[ParsedTask]) -> str:
    return "\n".join(f"{task.number}. {task.instruction}\n   Input: {task.input[:400]}" for task in tasks)


def parse_labels(text: str) -> dict[int, str]:
    """Return the labels of a reply that holds one JSON object; what is not a known category is left out."""
    try:
        labels = json.loads(text[text.find("{") : text.rfind("}") + 1])
    except json.JSONDecodeError:
        return {}
    return {int(number): label for number, label in labels.items() if str(number).isdigit() and label in CATEGORIES}
