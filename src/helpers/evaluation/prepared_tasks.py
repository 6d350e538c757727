"""Prepared tasks: as they are put to a model, with the items drawn, the solved example, and the prompts."""

from __future__ import annotations

import dataclasses
import warnings
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from helpers.errors import StudyError
from helpers.evaluation.answer_parsing import first_part
from helpers.evaluation.settings import EvaluationSettings
from helpers.evaluation.task_prompts import (
    LETTER,
    TEXT,
    Task,
    build_letter_prompt,
    build_task_prompt,
    letter_of,
)
from helpers.evaluation.tasks import load_items, parse_tasks, select_items
from helpers.files import sha256_text
from helpers.jsonl import dump_rows
from helpers.models.load import load_tokenizer
from helpers.prompts import ALPACA, PAPERS_FORMAT, Prompt, PromptFormat
from helpers.records import BenchmarkItem, ChoiceItem
from helpers.settings import shorten

if TYPE_CHECKING:
    import pandas as pd
    from transformers import PreTrainedTokenizerBase


@dataclasses.dataclass(frozen=True)
class PreparedTask:
    """A task as it is put to a model: the items drawn, the solved example before them, and the way options
    are scored.
    """

    task: Task
    items: list[BenchmarkItem]
    demonstration: BenchmarkItem | None
    by_letter: bool
    permute: bool
    prompt_format: PromptFormat = PAPERS_FORMAT

    @cached_property
    def digest(self) -> str:
        """The sha256 of the items and the demonstration."""
        return sha256_text(dump_rows([*self.items, *([self.demonstration] if self.demonstration else [])]))

    @cached_property
    def shown_digest(self) -> str:
        """The sha256 of all that the model is given: the prompts and the options of each item."""
        options = self.task.is_choice and not self.by_letter
        return sha256_text(
            dump_rows(
                {
                    "id": item.id,
                    "prompts": [prompt.text for prompt in self.build_prompts(item)],
                    "options": item.options if options else None,
                }
                for item in self.items
            )
        )

    def cut(self, response: str) -> str:
        """Return the part of a written answer that is scored: in Alpaca's form it ends at the next heading,
        in a chat a heading is part of it.
        """
        return first_part(response) if self.prompt_format.name == ALPACA else response.strip()

    def count_rotations(self, item: ChoiceItem) -> int:
        """Return in how many orders the options of an item are shown."""
        return len(item.options) if self.permute else 1

    def show_options(self, item: ChoiceItem, rotation: int = 0) -> list[str]:
        """Return what stands for each option in the response: its letter in this order, or its text."""
        if not self.by_letter:
            return item.options
        return [letter_of(index, item, rotation) for index in range(len(item.options))]

    def build_prompts(self, item: BenchmarkItem) -> list[Prompt]:
        """Return the prompts of one item: one, or one for each order of its options."""
        if not self.by_letter:
            return [build_task_prompt(self.task, item, self.demonstration)]
        return [
            build_letter_prompt(self.task, item, rotation) for rotation in range(self.count_rotations(item))
        ]


def prepare_tasks(settings: EvaluationSettings, data: Path | None = None) -> list[PreparedTask]:
    """Return the tasks that the settings name, with their items.

    Args:
        settings: tasks, number of items, way of scoring.
        data: folder of the user's files (`tasks.load_items`); None for the embedded files, or the hub.

    Raises:
        StudyError: a task or its items cannot be found, or settings contradict each other.
    """
    check_scoring(settings)
    prompt_format = PromptFormat.from_settings(settings)
    prepared_tasks = []
    for task in parse_tasks(settings.tasks):
        items, demonstration = load_items(task, data)
        if len(items) < 2:
            raise StudyError(
                f"Task {task.name!r} must have two test items at least, but one was found. No interval can "
                "be drawn from it; add more."
            )
        by_letter = task.is_choice and settings.choice_scoring == LETTER
        prepared_tasks.append(
            PreparedTask(
                task,
                select_items(items, settings.n_items),
                demonstration,
                by_letter,
                by_letter and settings.permute_options,
                prompt_format,
            )
        )
    return prepared_tasks


def warn_of_references(tokenizer: PreTrainedTokenizerBase, prepared: PreparedTask) -> None:
    """Warn of right answers that no model could reach: those that score below 1 themselves, such as a mention
    of two lines or a text without words, and those longer than an answer may be.
    """
    task = prepared.task
    references = {item.id: task.write_reference(item) for item in prepared.items}
    unlike = [
        item.id for item in prepared.items if task.score(prepared.cut(references[item.id]), item)["score"] < 1
    ]
    long = [
        name
        for name, text in references.items()
        if len(tokenizer(text, add_special_tokens=False)["input_ids"]) > task.max_new_tokens
    ]
    for names, fault in (
        (unlike, "score below 1 by the task's own measure, so no answer to them can be right"),
        (long, f"are longer than the {task.max_new_tokens} tokens that an answer may have"),
    ):
        if names:
            warnings.warn(
                f"{task.name}: {len(names)} of {len(references)} right answers {fault}; the first is that of "
                f"{shorten(names[0])}",
                stacklevel=2,
            )


def check_scoring(settings: EvaluationSettings) -> None:
    """Raise StudyError where the way of scoring choices is unknown, or options that are not listed are to be
    permuted.
    """
    if settings.choice_scoring not in (TEXT, LETTER):
        raise StudyError(
            f"`choice_scoring` must be '{TEXT}' or '{LETTER}', but {settings.choice_scoring!r} was found."
        )
    if settings.permute_options and settings.choice_scoring == TEXT:
        raise StudyError(
            "`permute_options` has no effect where options are not listed. Use it with choice_scoring = "
            "'letter'."
        )


def list_first_prompts(settings: EvaluationSettings, data: Path | None = None) -> pd.DataFrame:
    """Return the first prompt of each task as the model gets it, decoded from its ids: task,
    tokens, prompt.
    """
    import pandas as pd

    tokenizer = load_tokenizer(settings.model)
    prepared_tasks = prepare_tasks(settings, data)
    encoded = {
        prepared.task.name: prepared.prompt_format.encode(
            tokenizer, prepared.build_prompts(prepared.items[0])[0]
        )
        for prepared in prepared_tasks
    }
    return pd.DataFrame(
        {"task": name, "tokens": len(ids), "prompt": tokenizer.decode(ids)} for name, ids in encoded.items()
    )


def encode_options(
    tokenizer: PreTrainedTokenizerBase, prepared: PreparedTask, item: ChoiceItem, rotation: int
) -> list[list[int]]:
    """Return the ids of what stands for each option in the response."""
    shown = prepared.show_options(item, rotation)
    return [tokenizer(text, add_special_tokens=False)["input_ids"] for text in shown]
