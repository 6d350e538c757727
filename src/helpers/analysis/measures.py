"""Tables of an evaluation: paired differences with tests, further measures, choices by position."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from helpers.analysis.hypotheses import correct_holm, mcnemar_p
from helpers.analysis.intervals import ROUNDING, pool_variance, student_p
from helpers.analysis.statistics import contrast, find_category, is_known, stack_scores
from helpers.evaluation.metrics import COUNTS, MEASURES
from helpers.evaluation.stage import read_measured
from helpers.evaluation.tasks import find_task
from helpers.store import Run

if TYPE_CHECKING:
    import pandas as pd

ALL_MEASURES = (*MEASURES, "bertscore", "bleurt", "coherence", "completeness", "naturalness")
RIGHT = "right answers"
N_PERMUTATIONS = 9999
PERMUTATION_SEED = 11


def compare_models(items: pd.DataFrame, reference: str, cells: Iterable[str] | None = None) -> pd.DataFrame:
    """Compare models with a reference, item by item, one training seed at a time.

    Args:
        items: rows with cell, task, item and score, and perhaps seed and cluster.
        reference: the cell that the others are compared with.
        cells: which others; None for all.

    Returns:
        seed (where items have one), cell, task, category, estimate (difference of means), low, high, n, won
        and lost (items, or clusters, on which the cell scores higher and lower than the reference), test, p
        (two-sided), p_holm (Holm's correction, 1979, over all rows of a seed) and p_t (of the paired t test,
        uncorrected as in the paper; empty where all items differ by the same).
    """
    import pandas as pd

    others = list(cells or (cell for cell in dict.fromkeys(items["cell"]) if cell != reference))
    if "seed" not in items:
        return _compare_tasks(items, reference, others)
    tables = (
        _compare_tasks(group, reference, others).assign(seed=seed) for seed, group in items.groupby("seed")
    )
    table = pd.concat(tables, ignore_index=True)
    return table[["seed", *table.columns.drop("seed")]]


def _compare_tasks(items: pd.DataFrame, reference: str, others: Sequence[str]) -> pd.DataFrame:
    import pandas as pd

    rows = []
    for task, group in items.groupby("task", sort=False):
        for cell in others:
            base, own = stack_scores(group, [reference, cell])[task][:, 0]
            found = contrast(group, {cell: 1, reference: -1})
            right_or_wrong = bool(np.isin([base, own], (0, 1)).all())
            test, p = compare_pairs(
                own, base, is_known(task) and find_task(task).is_choice and right_or_wrong
            )
            row = {"cell": cell, "task": task, "category": find_category(task, group)} | {
                name: found[name] for name in ("estimate", "low", "high", "n")
            }
            rows.append(
                row
                | {
                    "won": int((own > base).sum()),
                    "lost": int((own < base).sum()),
                    "test": test,
                    "p": p,
                    "p_t": compute_paired_t(own, base),
                }
            )
    table = pd.DataFrame(rows)
    table.insert(table.columns.get_loc("p") + 1, "p_holm", correct_holm(table["p"]))
    return table


def compute_paired_t(scores: np.ndarray, others: np.ndarray) -> float:
    """Return the two-sided p of the paired t test: 1 where the models score alike on every item, empty where
    they differ by the same on all, since there is no t then.
    """
    differences = (scores - others)[None]
    if np.ptp(differences) < ROUNDING:
        return 1.0 if abs(differences.mean()) < ROUNDING else np.nan
    return float(student_p(differences.mean(), *pool_variance([differences])))


def compare_pairs(scores: np.ndarray, others: np.ndarray, right_or_wrong: bool) -> tuple[str, float]:
    """Test whether two models differ on the same items: McNemar's exact test of right and wrong, or a
    sign-flip permutation test of the mean difference.

    Args:
        scores: of one model, shape (n,).
        others: of the other model on the same items, shape (n,).
        right_or_wrong: whether every score is 1 or 0.

    Returns:
        Name of the test and two-sided p value.
    """
    from scipy.stats import permutation_test

    if right_or_wrong:
        return "McNemar", mcnemar_p(int((scores > others).sum()), int((scores < others).sum()))
    flips = permutation_test(
        (scores - others,),
        lambda sample, axis: sample.mean(axis=axis),
        permutation_type="samples",
        n_resamples=N_PERMUTATIONS,
        rng=np.random.default_rng(PERMUTATION_SEED),
    )
    return "permutation", float(flips.pvalue)


def average_measures(items: pd.DataFrame) -> pd.DataFrame:
    """Return the mean of every further measure by task and model, over the items that have it: task, cell,
    then one column per measure; `micro_f1` of mentions counts right, given and gold mentions over all items
    together, as the field reports it, and is not a mean of items.

    Tasks that have none are left out.
    """
    present = [name for name in ALL_MEASURES if name in items and items[name].notna().any()]
    values = items.assign(**{name: items[name].astype(float) for name in present})
    groups = values.groupby(["task", "cell"], sort=False)
    means = groups[present].mean()
    if "n_gold" in items:
        counts = groups[list(COUNTS)].sum(min_count=1)
        means["micro_f1"] = 2 * counts["n_right"] / (counts["n_answers"] + counts["n_gold"])
    return gather_tasks(means.dropna(how="all").reset_index(), items)


def count_judgements(runs: Mapping[str, Run]) -> pd.DataFrame:
    """Return how many of a judge's replies could be read.

    Args:
        runs: of the judge, by name of the model.

    Returns:
        task, cell, n (texts that were judged), unparsed (share of the replies that had no marks; their texts
        are in no mean).
    """
    import pandas as pd

    rows = [
        {"task": task, "cell": cell, "n": len(group), "unparsed": group["coherence"].isna().mean()}
        for cell, run in runs.items()
        for task, group in read_measured(run).groupby("task", sort=False)
    ]
    return pd.DataFrame(rows, columns=["task", "cell", "n", "unparsed"])


def rate_letters(items: pd.DataFrame) -> pd.DataFrame:
    """Return how often each model chose the option at each position in every choice task.

    Returns:
        task, cell, then the share of each position (0..1), A being the first; cell 'right answers' holds the
        shares of the right options. A model whose share is far above that one likes a position.
    """
    import pandas as pd

    chosen = (
        items[items["letters"].notna()]
        if "letters" in items
        else items.iloc[:0].assign(letters="", right_letters="")
    )
    right = chosen.drop_duplicates(["task", "item"]).assign(
        cell=RIGHT, letters=lambda table: table["right_letters"]
    )
    letters = pd.concat([right, chosen])[["task", "cell", "letters"]]
    letters = letters.assign(letter=letters["letters"].map(list)).explode("letter")
    rates = (
        letters.groupby(["task", "cell"], sort=False)["letter"]
        .value_counts(normalize=True)
        .unstack(fill_value=0.0)
    )
    return gather_tasks(rates.sort_index(axis=1).reset_index().rename_axis(columns=None), items)


def gather_tasks(table: pd.DataFrame, items: pd.DataFrame) -> pd.DataFrame:
    """Return a table with the rows of each task together, tasks in the order of the items."""
    order = list(dict.fromkeys(items["task"]))
    return table.sort_values(
        "task", key=lambda tasks: tasks.map(order.index), kind="stable", ignore_index=True
    )


def strongest_position_bias(rates: pd.DataFrame) -> dict[str, Any]:
    """Return the choice that lies furthest above the share of right answers: task, cell, letter, share, right
    (share). Without a choice task there is none: words that say so, and no shares.
    """
    if rates.empty:
        nan = float("nan")
        return {"task": "no choice task", "cell": "no model", "letter": "none", "share": nan, "right": nan}
    long = rates.melt(["task", "cell"], var_name="letter", value_name="share")
    right = long[long["cell"] == RIGHT].drop(columns="cell").rename(columns={"share": "right"})
    table = long[long["cell"] != RIGHT].merge(right, on=["task", "letter"])
    return table.loc[(table["share"] - table["right"]).idxmax()].to_dict()


def share_preferences(runs: Mapping[str, Run]) -> pd.DataFrame:
    """Return how often a judge preferred each model's texts to the reference model's.

    Returns:
        cell, task, preference (mean; 0.5 is even), agrees (share of pairs judged alike in both orders), n,
        unparsed (share).
    """
    import pandas as pd

    rows = []
    for cell, run in runs.items():
        for task, group in read_measured(run).groupby("task", sort=False):
            judged = group.dropna(subset=["preference"])
            shares = {name: judged[name].astype(float).mean() for name in ("preference", "agrees")}
            rows.append(
                {"cell": cell, "task": task}
                | shares
                | {"n": len(group), "unparsed": 1 - len(judged) / len(group)}
            )
    return pd.DataFrame(rows)
