"""From instruction rows to batches of tokens whose loss counts on the response only."""

from __future__ import annotations

import dataclasses
import hashlib
import re
import unicodedata
from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import TYPE_CHECKING, Any

import numpy as np

from helpers.errors import StudyError
from helpers.prompts import PAPERS_FORMAT, Prompt, PromptFormat
from helpers.records import (
    ALL,
    CATEGORY_PATTERN,
    CONTROL_SEPARATOR,
    RESERVED,
    SHUFFLED,
    Instruction,
    order_categories,
)

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedTokenizerBase

IGNORED = -100
PART = re.compile(rf"({CATEGORY_PATTERN})(?::([0-9]{{1,9}}))?")


@dataclasses.dataclass(frozen=True)
class EncodedRow:
    """Token ids of prompt and response, end of text included; the first `n_prompt` ids belong
    to the prompt.
    """

    input_ids: list[int]
    n_prompt: int

    @property
    def n_response(self) -> int:
        """How many ids count for the loss: those of the response and the end of text."""
        return len(self.input_ids) - self.n_prompt


def parse_categories(categories: str) -> tuple[str, ...]:
    """Return the categories of a subset such as 'qa+ie', of a mixture such as 'qa:200+ie:100', or of a
    control such as 'qa~shuffled'; 'all' and 'shuffled' draw from every row in its natural share and give an
    empty tuple.

    Raises:
        StudyError: the text is neither, or names a category twice.
    """
    cell, *_ = categories.split(CONTROL_SEPARATOR)
    return () if cell in (ALL, SHUFFLED) else tuple(name for name, _ in parse_parts(cell))


def parse_parts(categories: str) -> list[tuple[str, int | None]]:
    """Return the categories of a subset or mixture, or of its control, each with its number of rows; None for
    a subset's equal parts.

    Raises:
        StudyError: the text is neither, or names a category twice.
    """
    found = [PART.fullmatch(part) for part in unicodedata.normalize("NFC", categories).split("+")]
    parts = [(part[1], int(part[2]) if part[2] else None) for part in found if part]
    names, counts = [name for name, _ in parts], [count for _, count in parts]
    if (
        not all(found)
        or len(set(names)) < len(names)
        or set(names) & set(RESERVED)
        or 0 in counts
        or (None in counts and any(counts))
    ):
        raise StudyError(
            "`categories` must be 'all', 'shuffled', categories joined by '+' such as 'qa+ie', each once, or "
            f"with their rows such as 'qa:200+ie:100', but {categories!r} was found. A category's name has "
            "letters, digits, '_' and '-'."
        )
    return parts


def allot_rows(categories: str, n_rows: int) -> dict[str, int]:
    """Decide how many rows of each category a cell gets; of 'all' and 'shuffled' `n_rows` of any category.

    Raises:
        StudyError: a mixture's rows do not add up to `n_rows`, or equal parts leave a category without rows.
    """
    if categories in (ALL, SHUFFLED):
        return {ALL: n_rows}
    parts = parse_parts(categories)
    if parts[0][1] is None and n_rows < len(parts):
        raise StudyError(
            f"`n_rows` must be {len(parts)} at least, a row of each category in {categories}, but {n_rows} "
            "was found."
        )
    if parts[0][1] is None:
        return split_equally([name for name, _ in parts], n_rows)
    counts = {name: count or 0 for name, count in parts}
    if sum(counts.values()) != n_rows:
        raise StudyError(
            f"`n_rows` must be the sum of the rows in `categories` ({categories}: {sum(counts.values())}), "
            f"but {n_rows} was found."
        )
    return counts


def split_equally(names: Sequence[str], n_rows: int) -> dict[str, int]:
    """Return equal shares of rows; the first categories get one row more where it does not divide."""
    return {name: n_rows // len(names) + (index < n_rows % len(names)) for index, name in enumerate(names)}


def select_rows(rows: Sequence[Instruction], categories: str, n_rows: int, seed: int) -> list[Instruction]:
    """Draw a training set of exactly `n_rows` rows: size-matched, whatever the categories.

    A subset takes equal shares of its categories, a mixture the rows that it names; 'all' and 'shuffled' draw
    from all rows alike. Rows are drawn by hash (sha256 of seed and id), so that under one seed the smaller of
    two draws from a category is part of the larger.

    Raises:
        StudyError: a category is unknown or has too few rows, or a mixture has another sum than `n_rows`.
    """
    chosen: list[Instruction] = []
    for name, n_wanted in allot_rows(categories, n_rows).items():
        pool = rows if name == ALL else [row for row in rows if row.category == name]
        if len(pool) < n_wanted:
            there = ", ".join(order_categories(row.category for row in rows)) or "none"
            raise StudyError(
                f"{n_wanted} rows of category {name!r} are wanted, but only {len(pool)} are there "
                f"(categories of the rows: {there}). Lower `n_rows`, or synthesize more."
            )
        chosen += order_by_draw(pool, seed)[:n_wanted]
    return chosen


def order_by_draw(rows: Sequence[Instruction], seed: int) -> list[Instruction]:
    """Return rows in the order in which a training seed draws them."""
    return sorted(rows, key=lambda row: hashlib.sha256(f"{seed}/{row.id}".encode()).digest())


def rotate_responses(rows: Sequence[EncodedRow]) -> list[EncodedRow]:
    """Give each row the response of the row after it, the last one that of the first: the control 'shuffled'.

    The control keeps prompts, responses and their lengths and takes away what joins them: what it still gains
    is form. A prompt can meet a longer response than its own, so a row may exceed `max_tokens`, by less
    than its double.
    """
    neighbours = [*rows[1:], *rows[:1]]
    return [
        EncodedRow(row.input_ids[: row.n_prompt] + other.input_ids[other.n_prompt :], row.n_prompt)
        for row, other in zip(rows, neighbours, strict=True)
    ]


def encode_row(
    tokenizer: PreTrainedTokenizerBase, row: Instruction, prompt_format: PromptFormat = PAPERS_FORMAT
) -> EncodedRow:
    """Tokenize prompt and response apart and join them, so that the border of the mask cannot move; what
    ends the response is part of it.

    Raises:
        StudyError: the model has no token that ends a response, so it could never learn to stop.
    """
    prompt_ids = prompt_format.encode(tokenizer, Prompt(row.instruction, row.input))
    return EncodedRow([*prompt_ids, *prompt_format.encode_response(tokenizer, row.output)], len(prompt_ids))


def batch_indices(n_rows: int, batch_size: int, seed: int, epoch: int) -> list[list[int]]:
    """Return the batches of one epoch as row indices, drawn at random: a pure function of (n_rows, seed,
    epoch).

    Batches of like length would save padding, but the gradient of a step would then speak for one length:
    they double the spread of the held-out loss over training seeds. Micro-batches are sorted by length
    within a step instead (`step.split_batch`).
    """
    order = np.random.default_rng([seed, epoch]).permutation(n_rows).tolist()
    return [order[start : start + batch_size] for start in range(0, n_rows, batch_size)]


def collate(rows: Sequence[EncodedRow]) -> dict[str, torch.Tensor]:
    """Pad rows on the right into tensors of shape (rows, longest): `input_ids`, `attention_mask`, and
    `labels` that are IGNORED on prompt and padding.
    """
    import torch

    shape = (len(rows), max(len(row.input_ids) for row in rows))
    input_ids, attention_mask = torch.zeros(shape, dtype=torch.long), torch.zeros(shape, dtype=torch.long)
    labels = torch.full(shape, IGNORED)
    for index, row in enumerate(rows):
        n = len(row.input_ids)
        input_ids[index, :n] = torch.tensor(row.input_ids)
        attention_mask[index, :n] = 1
        labels[index, row.n_prompt : n] = input_ids[index, row.n_prompt : n]
    return {"input_ids": input_ids, "attention_mask": attention_mask, "labels": labels}


def describe_labels(tokenizer: PreTrainedTokenizerBase, row: EncodedRow) -> list[dict[str, Any]]:
    """Return what the labels of a row hide and what they let count, one entry a stretch: part, tokens, and
    the text that its ids decode to.
    """
    batch = collate([row])
    ids, masked = batch["input_ids"][0].tolist(), (batch["labels"][0] == IGNORED).tolist()
    stretches = [(hidden, list(group)) for hidden, group in groupby(range(len(ids)), key=masked.__getitem__)]
    return [
        {
            "part": "masked" if hidden else "learnt",
            "tokens": len(positions),
            "text": tokenizer.decode([ids[position] for position in positions]),
        }
        for hidden, positions in stretches
    ]


def iterate_steps(n_rows: int, batch_size: int, epochs: int, seed: int) -> Iterator[tuple[int, list[int]]]:
    """Yield (epoch, row indices) of every optimiser step of a run."""
    for epoch in range(epochs):
        for batch in batch_indices(n_rows, batch_size, seed, epoch):
            yield epoch, batch
