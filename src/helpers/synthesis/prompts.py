"""What the teacher is asked: the request in the paper's form, in our words."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from helpers.records import SeedTask

REQUIREMENTS = (
    "Start each task with another action; do not repeat a verb that an earlier task has used.",
    "Vary the wording: let some tasks be questions and others commands.",
    "Vary the kind of task: question answering, classification, summarization, simplification, extraction and others.",
    "Ask only for what a text model can do: no task may need an image, a sound or a video.",
    "Write in English.",
    "Keep each instruction to one or two sentences.",
    "Give each task a realistic input of some substance that fits the instruction; never a placeholder.",
    "Give each task an output that answers the instruction for that input.",
)


def build_request(seeds: Sequence[SeedTask], n_tasks: int = 20) -> str:
    """Return the prompt that shows `seeds` as the first tasks of a list of `n_tasks` for the teacher to finish.

    The form is the paper's (section "Instruction generation"): eight requirements, then the seeds as items 1 to 3; the teacher goes on with item 4.
    """
    rules = "\n".join(f"{number}. {rule}" for number, rule in enumerate(REQUIREMENTS, 1))
    shown = "\n".join(format_task(number, seed.instruction, seed.input, seed.output) for number, seed in enumerate(seeds, 1))
    return (
        f"You write training tasks for a biomedical language model. Complete the list below to {n_tasks} diverse biomedical tasks.\n\n"
        f"Requirements:\n{rules}\n\n"
        f"The list has {n_tasks} tasks. The first {len(seeds)} are given; continue with task {len(seeds) + 1} in the same form.\n\n{shown}\n"
    )


def format_task(number: int, instruction: str, input: str, output: str) -> str:
    """Return one task as the numbered lines of a request or reply."""
    return f"{number}. Instruction: {instruction}\n{number}. Input: {input or '<noinput>'}\n{number}. Output: {output}"


def prompt_sha256(prompt: str) -> str:
    """Return the fingerprint of a prompt, as recorded replies carry it."""
    return hashlib.sha256(prompt.encode()).hexdigest()
