"""The loss on held-out rows: how well a model predicts responses of the kind it was tuned on, from rows it
was not.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from helpers.errors import StudyError
from helpers.evaluation.adapters import SharedBase, find_adapter
from helpers.evaluation.stage import EvaluationSettings
from helpers.jsonl import read_rows
from helpers.models.adapters import identify_adapter
from helpers.models.load import choose_device, identify_model
from helpers.progress import track
from helpers.prompts import PromptFormat
from helpers.records import Instruction
from helpers.store import Run, run_stage, sha256_file
from helpers.tuning.rows import IGNORED, EncodedRow, collate, encode_rows
from helpers.tuning.step import predict_responses

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel

LOSSES = "losses.csv"
BATCH_SIZE = 4
VERSION = 1


def measure_held_out(
    settings: EvaluationSettings, adapter: Run | Path | None, rows: Path, max_tokens: int
) -> Run:
    """Measure the loss of a model on the first `n_items` rows by id of a file of instructions; base and tuned
    model get the very same rows.

    Args:
        settings: model, number format, number of rows.
        adapter: a tuning run or the folder of an adapter; None for the model as it is.
        rows: held-out rows (JSONL).
        max_tokens: longest row; longer ones are left out, as in tuning.

    Returns:
        A run with `losses.csv`: id, nats (summed over the response and the end of text), tokens (of these).
    """
    folder = find_adapter(adapter)
    device, dtype = choose_device(settings.dtype)
    form = PromptFormat.from_settings(settings)
    inputs = {
        "rows": sha256_file(rows),
        "model": identify_model(settings.model),
        "adapter": identify_adapter(folder),
    }

    def compute(path: Path) -> dict[str, Any]:
        base = SharedBase(settings.model, settings.dtype, keeps_weights=False)
        drawn = sorted(read_rows(rows, Instruction), key=lambda row: row.id)
        encoded = dict(list(encode_rows(base.tokenizer, drawn, max_tokens, form).items())[: settings.n_items])
        losses = sum_losses(base.merge(folder), list(encoded.values()))
        with (path / LOSSES).open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(["id", "nats", "tokens"])
            writer.writerows(
                [row_id, round(nats, 4), row.n_response]
                for (row_id, row), nats in zip(encoded.items(), losses, strict=True)
            )
        return {"n_rows": len(encoded)}

    return run_stage(
        "held_out",
        {"n_rows": settings.n_items, "max_tokens": max_tokens, "device": device, "dtype": dtype}
        | form.describe(),
        inputs,
        VERSION,
        compute,
    )


def sum_losses(model: PreTrainedModel, rows: Sequence[EncodedRow]) -> list[float]:
    """Return the cross-entropy of each row's response, end of text included, summed over its
    tokens, in nats.
    """
    import torch

    order = sorted(range(len(rows)), key=lambda index: len(rows[index].input_ids))
    losses: dict[int, float] = {}
    with torch.inference_mode(), track("held-out rows", len(rows), "rows") as advance:
        for start in range(0, len(order), BATCH_SIZE):
            batch = order[start : start + BATCH_SIZE]
            losses |= dict(
                zip(batch, _sum_batch(model, [rows[index] for index in batch]).tolist(), strict=True)
            )
            advance(len(batch))
    if not all(map(math.isfinite, losses.values())):
        raise StudyError(
            "The loss of a held-out row is no finite number. Check the weights of the model and of its "
            "adapter, or take `dtype` float32."
        )
    return [losses[index] for index in range(len(rows))]


def _sum_batch(model: PreTrainedModel, rows: Sequence[EncodedRow]) -> torch.Tensor:
    import torch

    logits, targets = predict_responses(model, collate(rows))
    counted = targets != IGNORED
    losses = torch.zeros(targets.shape, device=targets.device)
    losses[counted] = torch.nn.functional.cross_entropy(logits, targets[counted], reduction="none")
    return losses.sum(dim=1)
