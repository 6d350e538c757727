"""Tidy tables of seeds, replies and filters."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from helpers.jsonl import read_json_lines
from helpers.records import CATEGORIES, Instruction, SeedTask, order_categories
from helpers.rouge import TIE_SLACK, similarity_matrix
from helpers.store import Run
from helpers.synthesis.filters import REASONS
from helpers.synthesis.pipeline import TASK_FIELDS

if TYPE_CHECKING:
    import pandas as pd

PAPER_ROWS = 25_005  # Tran et al. (2024), section "Data collection"
PAPER_SHARES = {"qa": 0.228, "ie": 0.338, "gen": 0.335, "other": 0.100}  # same section
PAPER_LABEL_ACCURACY = 0.873  # of GPT-4's labels on 1,000 rows; Tran et al. (2024), section "Data collection"
PAPER_ALPHA = 0.83  # Krippendorff's alpha of three raters (same section)


def read_parsed_tasks(run: Run) -> pd.DataFrame:
    """Return every task that was parsed from the replies of a synthesis run, kept or not."""
    import pandas as pd

    return pd.DataFrame(read_json_lines(run.file("tasks.jsonl")), columns=list(TASK_FIELDS))


def tabulate_category_shares(sources: dict[str, Iterable[str]]) -> pd.DataFrame:
    """Return the share of each category in each source, the paper's labels last: source, category, share."""
    import pandas as pd

    rows = []
    for source, labels in sources.items():
        counts = Counter(labels)
        rows += [
            {"source": source, "category": category, "share": counts[category] / counts.total()}
            for category in order_categories((*CATEGORIES, *counts))
        ]
    rows += [
        {"source": "paper", "category": category, "share": share} for category, share in PAPER_SHARES.items()
    ]
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
    return pd.DataFrame(
        {"field": field, "words": len(getattr(row, field).split())} for row in rows for field in fields
    )


def count_rejections(tasks: pd.DataFrame) -> pd.DataFrame:
    """Return how many tasks were rejected for each reason, in the order in which the filters are
    applied: reason, n.
    """
    counts = tasks["reason"].value_counts()
    return counts.reindex(REASONS, fill_value=0).rename_axis("reason").reset_index(name="n")


def count_growth(tasks: pd.DataFrame) -> pd.DataFrame:
    """Return what each request added: request (from 1), parsed and kept (cumulative), share_new (of its sound
    tasks, those that were novel, 0..1).
    """
    sound = tasks["reason"].isna() | (tasks["reason"] == "not novel")
    per_request = (
        tasks.assign(kept=tasks["reason"].isna(), sound=sound).groupby("request")[["kept", "sound"]].sum()
    )
    # a reply without any task counts too
    per_request = per_request.reindex(range(int(tasks["request"].max()) + 1), fill_value=0)
    growth = per_request.assign(
        parsed=tasks.groupby("request").size().reindex(per_request.index, fill_value=0),
        share_new=per_request["kept"] / per_request["sound"],
    )
    growth[["parsed", "kept"]] = growth[["parsed", "kept"]].cumsum()
    return growth.assign(request=range(1, len(growth) + 1))[
        ["request", "parsed", "kept", "share_new"]
    ].reset_index(drop=True)


def measure_saturation(growth: pd.DataFrame) -> dict[str, float]:
    """Return how the share of novel tasks changes over a hundred requests (least squares), with its 95 %
    interval: estimate, low, high.
    """
    from scipy import stats

    seen = growth.dropna(subset="share_new")
    if len(seen) < 3:
        return dict.fromkeys(("estimate", "low", "high"), float("nan"))
    line = stats.linregress(seen["request"], seen["share_new"])
    margin = stats.t.ppf(0.975, len(seen) - 2) * line.stderr
    return {
        "estimate": 100 * line.slope,
        "low": 100 * (line.slope - margin),
        "high": 100 * (line.slope + margin),
    }


def count_failures(run: Run) -> pd.DataFrame:
    """Return how many replies of a run failed in each way, and how many came in all: outcome, n."""
    import pandas as pd

    meanings = {
        "n_replies": "replies in all",
        "n_truncated_replies": "cut off at the length limit",
        "n_unlabelled_replies": "with a task whose category is missing",
        "n_refused_replies": "refused or stopped by a content filter",
        "n_garbled_replies": "without any task in the right form",
        "n_miscounted_replies": "with fewer or more tasks than asked",
        "n_trimmed_replies": "with thinking, titles or closing words, which were cut away",
    }
    return pd.DataFrame(
        {"outcome": meaning, "n": run.manifest["facts"][name]} for name, meaning in meanings.items()
    )


def describe_near_duplicates(tasks: pd.DataFrame) -> str:
    """Return the first instruction that was rejected for its likeness to a kept one, that one, and their
    ROUGE-L F1, as a text. What is nearer to a seed task is passed over.
    """
    import pandas as pd

    kept: list[str] = []
    for task in tasks.itertuples():
        if task.reason == "not novel" and kept:
            similarities = similarity_matrix([task.instruction], kept)[0]
            nearest = int(similarities.argmax())
            if similarities[nearest] > task.similarity - TIE_SLACK:
                return (
                    f"rejected: {task.instruction}\nkept: {kept[nearest]}\n"
                    f"ROUGE-L F1: {similarities[nearest]:.2f}"
                )
        elif pd.isna(task.reason):
            kept.append(task.instruction)
    return "No task was rejected for its likeness to a kept one."


def format_agreement(table: pd.DataFrame) -> pd.DataFrame:
    """Return agreements as readers see them: comparison, n, and each measure as 'estimate [low, high]'."""
    import pandas as pd

    def show(row: pd.Series, name: str) -> str:
        return f"{row[name]:.2f} [{row[f'{name}_low']:.2f}, {row[f'{name}_high']:.2f}]"

    measures = ("accuracy", "kappa", "alpha")
    return pd.DataFrame(
        [
            {"comparison": row["comparison"], "n": row["n"]} | {name: show(row, name) for name in measures}
            for _, row in table.iterrows()
        ],
    )


def as_interval(row: Mapping[str, float], measure: str) -> dict[str, float]:
    """Return one measure of a row of agreements as estimate, low and high."""
    return {"estimate": row[measure], "low": row[f"{measure}_low"], "high": row[f"{measure}_high"]}
