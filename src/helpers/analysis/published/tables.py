"""The published numbers as tidy tables: each row one number of the paper, in this study's own names for cells
and categories.
"""

from __future__ import annotations

import dataclasses
from functools import lru_cache
from typing import TYPE_CHECKING

from helpers.errors import StudyError
from helpers.files import sha256_file
from helpers.paths import RESULTS, shown
from helpers.records import BASE
from helpers.settings import parameter
from helpers.study.grid import PAIRS, SINGLES

if TYPE_CHECKING:
    import pandas as pd

PUBLISHED = RESULTS / "published"
SOURCES = ("table1", "table2", "table3", "table4", "figure2", "figure3")
COLUMNS = (
    "source",
    "model",
    "cell",
    "n_rows",
    "category",
    "task",
    "metric",
    "score",
    "plus_minus",
    "reading_error",
)
ALL, OTHER_GROUP = "all", "other_group"  # every row of the paper's data; a model of other authors
CELLS = (BASE, *SINGLES, *PAIRS, ALL, OTHER_GROUP)
JUDGED_MEASURES = ("gpt4_coherence", "gpt4_completeness", "gpt4_naturalness")
AUTOMATIC = ("concept_f1", "bertscore_f1", "bleurt")
METRIC_NAMES = {"f1": "F1", "concept_f1": "concept F1", "bertscore_f1": "BERTScore F1", "bleurt": "BLEURT"}
RANGES = dict.fromkeys([*JUDGED_MEASURES, "gpt4_mean"], (1, 5)) | {"gain_percent": (-100, 100)}
PERCENT = (0, 100)
MAIN_METRICS = {"qa": "accuracy", "ie": "f1", "gen": "gpt4_mean"}
PRINT_ERROR = 0.005  # scores are printed with two decimals


@dataclasses.dataclass(frozen=True)
class AuditSettings:
    """What the audit has to assume: the level of its tests, and the runs behind a printed mean."""

    alpha: float = parameter(
        0.05, "two-sided level of a whole family of tests (probability)", minimum=0.0001, maximum=0.5
    )
    n_runs: int = parameter(
        5, "evaluation runs behind each printed mean; the paper does not say", minimum=2, maximum=100
    )


@lru_cache
def load_source(name: str) -> pd.DataFrame:
    """Return the numbers of one table or figure of the paper.

    Args:
        name: one of `SOURCES`.

    Raises:
        StudyError: the file's columns, cells or scores are not what they must be.
    """
    import pandas as pd

    path = PUBLISHED / f"{name}.csv"
    table = pd.read_csv(path)
    check_source(table, shown(path))
    return table


def check_source(table: pd.DataFrame, name: str) -> None:
    """Raise StudyError where a table of published numbers has other columns, an unknown cell, a score out of
    range or the same number twice.
    """
    if tuple(table.columns) != COLUMNS:
        raise StudyError(
            f"{name} must have the columns {', '.join(COLUMNS)}, but {', '.join(table.columns)} were found. "
            "Restore the file from the repository."
        )
    unknown = sorted(set(table["cell"]) - set(CELLS))
    if unknown:
        raise StudyError(
            f"`cell` must be one of {', '.join(CELLS)}, but {unknown[0]!r} was found ({name}). Correct that "
            "row."
        )
    limits = [RANGES.get(metric, PERCENT) for metric in table["metric"]]
    outside = [
        line
        for line, (score, (low, high)) in enumerate(zip(table["score"], limits, strict=True), start=2)
        if not low <= score <= high
    ]
    if outside:
        raise StudyError(
            f"`score` must lie within the range of its metric, but {table['score'][outside[0] - 2]} was "
            f"found ({name}:{outside[0]}). Correct it."
        )
    twice = table.duplicated(["source", "model", "cell", "n_rows", "category", "task", "metric"])
    if twice.any():
        raise StudyError(
            f"Each number must stand once, but the row of line {twice.idxmax() + 2} of {name} repeats an "
            "earlier one. Delete one of them."
        )


@lru_cache
def load_facts() -> pd.DataFrame:
    """Return the numbers of the paper's text by name: value, rounding (half a unit of the last printed
    digit), unit, source.
    """
    import pandas as pd

    return pd.read_csv(PUBLISHED / "facts.csv").set_index("name")


@lru_cache
def load_test_set_sizes() -> pd.Series:
    """Return the number of items of the public test sets by task; the paper does not state them."""
    import pandas as pd

    return pd.read_csv(PUBLISHED / "test_sets.csv").set_index("task")["n_items"]


def add_judge_mean(table: pd.DataFrame) -> pd.DataFrame:
    """Return a table with the mean of the three scores that GPT-4 gave added as `gpt4_mean`, which is what
    figures and Table 4 show.
    """
    import pandas as pd

    keys = ["source", "model", "cell", "n_rows", "category", "task", "reading_error"]
    mean = (
        table[table["metric"].isin(JUDGED_MEASURES)]
        .groupby(keys, sort=False, dropna=False)["score"]
        .mean()
        .reset_index()
        .assign(metric="gpt4_mean")
    )
    return pd.concat([table, mean], ignore_index=True)


def pair_scores(table: pd.DataFrame) -> pd.DataFrame:
    """Return the scores of the base model and of that tuned on all rows beside each other, one row per model,
    task and metric.

    Args:
        table: rows of one or more sources; models without a base are left out.

    Returns:
        source, model, category, task, metric, base, tuned, base_plus_minus, tuned_plus_minus (printed ±, NaN
        where none) and error (of reading and rounding).
    """
    keys = ["source", "model", "category", "task", "metric"]
    before, after = (
        table[table["cell"] == cell].set_index(keys)[["score", "plus_minus", "reading_error"]]
        for cell in (BASE, ALL)
    )
    before = before.set_axis(["base", "base_plus_minus", "error"], axis=1)
    after = after.set_axis(["tuned", "tuned_plus_minus", "error"], axis=1).drop(columns="error")
    pairs = before.join(after, how="inner").reset_index()
    return pairs.assign(error=pairs["error"] + PRINT_ERROR)[
        [*keys, "base", "tuned", "base_plus_minus", "tuned_plus_minus", "error"]
    ]


def label_scores(names: tuple[str, ...], metrics: tuple[str, ...]) -> pd.DataFrame:
    """Return the rows of some tables and metrics with the `label` of a figure's row: the task, and the metric
    where there are several.
    """
    import pandas as pd

    table = pd.concat([load_source(name) for name in names])
    table = table[table["metric"].isin(metrics)]
    words = table["metric"].map(
        lambda metric: METRIC_NAMES.get(metric, metric.removeprefix("gpt4_").replace("_", " "))
    )
    return table.assign(
        label=table["task"] if len(metrics) == 1 else table["task"] + ", " + words
    ).reset_index(drop=True)


def describe_files() -> pd.DataFrame:
    """Return what every published number goes back to: file, rows, first sixteen digits of the sha256."""
    import pandas as pd

    files = sorted(PUBLISHED.glob("*.csv"))
    return pd.DataFrame(
        {"file": shown(path), "numbers": len(pd.read_csv(path)), "sha256": sha256_file(path)[:16]}
        for path in files
    )
