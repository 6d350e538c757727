"""BLEURT: the score that a model trained on people's ratings gives a text beside its reference (Sellam et
al., 2020).

The checkpoint is named by the user: one that transformers reads with its own classes from safetensors, a BERT
with one output, such as `Elron/bleurt-base-512@refs/pr/1` of the hub, or a folder. BLEURT-20 is not: it needs
classes from outside, and no code from a repository runs here. Scores have no fixed range, and compare with
those of the same checkpoint alone.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any

from helpers.errors import StudyError
from helpers.evaluation.bertscore import measure_pairs
from helpers.evaluation.settings import EvaluationSettings
from helpers.models.fast_matmul import enable_fast_matmul
from helpers.models.hub import first_line
from helpers.models.load import (
    choose_device,
    describe_format,
    identify_model,
    load_config,
    load_from,
    load_tokenizer,
)
from helpers.store import Run

BATCH_SIZE = 16
VERSION = 1
REMEDY = (
    "Name a BLEURT checkpoint that transformers reads with its own classes, such as "
    "Elron/bleurt-base-512@refs/pr/1"
)


def check_scorer(name: str) -> None:
    """Raise StudyError unless a checkpoint is of a kind that transformers has itself and gives one number."""
    try:
        n_outputs = load_config(name).num_labels
    except ValueError as error:
        raise StudyError(f"The checkpoint {name!r} cannot be read: {first_line(error)} {REMEDY}.") from None
    if n_outputs != 1:
        raise StudyError(
            f"A BLEURT checkpoint must give one number, but {name!r} gives {n_outputs}. {REMEDY}."
        )


def load_scorer(name: str) -> tuple[Any, Any]:
    """Return a checkpoint's model and tokenizer, loaded once as long as they stay what they are.

    Raises:
        StudyError: it cannot be had, or lacks weights, such as a model that was never trained to give scores.
    """
    return _load_scorer(name, identify_model(name))


@lru_cache(maxsize=1)
def _load_scorer(name: str, _identity: str) -> tuple[Any, Any]:
    from transformers import AutoModelForSequenceClassification
    from transformers.utils import logging

    logging.disable_progress_bar()
    enable_fast_matmul()
    check_scorer(name)
    model, info = load_from(
        name,
        AutoModelForSequenceClassification.from_pretrained,
        use_safetensors=True,
        trust_remote_code=False,
        output_loading_info=True,
    )
    if info["missing_keys"]:
        raise StudyError(
            f"The checkpoint {name!r} lacks {len(info['missing_keys'])} weights "
            f"({min(info['missing_keys'])}, ...). {REMEDY}."
        )
    return model.to(choose_device()[0]).eval(), load_tokenizer(name)


def score_pairs(name: str, pairs: list[tuple[str, str]]) -> list[float]:
    """Return the score of each (text, reference); the model reads the reference first, and what is too long
    is cut at the longer of the two.
    """
    import torch

    model, tokenizer = load_scorer(name)
    order = sorted(range(len(pairs)), key=lambda index: sum(map(len, pairs[index])))
    scores: dict[int, float] = {}
    for start in range(0, len(order), BATCH_SIZE):
        part = order[start : start + BATCH_SIZE]
        texts, references = zip(*(pairs[index] for index in part), strict=True)
        limit = model.config.max_position_embeddings
        batch = tokenizer(
            list(references),
            list(texts),
            padding=True,
            truncation=True,
            max_length=limit,
            return_tensors="pt",
        ).to(model.device)
        with torch.inference_mode():
            scores |= zip(part, model(**batch).logits[:, 0].float().tolist(), strict=True)
    return [scores[index] for index in range(len(pairs))]


def measure_bleurt(name: str, settings: EvaluationSettings, evaluation: Run, data: Path | None = None) -> Run:
    """Measure the BLEURT of every generated text of an evaluation, from its stored answers.

    Returns:
        A run with `measured.jsonl`: task, item, bleurt (the highest over the references).
    """
    return measure_pairs(
        "bleurt",
        {"checkpoint": identify_model(name)} | describe_format("float32"),
        VERSION,
        (settings, evaluation, data),
        lambda pairs: score_pairs(name, pairs),
    )
