"""How many tokens each row of a file has: counted once for a file, a model and a prompt format."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from helpers.files import sha256_file
from helpers.jsonl import read_rows
from helpers.models.forward import count_positions
from helpers.models.load import identify_model, load_config, load_tokenizer
from helpers.prompts import PromptFormat
from helpers.records import Instruction
from helpers.store import run_stage
from helpers.tuning.rows import encode_row
from helpers.tuning.settings import TuningSettings

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

LENGTHS_FILE = "lengths.csv"
VERSION = 1


class RowLength(NamedTuple):
    """Tokens of a row's prompt, and of its response with the end of text."""

    n_prompt: int
    n_response: int


def count_tokens(
    tokenizer: PreTrainedTokenizerBase, rows: Sequence[Instruction], prompt_format: PromptFormat
) -> dict[str, RowLength]:
    """Return the tokens of each row by id."""
    encoded = {row.id: encode_row(tokenizer, row, prompt_format) for row in rows}
    return {row_id: RowLength(row.n_prompt, row.n_response) for row_id, row in encoded.items()}


def load_lengths(
    model: str, rows: Sequence[Instruction], prompt_format: PromptFormat, inputs: Mapping[str, str]
) -> dict[str, RowLength]:
    """Return the tokens of each row by id, counted by the first who asks.

    Args:
        model: whose tokenizer counts.
        rows: of the file.
        prompt_format: of prompts and responses.
        inputs: what stands for the file and the model.
    """

    def compute(folder: Path) -> dict[str, Any]:
        lengths = count_tokens(load_tokenizer(model), rows, prompt_format)
        with (folder / LENGTHS_FILE).open("w", encoding="utf-8", newline="") as file:
            csv.writer(file).writerows((row_id, *length) for row_id, length in lengths.items())
        return {"n_rows": len(lengths)}

    run = run_stage("lengths", prompt_format.describe(), inputs, VERSION, compute)
    with run.file(LENGTHS_FILE).open(encoding="utf-8", newline="") as file:
        return {
            row_id: RowLength(int(prompt), int(response)) for row_id, prompt, response in csv.reader(file)
        }


def limit_tokens(model: str, max_tokens: int) -> int:
    """Return how many tokens a row may have: `max_tokens`, so that no response breaks off before its end, or
    the model's positions where these are fewer.
    """
    return min(max_tokens, count_positions(load_config(model)) or max_tokens)


def keep_within_limit(settings: TuningSettings, lengths: Mapping[str, RowLength]) -> dict[str, RowLength]:
    """Return the lengths of the rows that a run can take."""
    longest = limit_tokens(settings.model, settings.max_tokens)
    return {row_id: length for row_id, length in lengths.items() if sum(length) <= longest}


def split_by_limit(
    settings: TuningSettings, path: Path
) -> tuple[list[tuple[Instruction, int]], list[Instruction]]:
    """Return the rows of a file that a run can take, each with its tokens, and those that are too long."""
    rows = read_rows(path, Instruction)
    inputs = {"instructions": sha256_file(path), "model": identify_model(settings.model)}
    lengths = load_lengths(settings.model, rows, PromptFormat.from_settings(settings), inputs)
    fitting = keep_within_limit(settings, lengths)
    return (
        [(row, sum(fitting[row.id])) for row in rows if row.id in fitting],
        [row for row in rows if row.id not in fitting],
    )
