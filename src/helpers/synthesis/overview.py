"""Tidy tables of seeds, replies and filters."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from helpers.records import CATEGORIES, Instruction, SeedTask, read_json_lines
from helpers.rouge import similarity_matrix
from helpers.store import Run
from helpers.synthesis.filters import REASONS

if TYPE_CHECKING:
    import pandas as pd

PAPER_ROWS = 25_005  # Tran et al. (2024), section "Data collection"
PAPER_SHARES = {"qa": 0.228, "ie": 0.338, "gen": 0.335, "other": 0.100}  # Tran et al. (2024), section "Data collection"


def read_tasks(run: Run) -> pd.DataFrame:
    """Return every task that was parsed from the replies of a synthesis run, kept or not."""
    import pandas as pd

    return pd.DataFrame(read_json_lines(run.file("tasks.jsonl")))


def share_categories(sources: dict[str, Iterable[str]]) -> pd.DataFrame:
    """Return the share of each category in each source, the paper's labels last: source, category, share."""
    import pandas as pd

    rows = []
    for source, labels in sources.items():
        counts = Counter(labels)
        rows += [{"source": source, "category": category, "share": counts[category] / counts.total()} for category in CATEGORIES]
    rows += [{"source": "paper", "category": category, "share": share} for category, share in PAPER_SHARES.items()]
    return pd.DataFrame(rows)


def compare_instructions(rows: Sequence[SeedTask]) -> pd.DataFrame:
    """Return pairwise ROUGE-L F1 of the rows' instructions, one row and column an id."""
    import pandas as pd

    ids = [row.id for row in rows]
    return pd.DataFrame(similarity_matrix(row.instruction for row in rows), index=ids, columns=ids)


def measure_lengths(rows: Iterable[SeedTask | Instruction]) -> pd.DataFrame:
    """Return the length in words of each field of each row: field, words."""
    import pandas as pd

    fields = ("instruction", "input", "output")
    return pd.DataFrame({"field": field, "words": len(getattr(row, field).split())} for row in rows for field in fields)


def count_rejections(tasks: pd.DataFrame) -> pd.DataFrame:
    """Return how many tasks fell for each reason, in the order in which the filters are applied: reason, n."""
    counts = tasks["reason"].value_counts()
    return counts.reindex(REASONS, fill_value=0).rename_axis("reason").reset_index(name="n")


def count_growth(tasks: pd.DataFrame) -> pd.DataFrame:
    """Return the cumulative numbers of parsed and kept tasks after each request: request (from 1), parsed, kept."""
    kept = tasks["reason"].isna()
    per_request = tasks.assign(kept=kept).groupby("request")["kept"].agg(["size", "sum"]).cumsum()
    return per_request.set_axis(["parsed", "kept"], axis=1).assign(request=range(1, len(per_request) + 1))[["request", "parsed", "kept"]]
