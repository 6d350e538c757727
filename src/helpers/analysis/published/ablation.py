"""The paper's ablation in this study's own terms, and what its unequal sizes and single runs leave open."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from helpers.analysis.hypotheses import correct_holm
from helpers.analysis.published.checks import gain_of_pairs, mean_figure2, reading_error
from helpers.analysis.published.plus_minus import compute_p_over_items
from helpers.analysis.published.tables import ALL, BASE, load_facts, load_source, load_test_set_sizes
from helpers.study.grid import PAIRS, SINGLES

if TYPE_CHECKING:
    import pandas as pd

JUDGE_FLOOR, JUDGE_SPAN = 1, 4  # GPT-4 scores run from 1 to 5
SMALL, LARGE = 5000, 10_000  # the two sizes of Figure 3 between which the ablation's subsets lie


def count_rows() -> pd.Series:
    """Return the training rows of each cell, from the shares of the categories; `all` holds the rows of no
    category too.
    """
    import pandas as pd

    facts = load_facts()["value"]
    total = facts["n_rows"]
    rows = {
        cell: total * sum(facts[f"share_{part}"] for part in cell.split("+")) / 100
        for cell in (*SINGLES, *PAIRS)
    }
    return pd.Series({BASE: 0} | rows | {ALL: total}).round().astype(int)


def rescale(scores: pd.Series, categories: pd.Series) -> pd.Series:
    """Return scores from 0 to 1, as this study gives them: percent by 100, GPT-4's 1 to 5 by its span."""
    return ((scores - JUDGE_FLOOR) / JUDGE_SPAN).where(categories == "gen", scores / 100)


def published_transfer_table(cells: tuple[str, ...] = (*SINGLES, *PAIRS, ALL)) -> pd.DataFrame:
    """Return the paper's Figure 2 as the transfer matrix of `helpers.analysis.transfer`: gains over base on a
    scale from 0 to 1.

    Returns:
        trained_on (cell), tested_on, estimate, low and high (the reading error, not a confidence interval);
        pairs without a bar in the figure are absent.
    """
    import pandas as pd

    figure, error = load_source("figure2"), reading_error()
    scaled = figure.assign(score=rescale(figure["score"], figure["category"]))
    means = scaled.groupby(["category", "cell"], sort=False)["score"].mean().unstack()
    rows = []
    for cell in cells:
        for category in SINGLES:
            gain, half = (
                means.loc[category, cell] - means.loc[category, BASE],
                2 * error / (JUDGE_SPAN if category == "gen" else 100),
            )
            rows.append(
                {
                    "trained_on": cell,
                    "tested_on": category,
                    "estimate": gain,
                    "low": gain - half,
                    "high": gain + half,
                }
            )
    return pd.DataFrame(rows).dropna().reset_index(drop=True)


def gains_in_paper_units() -> pd.DataFrame:
    """Return `published_transfer_table` in the units of the paper: points of 100 (accuracy, F1), and points
    of GPT-4's scale from 1 to 5.
    """
    table = published_transfer_table()
    unit = table["tested_on"].map({"gen": JUDGE_SPAN}).fillna(100)
    return table.assign(**{name: table[name] * unit for name in ("estimate", "low", "high")})


def published_addition_table() -> pd.DataFrame:
    """Return the paper's six additions as those of `helpers.analysis.transfer`: target, added, pair, percent
    (Table 4), percent_figure (Figure 2).
    """
    import pandas as pd

    printed = load_source("table4").query("metric == 'gain_percent'").set_index(["category", "cell"])["score"]
    recomputed = gain_of_pairs()
    return pd.DataFrame(
        {
            "target": category,
            "added": next(part for part in cell.split("+") if part != category),
            "pair": cell,
            "percent": printed[category, cell],
            "percent_figure": recomputed[category, cell],
        }
        for category, cell in printed.index
    )


def compare_directions(ours: pd.DataFrame, theirs: pd.DataFrame, keys: list[str]) -> pd.DataFrame:
    """Set two tables of gains beside each other: keys, ours, theirs, and whether both go the same way.

    Args:
        ours, theirs: tables with the keys and `estimate`, such as transfer tables; what only one of them has
            is left out.
        keys: columns that name a gain, such as trained_on and tested_on.
    """
    both = ours[[*keys, "estimate"]].merge(
        theirs[[*keys, "estimate"]], on=keys, suffixes=("_ours", "_theirs")
    )
    same = np.sign(both["estimate_ours"]) == np.sign(both["estimate_theirs"])
    return both.rename(columns={"estimate_ours": "ours", "estimate_theirs": "theirs"}).assign(same_sign=same)


def share_of_full_gain() -> pd.DataFrame:
    """Return, for each bar of Figure 2, what part of the full mixture's gain over base it reaches (1: all of
    it): cell, task, category, estimate, low, high. The bars of part, whole and base are each read with an
    error; they move the share s by at most error * (1 + |s| + |1 - s|) / (whole - base), to first order.
    """
    import pandas as pd

    figure, error = load_source("figure2"), reading_error()
    order = list(dict.fromkeys(zip(figure["category"], figure["task"], strict=True)))
    figure = figure.pivot(index=["category", "task"], columns="cell", values="score").loc[order]
    whole = figure[ALL] - figure[BASE]
    rows = []
    for cell in (*SINGLES, *PAIRS):
        part = ((figure[cell] - figure[BASE]) / whole).dropna()
        rows += [
            {
                "cell": cell,
                "category": key[0],
                "task": key[1],
                "estimate": value,
                "error": error * (1 + abs(value) + abs(1 - value)) / whole[key],
            }
            for key, value in part.items()
        ]
    table = pd.DataFrame(rows)
    return table.assign(low=table["estimate"] - table["error"], high=table["estimate"] + table["error"]).drop(
        columns="error"
    )


def gain_curves() -> pd.DataFrame:
    """Return Figure 3 as relative gains over Figure 2's base (percent): task, category, n_rows, gain."""
    base = load_source("figure2").query("cell == @BASE").set_index("task")["score"]
    curve = load_source("figure3")
    return curve.assign(gain=100 * (curve["score"] / curve["task"].map(base) - 1))[
        ["task", "category", "n_rows", "gain"]
    ]


def share_by_size() -> pd.DataFrame:
    """Return what part of the full mixture's gain is reached with how many rows: the cells of Figure 2, and
    the full mixture at the sizes of Figure 3.

    Each figure is measured against its own right end (25,005 rows: 1) and the base of Figure 2 (0), on the
    mean score of the category's tasks.

    Returns:
        kind ('cell' or 'curve'), category (of the tasks), cell, n_rows, share_of_gain.
    """
    import pandas as pd

    means = mean_figure2()
    cells = (
        means.sub(means[BASE], axis=0)
        .div(means[ALL] - means[BASE], axis=0)
        .stack()
        .dropna()
        .rename("share_of_gain")
        .reset_index()
    )
    curve = load_source("figure3").pivot_table(
        index="category", columns="n_rows", values="score", aggfunc="mean"
    )
    curve = (
        curve.sub(means[BASE], axis=0)
        .div(curve[curve.columns.max()] - means[BASE], axis=0)
        .stack()
        .rename("share_of_gain")
        .reset_index()
    )
    cells = cells[~cells["cell"].isin([BASE, ALL])]
    cells = cells.assign(kind="cell", n_rows=cells["cell"].map(count_rows()))
    return pd.concat([cells, curve.assign(kind="curve", cell=ALL)], ignore_index=True)[
        ["kind", "category", "cell", "n_rows", "share_of_gain"]
    ]


def change_with_size() -> pd.DataFrame:
    """Return what doubling the rows from 5,000 to 10,000 did in Figure 3, by task: task, category, small,
    large, percent.

    Nothing but the number of rows was meant to differ: a fall is a measure of what one run differs from the
    next.
    """
    table = load_source("figure3").pivot(index=["category", "task"], columns="n_rows", values="score")[
        [SMALL, LARGE]
    ]
    table = table.set_axis(["small", "large"], axis=1).reset_index()
    return table.assign(percent=100 * (table["large"] / table["small"] - 1))


def change_of_means() -> pd.Series:
    """Return the change (percent) of each category's mean score from 5,000 to 10,000 rows in Figure 3."""
    means = change_with_size().groupby("category")[["small", "large"]].mean()
    return 100 * (means["large"] / means["small"] - 1)


def count_above_curve() -> dict[str, int]:
    """Count the single categories that reach more than the full mixture does with 10,000 rows, though each
    has fewer; own ones apart from the others.

    Returns:
        own_above, own (own categories above the curve, and all), other_above, other (the same for categories
        that are not the tasks' own).
    """
    table = share_by_size()
    bar = table.query("kind == 'curve' and n_rows == @LARGE").set_index("category")["share_of_gain"]
    singles = table[(table["kind"] == "cell") & table["cell"].isin(SINGLES)]
    above, own = (
        singles["share_of_gain"] > singles["category"].map(bar),
        singles["category"] == singles["cell"],
    )
    return {
        "own_above": int((above & own).sum()),
        "own": int(own.sum()),
        "other_above": int((above & ~own).sum()),
        "other": int((~own).sum()),
    }


def count_cell_differences(alpha: float) -> dict[str, int]:
    """Count the differences between cells on the question-answering tasks of Figure 2 that their questions
    can show.

    Each other cell (two singles, two pairs) is compared with the category's own; base and the full mixture
    are left out.

    Returns:
        tests, unadjusted (below `alpha`) and holm (after Holm's adjustment).
    """
    figure = (
        load_source("figure2").query("category == 'qa'").pivot(index="task", columns="cell", values="score")
    )
    n_items = load_test_set_sizes()[figure.index].to_numpy()
    others = [cell for cell in figure.columns if cell not in {BASE, ALL, "qa"}]
    p_values = np.concatenate(
        [compute_p_over_items(figure["qa"].to_numpy(), figure[cell].to_numpy(), n_items) for cell in others]
    )
    return {
        "tests": len(p_values),
        "unadjusted": int((p_values < alpha).sum()),
        "holm": int((correct_holm(p_values) < alpha).sum()),
    }


def compare_with_single() -> pd.DataFrame:
    """Return Table 4 and the same means of Figure 2, both as a difference (percent) from tuning on the
    category alone.

    Returns:
        category, cell, printed (Table 4), figure, low and high (what the reading error can do to it); the own
        cell, which is zero, is left out.
    """
    import pandas as pd

    table = load_source("table4").set_index(["category", "cell"])
    is_gain = table["metric"] == "gain_percent"
    printed = pd.concat([relate_to_own(table.loc[~is_gain, "score"]), table.loc[is_gain, "score"]])
    means = mean_figure2().stack()
    figure = relate_to_own(means)
    half = [
        100 * reading_error() / means[category, category] * (2 + figure[category, cell] / 100)
        for category, cell in printed.index
    ]
    both = pd.DataFrame({"printed": printed, "figure": figure[printed.index]}).reset_index()
    both = both.assign(low=both["figure"] - half, high=both["figure"] + half)
    return both[both["category"] != both["cell"]].sort_values(
        "category", key=lambda names: names.map(SINGLES.index), kind="stable", ignore_index=True
    )


def relate_to_own(scores: pd.Series) -> pd.Series:
    """Return scores by category and cell as a difference (percent) from the score of the
    category's own cell.
    """
    own = [scores[category, category] for category, _ in scores.index]
    return 100 * (scores / own - 1)
