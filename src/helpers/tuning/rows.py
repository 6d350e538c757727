"""From instruction rows to batches of tokens whose loss counts on the response only."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from typing import TYPE_CHECKING, Any

import numpy as np

from helpers.errors import StudyError
from helpers.prompts import build_prompt, encode_prompt
from helpers.records import CATEGORIES, Instruction

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedTokenizerBase

IGNORED = -100
ALL = "all"
SHUFFLED = "shuffled"
CHUNK_BATCHES = 16


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
    """Return the categories of a subset such as 'qa+ie'; 'all' and 'shuffled' draw from every row in its
    natural share and give an empty tuple.

    Raises:
        StudyError: a category is unknown or named twice.
    """
    if categories in (ALL, SHUFFLED):
        return ()
    names = tuple(categories.split("+"))
    if set(names) - set(CATEGORIES) or len(set(names)) < len(names):
        raise StudyError(
            f"`categories` must be 'all', 'shuffled' or some of {CATEGORIES} joined by '+', each once, but "
            f"{categories!r} was found."
        )
    return names


def select_rows(rows: Sequence[Instruction], categories: str, n_rows: int, seed: int) -> list[Instruction]:
    """Draw a training set of exactly `n_rows` rows: size-matched, whatever the subset of categories.

    Several categories get equal shares (the first ones one row more where it does not divide); 'all' and
    'shuffled' draw from all rows alike. Rows are drawn by hash (sha256 of seed and id), so that a smaller
    draw is part of a larger one.

    Raises:
        StudyError: a category has too few rows.
    """
    names = parse_categories(categories)
    pools = [[row for row in rows if row.category == name] for name in names] or [list(rows)]
    shares = [n_rows // len(pools) + (index < n_rows % len(pools)) for index in range(len(pools))]
    chosen: list[Instruction] = []
    for name, pool, share in zip(names or (ALL,), pools, shares, strict=True):
        if len(pool) < share:
            raise StudyError(
                f"{share} rows of category {name!r} are wanted, but only {len(pool)} are there. Lower "
                "`n_rows`, or synthesize more."
            )
        chosen += sorted(pool, key=lambda row: hashlib.sha256(f"{seed}/{row.id}".encode()).digest())[:share]
    return chosen


def rotate_responses(rows: Sequence[EncodedRow], categories: str) -> list[EncodedRow]:
    """Give each row of the control 'shuffled' the response of the row after it, the last one that of the
    first; leave rows of other runs as they are.

    The control keeps prompts, responses and their lengths and takes away what joins them: what it still gains
    is form. A prompt can meet a longer response than its own, so that a row may exceed `max_tokens`, by less
    than its double.
    """
    if categories != SHUFFLED:
        return list(rows)
    neighbours = [*rows[1:], *rows[:1]]
    return [
        EncodedRow(row.input_ids[: row.n_prompt] + other.input_ids[other.n_prompt :], row.n_prompt)
        for row, other in zip(rows, neighbours, strict=True)
    ]


def encode_row(tokenizer: PreTrainedTokenizerBase, row: Instruction) -> EncodedRow:
    """Tokenize prompt and response apart and join them, so that the border of the mask cannot move; end of
    text is part of the response.

    Raises:
        StudyError: the model has no end-of-text token, so that it could never learn to stop.
    """
    if tokenizer.eos_token_id is None:
        raise StudyError(
            "The model's tokenizer must name an end-of-text token, but none was found. Set `eos_token` in "
            "its tokenizer_config.json."
        )
    prompt_ids = encode_prompt(tokenizer, build_prompt(row.instruction, row.input))
    response_ids = tokenizer(row.output.strip(), add_special_tokens=False)["input_ids"]
    return EncodedRow([*prompt_ids, *response_ids, tokenizer.eos_token_id], len(prompt_ids))


def encode_rows(
    tokenizer: PreTrainedTokenizerBase, rows: Iterable[Instruction], max_tokens: int
) -> dict[str, EncodedRow]:
    """Encode rows by id and leave out those of over `max_tokens`, whose response would break off before its
    end.
    """
    encoded = {row.id: encode_row(tokenizer, row) for row in rows}
    return {row_id: row for row_id, row in encoded.items() if len(row.input_ids) <= max_tokens}


def batch_indices(lengths: Sequence[int], batch_size: int, seed: int, epoch: int) -> list[list[int]]:
    """Return the batches of one epoch as row indices: shuffled, rows of like length together, a pure function
    of (lengths, seed, epoch).
    """
    random = np.random.default_rng([seed, epoch])
    order = random.permutation(len(lengths)).tolist()
    chunk = batch_size * CHUNK_BATCHES
    grouped = [
        index
        for start in range(0, len(order), chunk)
        for index in sorted(order[start : start + chunk], key=lambda i: lengths[i])
    ]
    batches = [grouped[start : start + batch_size] for start in range(0, len(grouped), batch_size)]
    return [batches[index] for index in random.permutation(len(batches))]


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
            "tokens": len(places),
            "text": tokenizer.decode([ids[place] for place in places]),
        }
        for hidden, places in stretches
    ]


def iterate_steps(
    lengths: Sequence[int], batch_size: int, epochs: int, seed: int
) -> Iterator[tuple[int, list[int]]]:
    """Yield (epoch, row indices) of every optimiser step of a run."""
    for epoch in range(epochs):
        for batch in batch_indices(lengths, batch_size, seed, epoch):
            yield epoch, batch
