"""The paper's headline gains, computed from its own tables in the many ways that its words allow: each
source, set of models, set of tasks, metric and average below, and no other.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from itertools import product
from typing import TYPE_CHECKING

from helpers.analysis.published.tables import (
    AUTOMATIC,
    JUDGED_MEASURES,
    add_judge_mean,
    load_facts,
    load_source,
    pair_scores,
)

if TYPE_CHECKING:
    import pandas as pd

QA_TASKS = ("MedQA", "MedMCQA", "PubMedQA", "BioASQ")
IE_TASKS = ("Medication status", "Coreference")
GEN_TASKS = ("Conv2note", "ICliniq")
MODELS = {
    "all": ("LLaMA 1 7B", "LLaMA 1 13B", "LLaMA 2 7B", "LLaMA 2 13B"),
    "7B": ("LLaMA 1 7B", "LLaMA 2 7B"),
    "13B": ("LLaMA 1 13B", "LLaMA 2 13B"),
    "LLaMA 1": ("LLaMA 1 7B", "LLaMA 1 13B"),
    "LLaMA 2": ("LLaMA 2 7B", "LLaMA 2 13B"),
}
REPRODUCES, READING_ERROR, FAILS = "gives it", "within reading error", "does not"
SEVERAL, SINGLE, NOT_FOUND = "reproduced", "for single models only", "not found"
SAME, NO_AVERAGE = "=", "–"  # marks of a table: as one to its left; none of this kind


@dataclasses.dataclass(frozen=True)
class Scope:
    """What a claim may be about: its table, and the sets of tasks and metrics that its words allow; the first
    of each is the one that the abstract's words name.
    """

    table: str
    tasks: Mapping[str, tuple[str, ...]]
    metrics: Mapping[str, tuple[str, ...]]
    averages: tuple[str, ...]


def gain_of_mean(pairs: pd.DataFrame) -> float:
    """Return the relative gain of a model's mean score, averaged over models (percent)."""
    means = pairs.groupby("model")[["base", "tuned"]].mean()
    return float(100 * (means["tuned"] / means["base"] - 1).mean())


def mean_of_gains(pairs: pd.DataFrame) -> float:
    """Return the mean of the relative gains of all models, tasks and metrics (percent)."""
    return float(100 * (pairs["tuned"] / pairs["base"] - 1).mean())


def gain_of_grand_mean(pairs: pd.DataFrame) -> float:
    """Return the relative gain of the mean over models, tasks and metrics at once (percent)."""
    return float(100 * (pairs["tuned"].mean() / pairs["base"].mean() - 1))


def gain_in_points(pairs: pd.DataFrame) -> float:
    """Return the mean absolute gain (points of the printed scale)."""
    return float((pairs["tuned"] - pairs["base"]).mean())


AVERAGES: dict[str, Callable[[pd.DataFrame], float]] = {
    "gain of means": gain_of_mean,
    "mean of gains": mean_of_gains,
    "gain of grand means": gain_of_grand_mean,
    "points": gain_in_points,
}

SCOPES = {
    "qa": Scope(
        "table1",
        {"four QA tasks": QA_TASKS, "with MedNLI": (*QA_TASKS, "MedNLI")}
        | {task: (task,) for task in (*QA_TASKS, "MedNLI")},
        {"accuracy": ("accuracy",)},
        tuple(AVERAGES),
    ),
    "ie": Scope(
        "table2",
        {"both tasks": IE_TASKS} | {task: (task,) for task in IE_TASKS},
        {
            "F1": ("f1",),
            "F1, conditional accuracy": ("f1", "conditional_accuracy"),
            "conditional accuracy": ("conditional_accuracy",),
            "precision": ("precision",),
            "recall": ("recall",),
            "all printed": ("precision", "recall", "f1", "conditional_accuracy"),
        },
        tuple(AVERAGES),
    ),
    "gen": Scope(
        "table3",
        {"both tasks": GEN_TASKS} | {task: (task,) for task in GEN_TASKS},
        {"GPT-4 mean": ("gpt4_mean",)}
        | {name.replace("gpt4_", "GPT-4 "): (name,) for name in JUDGED_MEASURES}
        | {"automatic metrics": AUTOMATIC},
        tuple(AVERAGES)[:-1],  # points of a scale from 1 to 5 are not percentages
    ),
}


def bound_error(average: Callable[[pd.DataFrame], float], pairs: pd.DataFrame) -> float:
    """Return by how much a gain can move if every score is off by its reading and rounding error, in the
    worst direction.
    """
    ends = [
        average(
            pairs.assign(
                base=pairs["base"] - sign * pairs["error"], tuned=pairs["tuned"] + sign * pairs["error"]
            )
        )
        for sign in (1, -1)
    ]
    value = average(pairs)
    return max(abs(end - value) for end in ends)


def claim_verdict(difference: float, rounding: float, error: float, is_figure: bool) -> str:
    """Return the verdict on a recomputed claim.

    Args:
        difference: recomputed minus claimed.
        rounding: half a unit of the claim's last printed digit.
        error: what rounding or reading of the scores can do to the recomputed value.
        is_figure: True if scores were read from a figure, whose error is too wide to count as a reproduction.
    """
    if abs(difference) <= rounding + (0 if is_figure else error):
        return REPRODUCES
    return READING_ERROR if is_figure and abs(difference) <= rounding + error else FAILS


def choose_models(present: set[str]) -> dict[str, tuple[str, ...]]:
    """Return the sets of models that a source lets one average over, each single model last."""
    groups = {label: members for label, members in MODELS.items() if len(present & set(members)) > 1}
    return groups | {model: (model,) for model in MODELS["all"] if model in present}


def list_ways(claim: str) -> pd.DataFrame:
    """Compute one headline gain in every way: source x models x tasks x metrics x average.

    Ways that are the same because there is only one model, task or metric to average over are listed once.

    Args:
        claim: 'qa', 'ie' or 'gen'.

    Returns:
        claim, source, models, tasks, metrics, average, value, error, claimed, difference, verdict; first the
        gain of means over all models and tasks of the table.
    """
    import pandas as pd

    scope, fact = SCOPES[claim], load_facts().loc[f"claim_{claim}"]
    ways: dict[tuple, dict] = {}
    for name in (scope.table, "figure2"):
        pairs = pair_scores(add_judge_mean(load_source(name)))
        n_metrics = None if name == scope.table else 1  # a figure shows the abstract's metric alone
        metrics = dict(list(scope.metrics.items())[:n_metrics])
        choices = product(
            choose_models(set(pairs["model"])).items(), scope.tasks.items(), metrics.items(), scope.averages
        )
        for (who, models), (what, tasks), (how, measures), average in choices:
            part = pairs[
                pairs["model"].isin(models) & pairs["task"].isin(tasks) & pairs["metric"].isin(measures)
            ]
            if set(part["task"]) == set(tasks):
                way = {
                    "claim": claim,
                    "source": part["source"].iloc[0],
                    "models": who,
                    "tasks": what,
                    "metrics": how,
                    "average": average,
                }
                value = AVERAGES[average](part)
                key = (name, tuple(part.index), round(value, 9))
                if key not in ways:
                    ways[key] = way | _weigh(value, part, AVERAGES[average], fact)
    return pd.DataFrame(list(ways.values()))


def _weigh(
    value: float, pairs: pd.DataFrame, average: Callable[[pd.DataFrame], float], fact: pd.Series
) -> dict[str, float | str]:
    error, difference = bound_error(average, pairs), value - fact["value"]
    verdict = claim_verdict(
        difference, fact["rounding"], error, is_figure=pairs["source"].iloc[0].startswith("Figure")
    )
    return {
        "value": value,
        "error": error,
        "claimed": fact["value"],
        "difference": difference,
        "verdict": verdict,
    }


def list_all_ways() -> pd.DataFrame:
    """Return the ways of all three headline gains, one claim after the other."""
    import pandas as pd

    return pd.concat([list_ways(claim) for claim in SCOPES], ignore_index=True)


def overall_verdict(ways: pd.DataFrame) -> str:
    """Return the verdict on one claim from all of its ways: reproduced if a mean over several models gives
    it, for single models only, or not found.
    """
    hits = ways[ways["verdict"] == REPRODUCES]
    if hits.empty:
        return NOT_FOUND
    return SINGLE if hits["models"].isin(MODELS["all"]).all() else SEVERAL


def summarize_ways(ways: pd.DataFrame) -> pd.DataFrame:
    """Return the verdict on each claim, its gain over all models and tasks of the table, how many ways there
    are and give the claim, and their range: one row a claim.
    """
    import pandas as pd

    rows = []
    for claim, group in ways.groupby("claim", sort=False):
        first, closest = group.iloc[0], group.loc[group["difference"].abs().idxmin()]
        verdicts = group["verdict"].value_counts()
        rows.append(
            {
                "claim": claim,
                "claimed": first["claimed"],
                "verdict": overall_verdict(group),
                "all_models": first["value"],
                "closest": closest["value"],
                "ways": len(group),
                "reproduce": verdicts.get(REPRODUCES, 0),
                "reading": verdicts.get(READING_ERROR, 0),
                "lowest": group["value"].min(),
                "highest": group["value"].max(),
            }
        )
    return pd.DataFrame(rows)


def tabulate_ways(ways: pd.DataFrame) -> pd.DataFrame:
    """Return the ways over all models of a source and the abstract's metric, one row a source and set of
    tasks, one column an average.

    Values are text: rounded to two decimals, with a check mark where the claim reproduces and a tilde where
    it does within the reading error; an equals sign where the average is the same as one to its left, and a
    dash where the claim has no such average.
    """
    marks = {REPRODUCES: " ✓", READING_ERROR: " ~", FAILS: ""}
    plain = ways.groupby("claim")["metrics"].transform("first")
    chosen = ways[
        (ways["metrics"] == plain) & ((ways["models"] == "all") | ways["source"].str.startswith("Figure"))
    ]
    chosen = chosen.assign(text=[f"{row.value:.2f}{marks[row.verdict]}" for row in chosen.itertuples()])
    order = chosen[["claim", "source", "tasks"]].drop_duplicates()
    wide = chosen.pivot(index=["claim", "source", "tasks"], columns="average", values="text").loc[
        list(order.itertuples(index=False, name=None))
    ]
    averages = [average for average in AVERAGES if average in wide]
    wide = wide[averages].reset_index()
    for average in averages:
        empty = [SAME if average in SCOPES[claim].averages else NO_AVERAGE for claim in wide["claim"]]
        wide[average] = wide[average].where(wide[average].notna(), empty)
    return wide


def nearest_ways(ways: pd.DataFrame, n_ways: int = 3) -> pd.DataFrame:
    """Return the ways of each claim that come nearest to it, nearest first."""
    nearest = (
        ways.assign(distance=ways["difference"].abs())
        .sort_values(["claim", "distance"], kind="stable")
        .groupby("claim")
        .head(n_ways)
    )
    order = {claim: number for number, claim in enumerate(SCOPES)}
    columns = ["claim", "source", "models", "tasks", "metrics", "average", "value", "difference", "verdict"]
    return nearest.sort_values("claim", key=lambda names: names.map(order), kind="stable")[
        columns
    ].reset_index(drop=True)
