"""The evaluation stage: a model, with or without an adapter, on the tasks; raw outputs first, then scores."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from helpers.evaluation.choice import score_options
from helpers.evaluation.concepts import LEXICON
from helpers.evaluation.generation import generate_greedily
from helpers.evaluation.merging import SharedBase, find_adapter
from helpers.evaluation.metrics import score_choice
from helpers.evaluation.partial import PartialResults
from helpers.evaluation.prepared_tasks import (
    PreparedTask,
    encode_options,
    prepare_tasks,
    warn_of_references,
)
from helpers.evaluation.settings import EvaluationSettings
from helpers.files import sha256_file, write_text
from helpers.jsonl import dump_rows, read_json_lines
from helpers.models.adapters import identify_adapter
from helpers.models.forward import check_lengths
from helpers.models.load import describe_format, identify_model
from helpers.progress import track
from helpers.records import BenchmarkItem
from helpers.store import Run, run_stage

if TYPE_CHECKING:
    import pandas as pd
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from helpers.prompts import PromptFormat

ITEMS = "items.jsonl"
ANSWERS = "answers.jsonl"
PARTIAL = ".answers.jsonl"  # hidden: the manifest leaves it out
MEASURED = "measured.jsonl"
BATCH_SIZE = 32
CHOICE_BATCH_SIZE = 8
ANSWERS_VERSION = 3
SCORES_VERSION = 7


def evaluate(
    settings: EvaluationSettings,
    adapter: Run | Path | None = None,
    data: Path | None = None,
    base: SharedBase | None = None,
) -> Run:
    """Evaluate a model on tasks: its raw answers are stored first, so that scoring can be redone without the
    model.

    Args:
        settings: model, tasks, items.
        adapter: a tuning run or the folder of any adapter that plain PEFT reads; None for the model as it is.
        data: folder of the user's files; None for the embedded files, or the hub.
        base: the loaded model, shared by several evaluations; None to load it where it is needed.

    Returns:
        A run with `items.jsonl`: one row per item, with the model's response, the part of it that is scored
        (`answer`), its score in 0..1, whether it could be parsed, and the task's further measures.
    """
    prepared_tasks = prepare_tasks(settings, data)
    answers = answer_tasks(
        prepared_tasks,
        base or SharedBase(settings.model, settings.dtype, keeps_weights=False),
        find_adapter(adapter),
    )

    def compute(folder: Path) -> dict[str, Any]:
        rows = [
            row
            for prepared, run in zip(prepared_tasks, answers, strict=True)
            for row in score_answers(prepared, run.file(ANSWERS))
        ]
        write_text(folder / ITEMS, dump_rows(rows))
        return {
            "n_items": len(rows),
            "answer_seconds": round(sum(run.manifest["seconds"] for run in answers), 2),
        }

    inputs = {
        prepared.task.name: run.fingerprint for prepared, run in zip(prepared_tasks, answers, strict=True)
    }
    inputs |= {f"items of {prepared.task.name}": prepared.digest for prepared in prepared_tasks}
    inputs[LEXICON.name] = sha256_file(LEXICON)
    settings = dataclasses.replace(settings, dtype=describe_format(settings.dtype)["dtype"])
    return run_stage("evaluation", settings, inputs, SCORES_VERSION, compute)


def answer_tasks(prepared_tasks: Sequence[PreparedTask], base: SharedBase, adapter: Path | None) -> list[Run]:
    """Let a model answer each task; every task is stored on its own, so that an interrupted evaluation goes
    on where it was.
    """
    inputs = {"model": identify_model(base.name), "adapter": identify_adapter(adapter)}
    inputs |= describe_format(base.dtype)
    runs = []
    with track(f"evaluate {'tuned' if adapter else 'base'} model", len(prepared_tasks), "tasks") as advance:
        for prepared in prepared_tasks:
            runs.append(answer_task(prepared, base, adapter, inputs))
            advance(note=prepared.task.name)
    return runs


def answer_task(
    prepared: PreparedTask, base: SharedBase, adapter: Path | None, inputs: dict[str, str]
) -> Run:
    """Let a model answer one task, or load its answers; an interrupted run goes on with the batch it had
    reached.
    """

    def compute(folder: Path) -> dict[str, Any]:
        answers = answer_items(
            base.merge(adapter), base.tokenizer, prepared, PartialResults(folder / PARTIAL)
        )
        write_text(
            folder / ANSWERS,
            dump_rows({"id": item.id} | answer for item, answer in zip(prepared.items, answers, strict=True)),
        )
        (folder / PARTIAL).unlink(missing_ok=True)
        return {"n_items": len(prepared.items)}

    settings = {
        "task": prepared.task.name,
        "by_letter": prepared.by_letter,
        "permute": prepared.permute,
        "max_new_tokens": prepared.task.max_new_tokens,
    } | prepared.prompt_format.describe()
    return run_stage("answers", settings, inputs | {"shown": prepared.shown_digest}, ANSWERS_VERSION, compute)


def answer_items(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    prepared: PreparedTask,
    partial: PartialResults | None = None,
) -> list[dict[str, Any]]:
    """Return a model's raw answers: log-likelihoods of the options for each order they were shown in, or the
    text that it wrote.
    """
    prompts = [
        [prepared.prompt_format.encode(tokenizer, prompt) for prompt in prepared.build_prompts(item)]
        for item in prepared.items
    ]
    what = f"prompts of {prepared.task.name!r}"
    if not prepared.task.is_choice:
        lengths = [len(prompt) + prepared.task.max_new_tokens for (prompt,) in prompts]
        check_lengths(model.config, lengths, what)
        warn_of_references(tokenizer, prepared)
        ids = generate_greedily(
            model,
            [prompt for (prompt,) in prompts],
            prepared.task.max_new_tokens,
            list_ends(model, tokenizer, prepared.prompt_format),
            BATCH_SIZE,
            partial,
        )
        return [{"response": tokenizer.decode(answer, skip_special_tokens=True)} for answer in ids]
    branches = [
        (prompt, encode_options(tokenizer, prepared, item, rotation))
        for item, rotations in zip(prepared.items, prompts, strict=True)
        for rotation, prompt in enumerate(rotations)
    ]
    lengths = [len(prompt) + max(map(len, options)) for prompt, options in branches]
    check_lengths(model.config, lengths, what)
    scores = iter(score_options(model, branches, CHOICE_BATCH_SIZE, partial))
    return [{"loglikelihoods": [next(scores) for _ in rotations]} for rotations in prompts]


def list_ends(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, prompt_format: PromptFormat
) -> list[int]:
    """Return the ids at which a written answer ends: that of the prompt's format first, then those at which
    the model itself stops (its generation settings), such as the end of a turn.
    """
    own = model.generation_config.eos_token_id if model.generation_config else None
    own = [] if own is None else own if isinstance(own, list) else [own]
    return list(dict.fromkeys([prompt_format.find_end(tokenizer), *own]))


def score_answers(prepared: PreparedTask, answers: Path) -> list[dict[str, Any]]:
    """Score stored answers; needs no model."""
    return [
        _score_item(prepared, item, answer)
        for item, answer in zip(prepared.items, read_json_lines(answers), strict=True)
    ]


def _score_item(prepared: PreparedTask, item: BenchmarkItem, answer: dict[str, Any]) -> dict[str, Any]:
    task = prepared.task
    if task.is_choice:
        measures = score_choice(answer["loglikelihoods"], item)
    else:
        response = answer["response"]
        text = prepared.cut(response)
        own = {"response": response, "answer": text, "n_words": len(text.split())}
        measures = task.score(text, item) | own
    return {
        "task": task.name,
        "category": task.category,
        "item": item.id,
        "difficulty": item.difficulty,
    } | measures


def evaluate_adapters(
    settings: EvaluationSettings, adapters: Mapping[str, Path | None], data: Path | None = None
) -> dict[str, Run]:
    """Evaluate several adapters, by name, on one loaded base; None stands for the base as it is. Scores equal
    those of each adapter alone.
    """
    # a wrong one is refused before anything runs
    folders = {name: find_adapter(adapter) for name, adapter in adapters.items()}
    base = SharedBase(settings.model, settings.dtype)
    return {name: evaluate(settings, folder, data, base) for name, folder in folders.items()}


def read_items(runs: Mapping[str, Run], measured: Mapping[str, Sequence[Run]] | None = None) -> pd.DataFrame:
    """Return one row per item and model: cell (the model's name), task, category, item, difficulty, score
    (0..1), parsed, response, further measures.

    Args:
        runs: evaluation of each model by its name.
        measured: by the same names, runs that measured the answers further (`measured.jsonl`); their columns
            are added.
    """
    import pandas as pd

    frames = []
    for name, run in runs.items():
        frame = pd.DataFrame(read_json_lines(run.file(ITEMS)))
        for further in (measured or {}).get(name, ()):
            frame = frame.merge(read_measured(further), on=["task", "item"], how="left")
        frames.append(frame.assign(cell=name))
    return pd.concat(frames, ignore_index=True)


def read_measured(run: Run) -> pd.DataFrame:
    """Return what a run has measured of answers, one row per item: task, item, and its measures; no row where
    no task has generated texts.
    """
    import pandas as pd

    return pd.DataFrame(read_json_lines(run.file(MEASURED)) or {"task": [], "item": []})
