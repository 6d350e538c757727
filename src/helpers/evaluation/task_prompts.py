"""What a task is made of, and the forms in which items are shown and answered."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, Literal

from helpers.evaluation.answer_parsing import NO_MENTION
from helpers.evaluation.metrics import LETTERS, Measures
from helpers.evaluation.sources import Source
from helpers.prompts import Prompt
from helpers.records import BenchmarkItem, ChoiceItem, MedicationItem, MentionsItem

TEXT, LETTER = "text", "letter"
LETTER_INSTRUCTION = (
    "Choose the option that answers the question or fits the text best. Answer with its letter."
)


@dataclasses.dataclass(frozen=True)
class Task:
    """One benchmark task.

    Attributes:
        name: name of the task and of its file in `seeds/benchmark/` or in the user's folder.
        category: the category of instructions that it belongs to.
        stands_for: the task of the paper in whose place it stands, or its own full name.
        schema: schema of its rows.
        instruction: what the model is asked to do.
        show: turns an item into the input of its prompt.
        write_reference: turns an item into its reference, the ideal response.
        score: (response, item) to the measures of `metrics`; choice tasks have none.
        metric: name of the score, for tables.
        max_new_tokens: longest response.
        in_ablation: False for sentence pairs, which the paper leaves out of its ablation.
        source: where the items of a public set come from; None for files in the embedded format alone.
    """

    name: str
    category: Literal["qa", "ie", "gen"]
    stands_for: str
    schema: type[BenchmarkItem]
    instruction: str
    show: Callable[[Any], str]
    write_reference: Callable[[Any], str]
    metric: str
    score: Callable[[str, Any], Measures] | None = None
    max_new_tokens: int = 0
    in_ablation: bool = True
    source: Source | None = None

    @property
    def is_choice(self) -> bool:
        """Whether the model ranks given options; otherwise it writes."""
        return self.score is None

    @property
    def n_shots(self) -> int:
        """Demonstrations in the prompt: none in question answering, one in extraction and generation (paper,
        section "Evaluation").
        """
        return 0 if self.category == "qa" else 1


def show_choice(item: ChoiceItem) -> str:
    """Return context and question.

    The options are not listed: models of this size rank a list by its order. Each option is scored as the
    continuation instead (cloze form; Gu et al., 2024).
    """
    return "\n\n".join(part for part in (item.context, item.question) if part)


def show_pair(item: ChoiceItem) -> str:
    """Return the two sentences of an inference item."""
    return f"Premise: {item.context}\nHypothesis: {item.question}"


def show_evidence(item: ChoiceItem) -> str:
    """Return a text and the question about it, whose options the instruction names."""
    return f"{item.context}\n\nQuestion: {item.question}"


def write_reference_option(item: ChoiceItem) -> str:
    """Return the right option."""
    return item.options[item.answer]


def write_reference_medications(item: MedicationItem) -> str:
    """Return one line per medication, `name: status`."""
    return "\n".join(f"{medication.forms[0]}: {medication.status}" for medication in item.gold)


def write_reference_mentions(item: MentionsItem) -> str:
    """Return one line per mention, or that there is none."""
    return "\n".join(mention.forms[0] for mention in item.gold) or NO_MENTION


def list_options(item: ChoiceItem, rotation: int = 0) -> str:
    """Return the options with their letters, one per line, in an order rotated by `rotation`: option
    `rotation` comes first.
    """
    rotated = item.options[rotation:] + item.options[:rotation]
    return "\n".join(f"{letter}. {option}" for letter, option in zip(LETTERS, rotated, strict=False))


def letter_of(index: int, item: ChoiceItem, rotation: int = 0) -> str:
    """Return the letter under which option `index` stands in an order rotated by `rotation`."""
    return LETTERS[(index - rotation) % len(item.options)]


def build_task_prompt(task: Task, item: BenchmarkItem, demonstration: BenchmarkItem | None) -> Prompt:
    """Return the prompt of one item, after the task's demonstration where it has one."""
    solved = (task.show(demonstration), task.write_reference(demonstration)) if demonstration else None
    return Prompt(task.instruction, task.show(item), solved)


def build_letter_prompt(task: Task, item: ChoiceItem, rotation: int = 0) -> Prompt:
    """Return the prompt of a choice item with its options listed, to be answered with a letter."""
    return Prompt(LETTER_INSTRUCTION, f"{task.show(item)}\n\n{list_options(item, rotation)}")
