"""The loss of the right answer: given the very prompt that a model answers, how likely is the reference
answer?

One forward pass per item, and no generation. A score is coarse where models are small; the likelihood of the
right answer moves with every row of training (Heineman et al., 2025, "Signal and Noise"). It is kept in
parts: the *text* of the answer, the *end* (the end of text after it), and for choice tasks the *choice* (nats
of the right option among all). This separates form (when to stop) from content (which text).

The reference is the item's ideal response, as a demonstration would show it: of several references the first.
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from helpers.errors import StudyError
from helpers.evaluation.choice import score_tokens
from helpers.evaluation.merging import SharedBase, find_adapter
from helpers.evaluation.partial import PartialResults
from helpers.evaluation.prepared_tasks import PreparedTask, prepare_tasks
from helpers.evaluation.settings import EvaluationSettings
from helpers.files import write_text
from helpers.jsonl import dump_rows, read_json_lines
from helpers.models.adapters import identify_adapter
from helpers.models.forward import check_lengths
from helpers.models.load import describe_format, identify_model
from helpers.progress import track
from helpers.prompts import Prompt
from helpers.store import Run, run_stage

if TYPE_CHECKING:
    import pandas as pd
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

LOSSES = "losses.jsonl"
PARTIAL = ".tokens.jsonl"  # hidden: the manifest leaves it out
BATCH_SIZE = 8
VERSION = 3


def measure_answer_loss(
    settings: EvaluationSettings,
    n_items: int,
    adapter: Run | Path | None = None,
    data: Path | None = None,
    base: SharedBase | None = None,
) -> list[Run]:
    """Measure the loss of the right answers to each task's items; every task is stored on its own.

    Args:
        settings: model, tasks, number format.
        n_items: items per task, at most.
        adapter: a tuning run or the folder of an adapter; None for the model as it is.
        data: folder of the user's files; None for the embedded files, or the hub.
        base: the loaded model, shared by several measurements; None to load it where it is needed.

    Returns:
        A run per task with `losses.jsonl`, one row per item: task, category, item, text and end (nats of
        the answer's tokens, and of the end of text after it), n_text_tokens and n_text_bytes (of the answer,
        the end of text aside), choice and calibrated (nats of the right option among all, as it is and with
        the options' prior taken off; None where the task has no options).

    Raises:
        StudyError: the model's tokenizer has no end of text, a reference is empty, or a loss is not a number.
    """
    prepared_tasks = prepare_tasks(dataclasses.replace(settings, n_items=n_items), data)
    prepared_tasks = [dataclasses.replace(one, by_letter=False, permute=False) for one in prepared_tasks]
    base = base or SharedBase(settings.model, settings.dtype, keeps_weights=False)
    folder = find_adapter(adapter)
    model, tuned = identify_model(base.name), identify_adapter(folder)
    runs = []
    with track(
        f"answer loss of the {'tuned' if folder else 'base'} model", len(prepared_tasks), "tasks"
    ) as advance:
        for prepared in prepared_tasks:
            inputs = {
                "items": prepared.digest,
                "shown": prepared.shown_digest,
                "model": model,
                "adapter": tuned,
            }
            inputs |= describe_format(base.dtype)
            runs.append(_measure_task(prepared, base, folder, inputs))
            advance(note=prepared.task.name)
    return runs


def _measure_task(
    prepared: PreparedTask, base: SharedBase, adapter: Path | None, inputs: dict[str, str]
) -> Run:
    def compute(folder: Path) -> dict[str, Any]:
        rows = measure_losses(base.merge(adapter), base.tokenizer, prepared, PartialResults(folder / PARTIAL))
        write_text(folder / LOSSES, dump_rows(rows))
        (folder / PARTIAL).unlink(missing_ok=True)
        return {"n_items": len(rows)}

    asked = {"task": prepared.task.name} | prepared.prompt_format.describe()
    return run_stage("answer_loss", asked, inputs, VERSION, compute)


def measure_losses(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    prepared: PreparedTask,
    partial: PartialResults | None = None,
) -> list[dict[str, Any]]:
    """Return the losses of a task's items, as `measure_answer_loss` stores them.

    Choice tasks also ask for the options after an empty question: their shares there are the options' prior
    (contextual calibration; Zhao et al., 2021).
    """
    prompts = [
        prepared.prompt_format.encode(tokenizer, prepared.build_prompts(item)[0]) for item in prepared.items
    ]
    answers = [encode_answers(tokenizer, prepared, item) for item in prepared.items]
    asked = list(zip(prompts, answers, strict=True))
    lengths = [len(prompt) + max(map(len, options)) for prompt, options in asked]
    check_lengths(model.config, lengths, f"prompts with answers of {prepared.task.name!r}")
    found = score_tokens(model, asked, BATCH_SIZE, partial)
    priors = [None] * len(asked)
    if prepared.task.is_choice:
        empty = prepared.prompt_format.encode(tokenizer, Prompt(prepared.task.instruction))
        priors = _score_priors(model, empty, answers)
    return [
        _describe_item(prepared, item, scores, prior)
        for item, scores, prior in zip(prepared.items, found, priors, strict=True)
    ]


def _score_priors(
    model: PreTrainedModel, empty: list[int], answers: Sequence[list[list[int]]]
) -> list[list[list[float]]]:
    """Return the log-likelihoods of the options' tokens after an empty question, equal options scored once.

    They are scored separately, so that the prompts of the items keep their common beginning.
    """
    keys = [json.dumps(options) for options in answers]
    different = dict(zip(keys, answers, strict=True))
    scores = score_tokens(model, [(empty, options) for options in different.values()], BATCH_SIZE)
    by_key = dict(zip(different, scores, strict=True))
    return [by_key[key] for key in keys]


def encode_answers(tokenizer: PreTrainedTokenizerBase, prepared: PreparedTask, item: Any) -> list[list[int]]:
    """Return the ids of an item's possible answers, each with the end of text: its options, or its reference.

    Raises:
        StudyError: the tokenizer has no end of text, or an answer is empty.
    """
    texts = item.options if prepared.task.is_choice else [prepared.task.write_reference(item)]
    if not all(text.strip() for text in texts):
        raise StudyError(
            f"Every reference answer must hold text, but an empty one was found ({prepared.task.name}, item "
            f"{item.id}). Fix or remove that item."
        )
    return [prepared.prompt_format.encode_response(tokenizer, text) for text in texts]


def _describe_item(
    prepared: PreparedTask,
    item: Any,
    scores: Sequence[Sequence[float]],
    prior: Sequence[Sequence[float]] | None,
) -> dict[str, Any]:
    right = scores[item.answer if prepared.task.is_choice else 0]
    if not all(map(math.isfinite, (value for tokens in scores for value in tokens))):
        raise StudyError(
            f"A loss must be a finite number, but {sum(right)} was found ({prepared.task.name}, item "
            f"{item.id}). The model's weights are broken, or its number format is too narrow: try "
            "dtype=float32."
        )
    row = {
        "task": prepared.task.name,
        "category": prepared.task.category,
        "item": item.id,
        "text": round(-sum(right[:-1]), 5),
        "end": round(-right[-1], 5),
        "n_text_tokens": len(right) - 1,
        "n_text_bytes": len(prepared.task.write_reference(item).strip().encode()),
    }
    if not prepared.task.is_choice:
        return row | {"choice": None, "calibrated": None}
    from scipy.special import log_softmax

    means = [sum(tokens[:-1]) / (len(tokens) - 1) for tokens in scores]
    empty = [sum(tokens[:-1]) / (len(tokens) - 1) for tokens in prior]
    freed = [mean - before for mean, before in zip(means, empty, strict=True)]
    losses = {"choice": means, "calibrated": freed}
    return row | {name: round(-float(log_softmax(values)[item.answer]), 5) for name, values in losses.items()}


def read_answer_losses(runs: Sequence[Run]) -> pd.DataFrame:
    """Return one row per item of several runs: task, category, item, text, end, n_text_tokens,
    n_text_bytes, choice, calibrated.
    """
    import pandas as pd

    rows = [row for run in runs for row in read_json_lines(run.file(LOSSES))]
    return pd.DataFrame(rows).astype({"choice": float, "calibrated": float})


def average_losses(losses: pd.DataFrame) -> pd.DataFrame:
    """Return the mean losses of each model on each task, every item counting the same: cell, task, loss (nats
    a token, end of text included), bits_per_byte (of the text; models of different tokenizers share it),
    end, choice, calibrated (nats), n.

    Args:
        losses: rows of `read_answer_losses` with the model's name in the column `cell`.
    """
    table = losses.assign(
        loss=(losses["text"] + losses["end"]) / (losses["n_text_tokens"] + 1),
        bits_per_byte=losses["text"] / losses["n_text_bytes"] / math.log(2),
        n=1,
    )
    means = ("loss", "bits_per_byte", "end", "choice", "calibrated")
    groups = table.groupby(["task", "cell"], sort=False)
    return groups.agg(dict.fromkeys(means, "mean") | {"n": "sum"}).reset_index()
