"""The nine tasks in one table: data, prompt, demonstration, metric."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Callable, Sequence
from typing import Any, Literal

from helpers.errors import StudyError
from helpers.evaluation import metrics
from helpers.paths import BENCHMARK
from helpers.prompts import build_prompt
from helpers.records import BenchmarkItem, ChoiceItem, DialogueItem, MedicationItem, PronounItem, QuestionItem, read_rows

ALL = "all"


@dataclasses.dataclass(frozen=True)
class Task:
    """One benchmark task.

    Attributes:
        name: name of the task and of its file in `seeds/benchmark/`.
        category: the category of instructions that it belongs to.
        mirrors: the task of the paper in whose place it stands.
        schema: schema of its rows.
        instruction: what the model is asked to do.
        show: turns an item into the input of its prompt.
        answer: turns an item into its ideal response.
        score: (response, item) to a score in 0..1 and whether the response could be parsed; choice tasks have none.
        metric: name of the score, for tables.
        max_new_tokens: longest response.
        in_ablation: False for sentence pairs, which the paper leaves out of its ablation.
    """

    name: str
    category: Literal["qa", "ie", "gen"]
    mirrors: str
    schema: type[BenchmarkItem]
    instruction: str
    show: Callable[[Any], str]
    answer: Callable[[Any], str]
    metric: str
    score: Callable[[str, Any], tuple[float, bool]] | None = None
    max_new_tokens: int = 0
    in_ablation: bool = True

    @property
    def is_choice(self) -> bool:
        """Whether the model ranks listed options; otherwise it writes."""
        return self.score is None


def show_choice(item: ChoiceItem) -> str:
    """Return context and question.

    The options are not listed: models of this size rank a list by its order. Each option is scored as the continuation instead (cloze form; Gu et al., 2024).
    """
    return "\n\n".join(part for part in (item.context, item.question) if part)


def show_pair(item: ChoiceItem) -> str:
    """Return the two sentences of an inference item."""
    return f"Premise: {item.context}\nHypothesis: {item.question}"


def show_evidence(item: ChoiceItem) -> str:
    """Return a text and the question about it, whose options the instruction names."""
    return f"{item.context}\n\nQuestion: {item.question}"


def answer_choice(item: ChoiceItem) -> str:
    """Return the right option."""
    return item.options[item.answer]


def answer_medications(item: MedicationItem) -> str:
    """Return one line a medication, `name: status`."""
    return "\n".join(f"{medication.forms[0]}: {medication.status}" for medication in item.gold)


_CHOICE = {"schema": ChoiceItem, "answer": answer_choice, "metric": "accuracy"}

TASKS: dict[str, Task] = {
    task.name: task
    for task in (
        Task("exam_choice", "qa", "MedQA-USMLE", instruction="Read the case and answer the question in a few words.", show=show_choice, **_CHOICE),
        Task("broad_choice", "qa", "MedMCQA", instruction="Answer the question in a few words.", show=show_choice, **_CHOICE),
        Task(
            "abstract_yesnomaybe",
            "qa",
            "PubMedQA",
            instruction="Answer the question from the abstract with yes, no or maybe.",
            show=show_evidence,
            **_CHOICE,
        ),
        Task("evidence_yesno", "qa", "BioASQ", instruction="Answer the question from the evidence with yes or no.", show=show_evidence, **_CHOICE),
        Task(
            "sentence_inference",
            "qa",
            "MedNLI",
            instruction="Does the premise entail the hypothesis, contradict it, or neither? Answer entailment, contradiction or neutral.",
            show=show_pair,
            in_ablation=False,
            **_CHOICE,
        ),
        Task(
            "medication_status",
            "ie",
            "medication status extraction",
            schema=MedicationItem,
            instruction="List every medication in the note, one a line, with its status: active, discontinued or neither.",
            show=lambda item: item.text,
            answer=answer_medications,
            metric="F1",
            score=metrics.score_medications,
            max_new_tokens=36,
        ),
        Task(
            "pronoun_resolution",
            "ie",
            "clinical coreference resolution",
            schema=PronounItem,
            instruction="What does the pronoun stand for? Answer with the words of the note.",
            show=lambda item: f"{item.text}\n\nPronoun: {item.pronoun}",
            answer=lambda item: item.gold.forms[0],
            metric="exact match",
            score=metrics.score_mention,
            max_new_tokens=10,
        ),
        Task(
            "dialogue_to_note",
            "gen",
            "Conv2note",
            schema=DialogueItem,
            instruction="Write the section of the clinical note that follows from the dialogue.",
            show=lambda item: f"{item.text}\n\nSection: {item.section}",
            answer=lambda item: item.references[0],
            metric="ROUGE-L",
            score=metrics.score_text,
            max_new_tokens=56,
        ),
        Task(
            "patient_answer",
            "gen",
            "ICliniq",
            schema=QuestionItem,
            instruction="Answer the patient's question kindly and safely, in two or three sentences.",
            show=lambda item: item.text,
            answer=lambda item: item.references[0],
            metric="ROUGE-L",
            score=metrics.score_text,
            max_new_tokens=66,
        ),
    )
}


def parse_tasks(names: str) -> list[Task]:
    """Return the tasks that a comma-separated list names, or all of them.

    Raises:
        StudyError: a task is unknown.
    """
    wanted = list(TASKS) if names == ALL else [name.strip() for name in names.split(",")]
    unknown = [name for name in wanted if name not in TASKS]
    if unknown:
        raise StudyError(f"`tasks` must be 'all' or some of {', '.join(TASKS)}, joined by commas, but {unknown[0]!r} was found.")
    return [TASKS[name] for name in wanted]


def load_items(task: Task) -> tuple[list[BenchmarkItem], BenchmarkItem | None]:
    """Return a task's test items in file order, and its demonstration if it is a one-shot task."""
    rows = read_rows(BENCHMARK / f"{task.name}.jsonl", task.schema)
    demonstrations = [row for row in rows if row.split == "train"]
    return [row for row in rows if row.split == "test"], demonstrations[0] if demonstrations else None


def select_items(items: Sequence[BenchmarkItem], n_items: int) -> list[BenchmarkItem]:
    """Draw at most `n_items` items by lot (sha256 of the id): the same ones for every model, a smaller draw part of a larger one."""
    return sorted(items, key=lambda item: hashlib.sha256(item.id.encode()).digest())[:n_items]


def build_task_prompt(task: Task, item: BenchmarkItem, demonstration: BenchmarkItem | None) -> str:
    """Return the prompt of one item, after the task's demonstration where it has one.

    QA is zero-shot, extraction and generation are one-shot (paper, section "Evaluation").
    """
    solved = (task.show(demonstration), task.answer(demonstration)) if demonstration else None
    return build_prompt(task.instruction, task.show(item), solved)
