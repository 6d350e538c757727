"""Checks of the texts in `seeds/` against each other: balance, diversity, overlap, identifiers."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from helpers.evaluation.tasks import TASKS, load_items
from helpers.jsonl import read_rows
from helpers.paths import SEED_TASKS
from helpers.records import BenchmarkItem, SeedTask, TeacherReply
from helpers.rouge import similarity_matrix
from helpers.synthesis.filters import PERSONAL_DATA, list_ngrams
from helpers.synthesis.parsing import parse_reply
from helpers.synthesis.teacher import REPLIES

if TYPE_CHECKING:
    import pandas as pd

# our own texts do without these too
WEB_ADDRESS_OR_DATE = re.compile(r"https?://|\b\d{1,2}/\d{1,2}/(19|20)\d{2}\b")
DEIDENTIFICATION = "seed-033"  # its identifiers are invented and say so


def load_benchmark() -> dict[str, list[BenchmarkItem]]:
    """Return the test items of every task."""
    return {name: load_items(task)[0] for name, task in TASKS.items()}


def join_item(item: BenchmarkItem) -> str:
    """Return all that an item shows to a model, as one text."""
    return " ".join(
        filter(None, (getattr(item, "context", ""), getattr(item, "question", ""), getattr(item, "text", "")))
    )


def list_training_texts(seeds: Iterable[SeedTask], replies: Iterable[TeacherReply]) -> list[str]:
    """Return every instruction, input and output of seeds and replies, rejected tasks included."""
    tasks = [*seeds, *(task for reply in replies for task in parse_reply(reply.text))]
    return [text for task in tasks for text in (task.instruction, task.input, task.output) if text]


def find_shared_ngrams(training: Iterable[str], items: Iterable[BenchmarkItem]) -> dict[str, set[str]]:
    """Return, by item, the word 8-grams that stand in a training text too; items without any are left out."""
    seen = set().union(*map(list_ngrams, training))
    shared = {item.id: seen.intersection(list_ngrams(join_item(item))) for item in items}
    return {item_id: ngrams for item_id, ngrams in shared.items() if ngrams}


def find_identifiers(texts: Mapping[str, str]) -> dict[str, str]:
    """Return, by name of the text, what looks like an e-mail or web address, a telephone or record number or
    a date of birth.
    """
    return {
        name: match.group()
        for name, text in texts.items()
        if (match := PERSONAL_DATA.search(text) or WEB_ADDRESS_OR_DATE.search(text))
    }


def spread_of_positions(items: Sequence[BenchmarkItem]) -> int:
    """Return by how many items the most frequent position of the right answer exceeds the rarest."""
    counts = Counter(item.answer for item in items)
    return max(counts.values()) - min(
        counts[index] for index in range(max(len(item.options) for item in items))
    )


def check_texts() -> pd.DataFrame:
    """Run the checks that compare texts with each other: check, found, allowed, holds."""
    import pandas as pd

    seeds, replies, benchmark = (
        read_rows(SEED_TASKS, SeedTask),
        read_rows(REPLIES, TeacherReply),
        load_benchmark(),
    )
    items = [item for rows in benchmark.values() for item in rows]
    training = list_training_texts(seeds, replies)
    instructions = similarity_matrix(seed.instruction for seed in seeds)
    texts = {
        seed.id: f"{seed.instruction} {seed.input} {seed.output}"
        for seed in seeds
        if seed.id != DEIDENTIFICATION
    }
    texts |= {f"reply {reply.request}": reply.text for reply in replies} | {
        item.id: join_item(item) for item in items
    }
    listed = [name for name in benchmark if "choice" in name or name == "sentence_inference"]
    rows = [
        (
            "highest ROUGE-L between two seed instructions",
            instructions[np.triu_indices(len(seeds), k=1)].max(),
            0.5,
        ),
        (
            "benchmark items that share eight words in a row with a training text",
            len(find_shared_ngrams(training, items)),
            0,
        ),
        (
            "highest ROUGE-L between a benchmark text and a training text",
            similarity_matrix(map(join_item, items), training).max(),
            0.55,
        ),
        (
            "widest spread of the right answer's positions in a listed-option task",
            max(spread_of_positions(benchmark[name]) for name in listed),
            1,
        ),
        ("texts that hold what looks like an identifier", len(find_identifiers(texts)), 0),
    ]
    return pd.DataFrame(
        [
            {"check": name, "found": round(float(found), 3), "allowed": allowed, "holds": found <= allowed}
            for name, found, allowed in rows
        ]
    )
