"""Numbers that the paper gives twice, compared; and numbers that bind each other, checked."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from helpers.analysis.published.tables import (
    ALL,
    MAIN_METRICS,
    OTHER_GROUP,
    PRINT_ERROR,
    add_judge_mean,
    load_facts,
    load_source,
    pair_scores,
)
from helpers.study.grid import PAIRS, SINGLES

if TYPE_CHECKING:
    import pandas as pd

ABLATION_MODEL = "LLaMA 2 7B"  # the only model of the figures and of Table 4
AGREES, WITHIN, DIFFERS = "agrees", "within ±", "differs"
SLACK = 1e-9  # decimal fractions are not exact in binary


def difference_verdict(difference: float, tolerance: float, plus_minus: float = 0) -> str:
    """Return whether two numbers agree within rounding and reading, or at least within the printed ±, or
    differ.
    """
    if abs(difference) <= tolerance + SLACK:
        return AGREES
    return WITHIN if abs(difference) <= tolerance + plus_minus + SLACK else DIFFERS


def find_scores(name: str) -> pd.Series:
    """Return the main score of LLaMA 2 7B in one source, by task and cell."""
    table = add_judge_mean(load_source(name))
    chosen = table[
        (table["model"] == ABLATION_MODEL) & (table["metric"] == table["category"].map(MAIN_METRICS))
    ]
    return chosen.set_index(["task", "cell"])["score"]


def compare_numbers(
    first: pd.Series, second: pd.Series, tolerance: pd.Series | float, plus_minus: pd.Series | float = 0.0
) -> pd.DataFrame:
    """Compare numbers that stand in two places.

    Args:
        first, second: numbers with the same kind of index; what only one of them has is left out.
        tolerance: what reading and rounding can do to a difference.
        plus_minus: the printed ± of the first.

    Returns:
        where, first, second, difference (second minus first), tolerance, verdict.
    """
    import pandas as pd

    both = pd.DataFrame(
        {"first": first, "second": second, "tolerance": tolerance, "spread": plus_minus}
    ).dropna(subset=["first", "second"])
    both = both.loc[[key for key in first.index if key in both.index]]
    both["difference"] = both["second"] - both["first"]
    verdicts = [
        difference_verdict(row.difference, row.tolerance, 0 if pd.isna(row.spread) else row.spread)
        for row in both.itertuples()
    ]
    where = [", ".join(key) if isinstance(key, tuple) else key for key in both.index]
    return both.assign(where=where, verdict=verdicts)[
        ["where", "first", "second", "difference", "tolerance", "verdict"]
    ].reset_index(drop=True)


def find_plus_minus() -> pd.Series:
    """Return the printed ± of the main scores of LLaMA 2 7B, by task and cell; the mean of GPT-4's scores has
    none.
    """
    import pandas as pd

    table = pd.concat([load_source(name) for name in ("table1", "table2")])
    chosen = table[
        (table["model"] == ABLATION_MODEL) & (table["metric"] == table["category"].map(MAIN_METRICS))
    ]
    return chosen.set_index(["task", "cell"])["plus_minus"]


def compare_tables_with_figure() -> pd.DataFrame:
    """Compare base and fully tuned LLaMA 2 7B in Tables 1 to 3 (first) with Figure 2 (second)."""
    import pandas as pd

    printed = pd.concat([find_scores(name) for name in ("table1", "table2", "table3")])
    return compare_numbers(printed, find_scores("figure2"), reading_error() + PRINT_ERROR, find_plus_minus())


def compare_figures() -> pd.DataFrame:
    """Compare the model tuned on everything in Figure 2 (first) and at the right end of Figure 3 (second)."""
    curve = load_source("figure3")
    end = curve[curve["n_rows"] == curve["n_rows"].max()].set_index(["task", "cell"])["score"]
    return compare_numbers(find_scores("figure2"), end, 2 * reading_error())


def reading_error() -> float:
    """Return the reading error of the figures, in units of each scale."""
    return float(load_source("figure2")["reading_error"].max())


def mean_figure2() -> pd.DataFrame:
    """Return the mean score of Figure 2 over each category's tasks, one row per category, one column per
    cell; sentence pairs are not in it.
    """
    return load_source("figure2").groupby(["category", "cell"])["score"].mean().unstack()


def gain_of_pairs() -> pd.Series:
    """Return the relative gain (percent) of a pair over the single category on that category's tasks in
    Figure 2, by category and pair.
    """
    means = mean_figure2()
    return (
        100
        * (means[list(PAIRS)].div([means.loc[category, category] for category in means.index], axis=0) - 1)
        .stack()
        .dropna()
    )


def compare_table4() -> pd.DataFrame:
    """Compare Table 4 (first) with the same means and gains formed from Figure 2 (second)."""
    import pandas as pd

    table, means = load_source("table4").set_index(["category", "cell"]), mean_figure2()
    scores, gains = (
        table.loc[kind, "score"]
        for kind in (table["metric"] != "gain_percent", table["metric"] == "gain_percent")
    )
    recomputed = gain_of_pairs()
    own = pd.Series({(category, pair): means.loc[category, category] for category, pair in recomputed.index})
    gain_error = 100 * reading_error() / own * (2 + recomputed / 100)
    of_scores = compare_numbers(scores, means[list(SINGLES)].stack(), reading_error() + PRINT_ERROR)
    of_gains = compare_numbers(gains, recomputed, gain_error + PRINT_ERROR)
    of_gains["where"] += ", gain (%)"
    return pd.concat([of_scores, of_gains], ignore_index=True)


def compare_f1() -> pd.DataFrame:
    """Compare the printed F1 (second) with the harmonic mean of the printed precision and recall (first);
    `below` says if F1 is less than both.
    """
    table = load_source("table2")
    wide = table.pivot(index=["model", "cell", "task"], columns="metric", values="score").reset_index()
    wide["where"] = [f"{row.model}, {row.cell.replace('_', ' ')}, {row.task}" for row in wide.itertuples()]
    wide = wide.set_index("where")
    harmonic = 2 * wide["precision"] * wide["recall"] / (wide["precision"] + wide["recall"])
    below = wide["f1"] + PRINT_ERROR < wide[["precision", "recall"]].min(axis=1) - PRINT_ERROR
    return compare_numbers(harmonic, wide["f1"], 2 * PRINT_ERROR).assign(below=below.to_numpy())


def compare_shares() -> pd.DataFrame:
    """Compare the sum of the categories' shares (second) with the whole (first), and the share of right
    labels with a whole number of rows.
    """
    import pandas as pd

    facts = load_facts()
    shares = facts[facts.index.str.startswith("share_")]
    right = facts.loc["label_accuracy", "value"] * facts.loc["n_labels_checked", "value"] / 100
    return pd.concat(
        [
            compare_numbers(
                pd.Series({"sum of the shares (%)": 100.0}),
                pd.Series({"sum of the shares (%)": shares["value"].sum()}),
                shares["rounding"].sum(),
            ),
            compare_numbers(
                pd.Series({"right labels (rows)": round(right)}),
                pd.Series({"right labels (rows)": right}),
                SLACK,
            ),
        ],
        ignore_index=True,
    )


CHECKS: dict[str, Callable[[], pd.DataFrame]] = {
    "Tables 1-3, Figure 2": compare_tables_with_figure,
    "Figures 2 and 3": compare_figures,
    "Table 4, Figure 2": compare_table4,
    "F1 and its parts": compare_f1,
    "shares and counts": compare_shares,
}


def run_checks() -> pd.DataFrame:
    """Run every check: check, where, first, second, difference, tolerance, verdict."""
    import pandas as pd

    return pd.concat([check().assign(check=name) for name, check in CHECKS.items()], ignore_index=True)


def count_verdicts(checks: pd.DataFrame) -> pd.DataFrame:
    """Return how many comparisons of each check agree, agree within the printed ±, or differ, and the largest
    difference.
    """
    counts = (
        checks.groupby("check", sort=False)["verdict"]
        .value_counts()
        .unstack(fill_value=0)
        .reindex(columns=[AGREES, WITHIN, DIFFERS], fill_value=0)
    )
    return counts.loc[list(dict.fromkeys(checks["check"]))].reset_index()


def count_wins() -> pd.DataFrame:
    """Count how often the paper's statements of order hold in its tables: statement, held, of.

    AlpaCare on LLaMA 2 is left out where the statement is about models tuned from LLaMA 1.
    """
    import pandas as pd

    tables = pd.concat([load_source(name) for name in ("table1", "table2", "table3")])
    pairs = pair_scores(tables)
    rivals = (
        tables[(tables["cell"] == OTHER_GROUP) & (tables["model"] != "AlpaCare LLaMA 2 7B")]
        .groupby(["task", "metric"])["score"]
        .max()
    )
    ours = (
        tables[(tables["model"] == "LLaMA 1 7B") & (tables["cell"] == ALL)]
        .set_index(["task", "metric"])["score"]
        .reindex(rivals.index)
    )
    singles = load_source("figure2").pivot(index=["category", "task"], columns="cell", values="score")[
        list(SINGLES)
    ]
    own_best = singles.idxmax(axis=1) == singles.index.get_level_values("category")
    gains = load_source("table4").query("metric == 'gain_percent'")["score"]
    rises = pd.DataFrame({"tuned": pairs["tuned"], "base": pairs["base"]}).eval("tuned > base")
    rows = [
        ("tuned model above its base", rises.sum(), len(rises)),
        ("LLaMA 1 7B, tuned, above every other model tuned from LLaMA 1", (ours > rivals).sum(), len(rivals)),
        ("a task is served best by its own category alone (Figure 2)", own_best.sum(), len(own_best)),
        ("a second category adds something (Table 4)", (gains > 0).sum(), len(gains)),
    ]
    return pd.DataFrame(rows, columns=["statement", "held", "of"])
