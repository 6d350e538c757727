"""The tasks in one table: source, prompt, metric. Nine are embedded and make up the study; the public sets
stand beside them.
"""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from helpers.errors import StudyError
from helpers.evaluation import metrics
from helpers.evaluation.loaders import load_rows
from helpers.evaluation.sources import SOURCES
from helpers.evaluation.task_prompts import (
    Task,
    show_choice,
    show_evidence,
    show_pair,
    write_reference_medications,
    write_reference_mentions,
    write_reference_option,
)
from helpers.jsonl import read_rows
from helpers.paths import BENCHMARK
from helpers.records import (
    BenchmarkItem,
    ChoiceItem,
    DialogueItem,
    MedicationItem,
    MentionsItem,
    OptionalMentionsItem,
    PronounItem,
    QuestionItem,
)

ALL = "all"  # the nine embedded tasks


_CHOICE = {"schema": ChoiceItem, "write_reference": write_reference_option, "metric": "accuracy"}

TASKS: dict[str, Task] = {
    task.name: task
    for task in (
        Task(
            "exam_choice",
            "qa",
            "MedQA-USMLE",
            instruction="Read the case and answer the question in a few words.",
            show=show_choice,
            **_CHOICE,
        ),
        Task(
            "broad_choice",
            "qa",
            "MedMCQA",
            instruction="Answer the question in a few words.",
            show=show_choice,
            **_CHOICE,
        ),
        Task(
            "abstract_yesnomaybe",
            "qa",
            "PubMedQA",
            instruction="Answer the question from the abstract with yes, no or maybe.",
            show=show_evidence,
            **_CHOICE,
        ),
        Task(
            "evidence_yesno",
            "qa",
            "BioASQ",
            instruction="Answer the question from the evidence with yes or no.",
            show=show_evidence,
            **_CHOICE,
        ),
        Task(
            "sentence_inference",
            "qa",
            "MedNLI",
            instruction="Does the premise entail the hypothesis, contradict it, or neither? Answer "
            "entailment, contradiction or neutral.",
            show=show_pair,
            in_ablation=False,
            **_CHOICE,
        ),
        Task(
            "medication_status",
            "ie",
            "medication status extraction",
            schema=MedicationItem,
            instruction="List every medication in the note, one a line, with its status: active, "
            "discontinued or neither.",
            show=lambda item: item.text,
            write_reference=write_reference_medications,
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
            write_reference=lambda item: item.gold.forms[0],
            metric="exact match",
            score=metrics.score_antecedent,
            max_new_tokens=10,
        ),
        Task(
            "dialogue_to_note",
            "gen",
            "Conv2note",
            schema=DialogueItem,
            instruction="Write the section of the clinical note that follows from the dialogue.",
            show=lambda item: f"{item.text}\n\nSection: {item.section}",
            write_reference=lambda item: item.references[0],
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
            write_reference=lambda item: item.references[0],
            metric="ROUGE-L",
            score=metrics.score_text,
            max_new_tokens=66,
        ),
    )
}


_MENTIONS = {
    "category": "ie",
    "schema": MentionsItem,
    "show": lambda item: item.text,
    "write_reference": write_reference_mentions,
    "metric": "F1",
    "score": metrics.score_mentions,
    "max_new_tokens": 48,
}

PUBLIC_TASKS: dict[str, Task] = {
    task.name: replace(task, source=SOURCES.get(task.name))
    for task in (
        replace(TASKS["exam_choice"], name="medqa"),
        replace(TASKS["broad_choice"], name="medmcqa"),
        replace(TASKS["abstract_yesnomaybe"], name="pubmedqa"),
        replace(TASKS["evidence_yesno"], name="bioasq"),
        replace(TASKS["sentence_inference"], name="mednli"),
        Task(
            name="ncbi_disease",
            stands_for="NCBI disease corpus",
            instruction="List every disease named in the sentence, one a line.",
            **_MENTIONS,
        ),
        Task(
            name="ncbi_disease_all",
            stands_for="NCBI disease corpus, all sentences",
            instruction="List every disease named in the sentence, one a line. If there is none, write none.",
            **_MENTIONS | {"schema": OptionalMentionsItem, "score": metrics.score_optional_mentions},
        ),
        Task(
            name="maccrobat_medications",
            stands_for="MACCROBAT",
            instruction="List every medication named in the sentence, one a line.",
            **_MENTIONS,
        ),
        replace(
            TASKS["pronoun_resolution"],
            name="craft_pronouns",
            stands_for="CRAFT coreference",
            max_new_tokens=16,
        ),
        replace(TASKS["dialogue_to_note"], name="mts_dialog", max_new_tokens=96),
        replace(TASKS["patient_answer"], name="icliniq", max_new_tokens=128),
        replace(
            TASKS["patient_answer"],
            name="medquad",
            stands_for="MedQuAD",
            instruction="Answer the health question.",
            max_new_tokens=128,
        ),
    )
}


def find_task(name: str) -> Task:
    """Return an embedded or public task."""
    return TASKS[name] if name in TASKS else PUBLIC_TASKS[name]


def parse_tasks(names: str) -> list[Task]:
    """Return the tasks, embedded and public, that a comma-separated list names; 'all' stands for the nine
    embedded ones.

    Args:
        names: 'all', or names joined by commas.

    Raises:
        StudyError: a task is unknown, or named twice.
    """
    known = TASKS | PUBLIC_TASKS
    wanted = list(TASKS) if names == ALL else [name.strip() for name in names.split(",")]
    unknown = [name for name in wanted if name not in known]
    if unknown:
        raise StudyError(
            f"`tasks` must be 'all' or some of {', '.join(known)}, joined by commas, but {unknown[0]!r} was "
            "found."
        )
    if twice := next((name for name in wanted if wanted.count(name) > 1), None):
        raise StudyError(f"`tasks` must name each task once, but {twice!r} was found twice. Leave one out.")
    return [known[name] for name in wanted]


def load_items(task: Task, data: Path | None = None) -> tuple[list[BenchmarkItem], BenchmarkItem | None]:
    """Return a task's test items in file order, copies of its demonstration left out, and that demonstration,
    if it is a one-shot task.

    Args:
        task: the task.
        data: folder of the user's files, `<task>.jsonl` in the embedded format or the public release's; None
            for the embedded file, or the hub.

    Raises:
        StudyError: there are no such items, or a one-shot task has no row to show.
    """
    rows = (
        read_rows(BENCHMARK / f"{task.name}.jsonl", task.schema)
        if data is None and task.name in TASKS
        else load_rows(task, data)
    )
    demonstrations = [row for row in rows if row.split == "train"][: task.n_shots]
    solved = {task.show(row) for row in demonstrations}
    tests = [row for row in rows if row.split == "test"]
    items = [row for row in tests if task.show(row) not in solved]
    if not items or len(demonstrations) < task.n_shots:
        lacking = (
            "rows with split 'test'"
            if not items
            else "a row with split 'train', to be shown as the solved example"
        )
        raise StudyError(f"Task {task.name!r} lacks {lacking}. Add one to its file.")
    if n_copies := len(tests) - len(items):
        warnings.warn(
            f"{task.name}: {n_copies} of {len(tests)} test items are left out: they ask what the solved "
            "example asks, whose answer every prompt shows",
            stacklevel=2,
        )
    return items, demonstrations[0] if demonstrations else None


def select_items(items: Sequence[BenchmarkItem], n_items: int) -> list[BenchmarkItem]:
    """Draw at most `n_items` items by hash (sha256 of the id): the same ones for every model, a smaller draw
    part of a larger one.
    """
    return sorted(items, key=lambda item: hashlib.sha256(item.id.encode()).digest())[:n_items]
