"""Tables of an evaluation: further measures, choices by position, preferences."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from helpers.evaluation.metrics import MEASURES, MENTION_COUNTS
from helpers.evaluation.stage import read_measured
from helpers.store import Run

if TYPE_CHECKING:
    import pandas as pd

ALL_MEASURES = (*MEASURES, "bertscore", "bleurt", "coherence", "completeness", "naturalness")
RIGHT = "right answers"


def average_measures(items: pd.DataFrame) -> pd.DataFrame:
    """Return the mean of every further measure by task and model, over the items that have it: task, cell,
    then one column per measure; `micro_f1` of mentions counts right, given and gold mentions over all items
    together and is not a mean of items. It is the field's number only where the items are all sentences of
    the set (`ncbi_disease_all`), but for a mention that a sentence repeats, which counts once here.

    Tasks that have none are left out.
    """
    present = [name for name in ALL_MEASURES if name in items and items[name].notna().any()]
    values = items.assign(**{name: items[name].astype(float) for name in present})
    groups = values.groupby(["task", "cell"], sort=False)
    means = groups[present].mean()
    if "n_gold" in items:
        counts = groups[list(MENTION_COUNTS)].sum(min_count=1)
        means["micro_f1"] = 2 * counts["n_right"] / (counts["n_answers"] + counts["n_gold"])
    return gather_tasks(means.dropna(how="all").reset_index(), items)


def count_judgements(runs: Mapping[str, Run]) -> pd.DataFrame:
    """Return how many of a judge's replies could be read.

    Args:
        runs: of the judge, by name of the model.

    Returns:
        task, cell, n (texts that were judged), unparsed (share of the replies that had no ratings; their
        texts are in no mean).
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
    """Return the choice that lies furthest above the share of right answers: task, cell, letter,
    share_chosen, right (share). Without a choice task there is none: words that say so, and no shares.
    """
    if rates.empty:
        none = {"task": "no choice task", "cell": "no model", "letter": "none"}
        return none | dict.fromkeys(("share_chosen", "right"), float("nan"))
    long = rates.melt(["task", "cell"], var_name="letter", value_name="share_chosen")
    right = long[long["cell"] == RIGHT].drop(columns="cell").rename(columns={"share_chosen": "right"})
    table = long[long["cell"] != RIGHT].merge(right, on=["task", "letter"])
    return table.loc[(table["share_chosen"] - table["right"]).idxmax()].to_dict()


def tabulate_preferences(runs: Mapping[str, Run]) -> pd.DataFrame:
    """Return how often a judge preferred each model's texts to the first model's.

    Returns:
        cell, task, preference (mean; 0.5 is even), share_agreeing (of pairs judged alike in
        both orders; equal texts, which are no question of order, left out), n, unparsed (share).
    """
    import pandas as pd

    rows = []
    for cell, run in runs.items():
        for task, group in read_measured(run).groupby("task", sort=False):
            judged = group.dropna(subset=["preference"])
            shares = {
                "preference": judged["preference"].astype(float).mean(),
                "share_agreeing": judged["agrees"].astype(float).mean(),
            }
            rows.append(
                {"cell": cell, "task": task}
                | shares
                | {"n": len(group), "unparsed": 1 - len(judged) / len(group)}
            )
    return pd.DataFrame(rows)
