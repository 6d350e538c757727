"""Which held-out rows are measured, and the loss on them: how well a model predicts responses to rows that it
was not tuned on, category by category. Tuned on one category and measured on every other, it is the plainest
transfer matrix there is.
"""

from __future__ import annotations

import csv
import hashlib
import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from helpers.errors import StudyError
from helpers.evaluation.merging import SharedBase, find_adapter
from helpers.evaluation.partial import PartialResults, plan_batches
from helpers.evaluation.settings import EvaluationSettings
from helpers.files import sha256_file
from helpers.jsonl import read_rows
from helpers.models.adapters import identify_adapter
from helpers.models.load import describe_format, identify_model
from helpers.progress import track
from helpers.prompts import PAPERS_FORMAT, PromptFormat
from helpers.records import HELD_OUT_PREFIX, Instruction
from helpers.store import Run, run_stage
from helpers.tuning.lengths import limit_tokens
from helpers.tuning.rows import IGNORED, EncodedRow, collate, encode_row
from helpers.tuning.step import predict_responses

if TYPE_CHECKING:
    import pandas as pd
    import torch
    from transformers import PreTrainedModel

LOSSES = "losses.csv"
PARTIAL = ".losses.jsonl"
BATCH_SIZE = 8
COLUMNS = ("id", "category", "text", "end", "n_text_tokens", "n_text_bytes")
VERSION = 3


def measure_held_out(
    settings: EvaluationSettings,
    n_rows: int,
    adapter: Run | Path | None,
    rows_file: Path,
    categories: Sequence[str],
    max_tokens: int,
    base: SharedBase | None = None,
) -> Run:
    """Measure the loss of a model on held-out rows; base and tuned models get the very same ones.

    Args:
        settings: model, number format.
        n_rows: rows per category, at most.
        adapter: a tuning run or the folder of an adapter; None for the model as it is.
        rows_file: held-out rows (JSONL).
        categories: of the rows that are measured; others are left aside.
        max_tokens: longest row; longer ones, and those beyond the model's positions, are left out, as in
            tuning.
        base: the loaded model, shared by several measurements; None to load it where it is needed.

    Returns:
        A run with `losses.csv`: id (of the row), category, text and end (nats: of the response's tokens,
        and of the end of text after it), n_text_tokens and n_text_bytes (of the response, the end of text
        aside).
    """
    base = base or SharedBase(settings.model, settings.dtype, keeps_weights=False)
    folder = find_adapter(adapter)
    prompt_format = PromptFormat.from_settings(settings)
    inputs = {
        "rows": sha256_file(rows_file),
        "model": identify_model(settings.model),
        "adapter": identify_adapter(folder),
    }

    def compute(path: Path) -> dict[str, Any]:
        # before its tokenizer is asked for: a model that was saved anew has another
        model = base.merge(folder)
        read = [row for row in read_rows(rows_file, Instruction) if row.category in categories]
        longest = limit_tokens(settings.model, max_tokens)
        drawn = draw_held_out(read, n_rows, base.tokenizer, longest, prompt_format)
        losses = measure_text_and_end(model, [row for _, row in drawn], PartialResults(path / PARTIAL))
        with (path / LOSSES).open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(COLUMNS)
            writer.writerows(
                _list_fields(row, encoded, loss) for (row, encoded), loss in zip(drawn, losses, strict=True)
            )
        (path / PARTIAL).unlink(missing_ok=True)
        return {"n_rows": len(drawn)}

    asked = {"n_rows": n_rows, "categories": sorted(categories), "max_tokens": max_tokens}
    asked |= describe_format(base.dtype) | prompt_format.describe()
    return run_stage("held_out", asked, inputs, VERSION, compute)


def draw_held_out(
    rows: Iterable[Instruction],
    n_rows: int,
    tokenizer: Any,
    max_tokens: int,
    prompt_format: PromptFormat = PAPERS_FORMAT,
) -> list[tuple[Instruction, EncodedRow]]:
    """Draw at most `n_rows` rows of each category by hash, a smaller draw part of a larger one, and leave
    out those of over `max_tokens`; categories in alphabetical order.
    """
    by_category: dict[str, list[Instruction]] = {}
    for row in sorted(rows, key=lambda row: hashlib.sha256(row.id.encode()).digest()):
        by_category.setdefault(row.category, []).append(row)
    drawn = []
    for category in sorted(by_category):
        encoded = ((row, encode_row(tokenizer, row, prompt_format)) for row in by_category[category])
        fitting = (pair for pair in encoded if len(pair[1].input_ids) <= max_tokens)
        drawn += [pair for pair, _ in zip(fitting, range(n_rows), strict=False)]
    return drawn


def _list_fields(row: Instruction, encoded: EncodedRow, loss: tuple[float, float]) -> list[Any]:
    text, end = loss
    if not math.isfinite(text + end):
        raise StudyError(
            f"A loss must be a finite number, but {text + end} was found (held-out row {row.id}). The "
            "model's weights are broken, or its number format is too narrow: try dtype=float32."
        )
    n_bytes = len(row.output.strip().encode())
    return [row.id, row.category, round(text, 5), round(end, 5), encoded.n_response - 1, n_bytes]


def measure_text_and_end(
    model: PreTrainedModel, rows: Sequence[EncodedRow], partial: PartialResults | None = None
) -> list[tuple[float, float]]:
    """Return the cross-entropy of each row's response, summed over its tokens, and that of the end of text
    after it, in nats.
    """
    import torch

    losses = PartialResults() if partial is None else partial
    batches = plan_batches([len(row.input_ids) for row in rows], BATCH_SIZE)
    with torch.inference_mode(), track("held-out rows", len(batches), "batches") as advance:

        def measure(batch: Sequence[int]) -> list[list[float]]:
            advance()
            return _measure_batch(model, [rows[index] for index in batch]).tolist()

        return [tuple(pair) for pair in losses.fill(batches, measure)]


def _measure_batch(model: PreTrainedModel, rows: Sequence[EncodedRow]) -> torch.Tensor:
    """Return (response, end of text) of each row, shape (rows, 2), nats."""
    import torch

    logits, targets = predict_responses(model, collate(rows))
    counted = targets != IGNORED
    losses = torch.zeros(targets.shape, device=targets.device)
    losses[counted] = torch.nn.functional.cross_entropy(logits, targets[counted], reduction="none")
    last = torch.tensor([len(row.input_ids) - 2 for row in rows], device=targets.device)
    end = losses[torch.arange(len(rows), device=targets.device), last]
    return torch.stack([losses.sum(dim=1) - end, end], dim=1)


def read_held_out(run: Run) -> pd.DataFrame:
    """Return the losses in the form of `answer_loss.read_answer_losses`: the rows of category c are the items
    of the task `held_out_c`.
    """
    import pandas as pd

    names = {"id": str, "category": str}
    table = pd.read_csv(run.file(LOSSES), dtype=names, keep_default_na=False)  # a name may be "NA"
    return table.rename(columns={"id": "item"}).assign(task=HELD_OUT_PREFIX + table["category"])
