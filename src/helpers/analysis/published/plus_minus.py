"""How precise the printed scores are: what ± can mean, how many runs stand behind a mean, which gains
survive.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from helpers.analysis.hypotheses import ALPHA, POWER, correct_holm
from helpers.analysis.intervals import CONFIDENCE
from helpers.analysis.published.tables import (
    PRINT_ERROR,
    SOURCES,
    AuditSettings,
    load_source,
    load_test_set_sizes,
    pair_scores,
)

if TYPE_CHECKING:
    import pandas as pd

MAX_RUNS = 10


def fits_runs(score: float, n_items: int, n_runs: int) -> bool:
    """Return whether a printed accuracy can be a mean of runs over so many items (the GRIM test; Brown and
    Heathers, 2017).

    Args:
        score: percent, two decimals.
        n_items: questions of the test set.
        n_runs: runs that were averaged, each over all questions.
    """
    answers = n_items * n_runs
    right = round(score / 100 * answers)
    return abs(100 * right / answers - score) <= PRINT_ERROR + 1e-9


def expect_fits(n_items: int, n_runs: int) -> float:
    """Return the share of all two-decimal accuracies that fit so many runs by chance (0..1)."""
    return min(1.0, 2 * PRINT_ERROR * n_items * n_runs / 100)


def count_fitting_scores() -> pd.DataFrame:
    """Return, for each test set of Table 1, how many of its scores fit 1 to `MAX_RUNS` runs: task, n_items,
    n_runs, fits, scores, expected (by chance).
    """
    import pandas as pd

    table = load_source("table1")
    rows = []
    for task, n_items in load_test_set_sizes().items():
        scores = table.loc[table["task"] == task, "score"]
        for n_runs in range(1, MAX_RUNS + 1):
            fits = sum(fits_runs(score, n_items, n_runs) for score in scores)
            rows.append(
                (task, n_items, n_runs, fits, len(scores), expect_fits(n_items, n_runs) * len(scores))
            )
    return pd.DataFrame(rows, columns=["task", "n_items", "n_runs", "fits", "scores", "expected"])


def find_whole_answers(task: str = "BioASQ") -> pd.DataFrame:
    """Return how far each score of Figures 2 and 3 on a small test set lies from a whole number of right
    answers, as a single run must give.

    Returns:
        source, cell, n_rows, score, right (nearest number of answers), distance (points), fits (distance
        within the reading error).
    """
    import pandas as pd

    table = pd.concat([load_source("figure2"), load_source("figure3")]).query("task == @task")
    right = (table["score"] * load_test_set_sizes()[task] / 100).round().astype(int)
    distance = (table["score"] - 100 * right / load_test_set_sizes()[task]).abs()
    return (
        table[["source", "cell", "n_rows", "score"]]
        .assign(right=right, distance=distance, fits=distance <= table["reading_error"])
        .reset_index(drop=True)
    )


def expect_whole_answers(task: str = "BioASQ") -> float:
    """Return the probability that a score lies within the reading error of a whole number of right answers by
    chance.
    """
    return min(
        1.0, 2 * float(load_source("figure2")["reading_error"].max()) * load_test_set_sizes()[task] / 100
    )


def list_misfits(task: str, n_runs: int) -> pd.DataFrame:
    """Return the scores of a test set that do not fit so many runs, with the fewest runs that do: model,
    cell, score, fewest.
    """
    table = load_source("table1").query("task == @task")
    n_items = load_test_set_sizes()[task]
    odd = table[[not fits_runs(score, n_items, n_runs) for score in table["score"]]]
    fewest = [
        next((n for n in range(1, MAX_RUNS + 1) if fits_runs(score, n_items, n)), np.nan)
        for score in odd["score"]
    ]
    return odd[["model", "cell", "score"]].assign(fewest=fewest).reset_index(drop=True)


def critical_t(n_runs: int) -> float:
    """Return the factor between a standard error and half a 95 % interval of a mean of so many runs."""
    from scipy.stats import t

    return float(t.ppf((1 + CONFIDENCE) / 2, n_runs - 1))


INTERPRETATIONS: dict[str, Callable[[float, int], float]] = {
    "half of a 95 % interval": lambda spread, n_runs: spread / critical_t(n_runs),
    "standard error": lambda spread, _: spread,
    "standard deviation over runs": lambda spread, n_runs: spread / math.sqrt(n_runs),
    "variance over runs": lambda spread, n_runs: math.sqrt(spread / n_runs),
}
"""Each interpretation of ± as a function of the printed number and the runs; it returns the standard error of
the mean. The first is what the paper says.
"""

SMALLEST: dict[str, Callable[[float, int], float]] = {
    "half of a 95 % interval": lambda unit, n_runs: critical_t(n_runs) * unit / n_runs,
    "standard error": lambda unit, n_runs: unit / n_runs,
    "standard deviation over runs": lambda unit, n_runs: unit / math.sqrt(n_runs),
    "variance over runs": lambda unit, n_runs: unit**2 / n_runs,
}
"""The ± of runs of which one differs from the others by one answer; `unit` is one answer in percent. No ±
but zero can be smaller.
"""


def count_too_small(interpretation: str, n_runs: int) -> int:
    """Return how many ± of Table 1 are smaller than a single differing answer in one run would make them."""
    table, n_items = load_source("table1"), load_test_set_sizes()
    least = [SMALLEST[interpretation](100 / n_items[task], n_runs) for task in table["task"]]
    return int((table["plus_minus"] + PRINT_ERROR / 100 < least).sum())


def error_from_items(score: float | np.ndarray, n_items: int | np.ndarray) -> float | np.ndarray:
    """Return the standard error of an accuracy (percent) from the draw of its questions."""
    return np.sqrt(score * (100 - score) / n_items)


def list_gains() -> pd.DataFrame:
    """Return every gain of Tables 1 to 3 whose two scores carry a ±: the family of tests."""
    import pandas as pd

    pairs = pair_scores(pd.concat([load_source(name) for name in SOURCES[:3]]))
    return (
        pairs.dropna(subset=["base_plus_minus", "tuned_plus_minus"])
        .reset_index(drop=True)
        .assign(gain=lambda table: table["tuned"] - table["base"])
    )


def compute_p_over_runs(gains: pd.DataFrame, interpretation: str, n_runs: int) -> np.ndarray:
    """Return two-sided p-values of Welch's t test for each gain, the printed ± taken in one interpretation.

    Args:
        gains: rows of `list_gains`.
        interpretation: a key of `INTERPRETATIONS`.
        n_runs: runs behind each mean.
    """
    from scipy.stats import ttest_ind_from_stats

    deviations = [
        [INTERPRETATIONS[interpretation](spread, n_runs) * math.sqrt(n_runs) for spread in gains[name]]
        for name in ("tuned_plus_minus", "base_plus_minus")
    ]
    return ttest_ind_from_stats(
        gains["tuned"], deviations[0], n_runs, gains["base"], deviations[1], n_runs, equal_var=False
    ).pvalue


def compute_p_over_items(base: np.ndarray, tuned: np.ndarray, n_items: np.ndarray) -> np.ndarray:
    """Return two-sided p-values for differences of accuracies (percent) over the draw of the questions.

    The two models answer the same questions, but which ones each got right is not published: they are taken
    as independent, which is cautious wherever models tend to fail on the same questions.
    """
    from scipy.stats import norm

    error = np.sqrt(error_from_items(base, n_items) ** 2 + error_from_items(tuned, n_items) ** 2)
    return 2 * norm.sf(np.abs(tuned - base) / error)


def count_survivors(settings: AuditSettings) -> pd.DataFrame:
    """Return how many gains survive in each interpretation of ±, and over the draw of the questions:
    interpretation, tests, unadjusted and holm (below the level before and after the adjustment), too_small.

    `too_small` counts ± of Table 1 that this interpretation cannot give with so many runs.
    """
    import pandas as pd

    gains = list_gains()
    accuracy = gains[gains["metric"] == "accuracy"]
    rows = []
    for interpretation in INTERPRETATIONS:
        p_values = compute_p_over_runs(gains, interpretation, settings.n_runs)
        rows.append((f"± is {interpretation}", p_values, count_too_small(interpretation, settings.n_runs)))
    n_items = load_test_set_sizes()[accuracy["task"]].to_numpy()
    rows.append(
        (
            "new questions, Table 1 only",
            compute_p_over_items(accuracy["base"].to_numpy(), accuracy["tuned"].to_numpy(), n_items),
            None,
        )
    )
    return pd.DataFrame(
        {
            "interpretation": name,
            "tests": len(p),
            "unadjusted": int((p < settings.alpha).sum()),
            "holm": int((correct_holm(p) < settings.alpha).sum()),
            "too_small": small,
        }
        for name, p, small in rows
    )


def compare_errors() -> pd.DataFrame:
    """Return, by test set, what ± is beside what the draw of the questions alone does.

    Columns: task, n_items, plus_minus (median over models), from_items (half a 95 % interval, median),
    smaller (± smaller than that), of, detectable (points; smallest true difference of two models, their
    answers taken as independent, that a test at 5 % finds with a power of 80 %).
    """
    import pandas as pd
    from scipy.stats import norm

    factor, power = norm.ppf(1 - ALPHA / 2), norm.ppf(POWER)
    rows = []
    for task, n_items in load_test_set_sizes().items():
        part = load_source("table1").query("task == @task")
        half = factor * error_from_items(part["score"].to_numpy(), n_items)
        smaller = int((part["plus_minus"].to_numpy() < half).sum())
        rows.append((task, n_items, part["plus_minus"].median(), float(np.median(half)), smaller, len(part)))
    table = pd.DataFrame(rows, columns=["task", "n_items", "plus_minus", "from_items", "smaller", "of"])
    return table.assign(detectable=table["from_items"] * math.sqrt(2) * (factor + power) / factor)
