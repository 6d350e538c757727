"""What the teacher is asked: the request in the paper's form, in our words."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence

from helpers.records import CATEGORIES, SeedTask
from helpers.synthesis.parsing import ParsedTask

REQUIREMENTS = (
    "Start each task with another action; do not repeat a verb that an earlier task has used.",
    "Vary the wording: let some tasks be questions and others commands.",
    "Vary the kind of task: question answering, classification, summarization, simplification, extraction "
    "and others.",
    "Ask only for what a text model can do: no task may need an image, a sound or a video.",
    "Write in English.",
    "Keep each instruction to one or two sentences.",
    "Give each task a realistic input of some substance that fits the instruction; never a placeholder.",
    "Give each task an output that answers the instruction for that input.",
)


LIST, JSON = "list", "json"
REPLY_FORMATS = (LIST, JSON)
N_SHOWN = 3  # seeds a request shows (paper, section "Instruction generation")
N_TASKS = 20  # length of the list, seeds included (same section)
JSON_REPLY = (
    "Reply with a JSON object whose `tasks` holds the new tasks in order, each with instruction, input "
    "(empty if the task needs none), output, and category: "
    "qa (answers a question), ie (pulls structured information out of a given text), gen (writes new text) "
    "or other.\n"
)
_TEXT = {"type": "string"}
_TASK_FIELDS = {
    "instruction": _TEXT,
    "input": _TEXT,
    "output": _TEXT,
    "category": {"type": "string", "enum": list(CATEGORIES)},
}
_TASK_SCHEMA = {
    "type": "object",
    "properties": _TASK_FIELDS,
    "required": list(_TASK_FIELDS),
    "additionalProperties": False,
}
REPLY_SCHEMA = {
    "type": "object",
    "properties": {"tasks": {"type": "array", "items": _TASK_SCHEMA}},
    "required": ["tasks"],
    "additionalProperties": False,
}
LABEL_REQUEST = (
    "Sort each biomedical task below into one category: qa (answers a question), ie (pulls structured "
    "information out of a given text), "
    "gen (writes new text, such as a summary, a note or advice), other (anything else, such as "
    "classification or inference). Reply with a JSON object "
    "that maps each task's number to its category, and nothing else.\n\n"
)


def build_request(seeds: Sequence[SeedTask], reply_format: str = LIST) -> str:
    """Return the prompt that shows `seeds` as the first tasks of a list of `N_TASKS` for the teacher to
    finish.

    The form is the paper's (section "Instruction generation"): eight requirements, then the seeds as items 1
    to 3; the teacher goes on with item 4. In the 'json' variant the new tasks come as an object that
    `REPLY_SCHEMA` describes, with their categories.
    """
    rules = "\n".join(f"{number}. {rule}" for number, rule in enumerate(REQUIREMENTS, 1))
    shown = "\n".join(
        format_task(number, seed.instruction, seed.input, seed.output) for number, seed in enumerate(seeds, 1)
    )
    return (
        f"You write training tasks for a biomedical language model. Complete the list below to {N_TASKS} "
        "diverse biomedical tasks.\n\n"
        f"Requirements:\n{rules}\n\n"
        f"The list has {N_TASKS} tasks. The first {len(seeds)} are given; continue with task "
        f"{len(seeds) + 1} in the same form.\n\n{shown}\n"
        + (f"\n{JSON_REPLY}" if reply_format == JSON else "")
    )


def format_task(number: int, instruction: str, input: str, output: str) -> str:
    """Return one task as the numbered lines of a request or reply."""
    return (
        f"{number}. Instruction: {instruction}\n{number}. Input: {input or '<noinput>'}\n{number}. "
        f"Output: {output}"
    )


def build_label_request(tasks: Iterable[ParsedTask]) -> str:
    """Return the prompt that asks for the category of each task, as the paper asked GPT-4 (section "Data
    collection").
    """
    return LABEL_REQUEST + "\n".join(
        f"{task.number}. {task.instruction}\n   Input: {(task.input or '')[:400]}" for task in tasks
    )


def prompt_sha256(prompt: str) -> str:
    """Return the fingerprint of a prompt, as recorded replies carry it."""
    return hashlib.sha256(prompt.encode()).hexdigest()
