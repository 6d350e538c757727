"""The same gains from several sources: the paper's figure, the reference run by score with its two models,
this run; and whether they go the same way.

Only directions compare. The paper's gains are those of a model of seven billion parameters with thousands of
rows. Its generation tasks are measured by GPT-4 (1 to 5, here by its span) or by automatic measures, ours by
ROUGE-L, so `scale` names the measure of each gain. Its bars are reading errors, not confidence intervals.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import TYPE_CHECKING

from helpers.analysis.contrasts import excludes_zero
from helpers.analysis.published import ablation
from helpers.analysis.published.checks import ABLATION_MODEL
from helpers.analysis.published.tables import load_source, pair_scores
from helpers.analysis.reference_losses import FULL_MIXTURE
from helpers.analysis.transfer import addition_table, transfer_table
from helpers.study import scores
from helpers.study.grid import SINGLES, name_subset

if TYPE_CHECKING:
    import pandas as pd

PAPER, SCORE_GEMMA, SCORE_SMOLLM2, RUN = "paper", "score_gemma", "score_smollm2", "run"
REFERENCE_FOLDERS = {
    SCORE_GEMMA: scores.REFERENCE_FOLDER / "gemma-3-270m",
    SCORE_SMOLLM2: scores.REFERENCE_FOLDER / "smollm2-135m",
}
SCALES = {"qa": "accuracy", "ie": "F1 or exact match", "gen": "ROUGE-L"}  # each from 0 to 1
JUDGE = "the paper's GPT-4 score, 0 to 1 of its span"
AUTOMATIC = "the paper's automatic measures, 0 to 1"
AUTOMATIC_NAMES = {"concept_f1": "concept F1", "bleurt": "BLEURT", "bertscore_f1": "BERTScore"}


@cache
def read_reference_scores(source: str = SCORE_GEMMA) -> scores.ScoreTables:
    """Return the reference run by score with one of its models, read once; `source` is `SCORE_GEMMA`
    or `SCORE_SMOLLM2`.
    """
    return scores.load_scores(REFERENCE_FOLDERS[source])


def measure_reference_scores(measure: Callable[[pd.DataFrame], pd.DataFrame]) -> dict[str, pd.DataFrame]:
    """Return a table made from the items of the reference run by score, for each of its models."""
    return {source: measure(read_reference_scores(source).items) for source in REFERENCE_FOLDERS}


def tuning_gains(items: pd.DataFrame, cell: str) -> pd.DataFrame:
    """Return the gain of tuning over the base model: on all of the paper's rows, those of no category
    included; on equal parts of three categories in both models of the reference run by score; a cell of
    this run.
    The paper's generation tasks are given by its automatic measures (Table 3), which are of the kind of ours.

    Args:
        items: of this run.
        cell: the tuned model of this run.

    Returns:
        source, tested_on, measure (of the paper's generation tasks), scale, estimate, low, high.
    """
    tables = {
        PAPER: _paper_tuning(),
        **measure_reference_scores(lambda items: transfer_table(items, [FULL_MIXTURE])),
        RUN: transfer_table(items, [cell]),
    }
    return stack_sources(tables)


def _paper_tuning() -> pd.DataFrame:
    import pandas as pd

    figure = ablation.published_transfer_table((ablation.ALL,))
    pairs = pair_scores(load_source("table3"))
    chosen = pairs[(pairs["model"] == ABLATION_MODEL) & pairs["metric"].isin(AUTOMATIC_NAMES)]
    gains = (chosen["tuned"] - chosen["base"]).groupby(chosen["metric"]).mean() / 100
    rows = [
        {"tested_on": "gen", "measure": name, "scale": AUTOMATIC}
        | dict.fromkeys(("estimate", "low", "high"), gains[metric])
        for metric, name in AUTOMATIC_NAMES.items()
    ]
    kept = figure.loc[figure["tested_on"] != "gen"].drop(columns="trained_on")  # one cell has all rows
    return pd.concat([kept, pd.DataFrame(rows)], ignore_index=True)


def single_gains(items: pd.DataFrame, categories: Sequence[str] = SINGLES) -> pd.DataFrame:
    """Return the gain over the base model of tuning on each category alone, of which the run has its own:
    source, trained_on, tested_on, estimate, low, high.
    """
    tables = {
        PAPER: ablation.published_transfer_table(SINGLES),
        **measure_reference_scores(lambda items: transfer_table(items, SINGLES)),
        RUN: transfer_table(items, categories),
    }
    return stack_sources(tables)


def addition_gains() -> pd.DataFrame:
    """Return what a second category adds to the scores on the tasks of the first, v(AB) - v(A), in the paper
    and in both models of the reference run by score: source, target, added, tested_on (the target), estimate,
    low, high.
    """
    tables = {PAPER: paper_additions(), **measure_reference_scores(addition_table)}
    return stack_sources(
        {source: table.assign(tested_on=table["target"]) for source, table in tables.items()}
    )


def paper_additions() -> pd.DataFrame:
    """Return the paper's six additions as differences on a scale from 0 to 1, from Figure 2: target, added,
    estimate, low, high (twice the reading error).
    """
    import pandas as pd

    gains = ablation.published_transfer_table().set_index(["trained_on", "tested_on"])
    rows = []
    for target in SINGLES:
        for added in SINGLES:
            pair = (name_subset((target, added)), target)
            if added != target and pair in gains.index:
                alone, both = gains.loc[(target, target)], gains.loc[pair]
                gain, error = both["estimate"] - alone["estimate"], both["high"] - both["estimate"]
                rows.append(
                    {
                        "target": target,
                        "added": added,
                        "estimate": gain,
                        "low": gain - error,
                        "high": gain + error,
                    }
                )
    return pd.DataFrame(rows)


def stack_sources(tables: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """Return tables of gains below each other, with the columns `source` first and `scale`, which names the
    measure of each gain.
    """
    import pandas as pd

    keys = [
        name
        for name in ("trained_on", "target", "added", "tested_on", "measure", "scale")
        if name in tables[PAPER]
    ]
    stacked = pd.concat(
        [
            table.reindex(columns=[*keys, "estimate", "low", "high"]).assign(source=source)
            for source, table in tables.items()
        ],
        ignore_index=True,
    )
    judged = (stacked["source"] == PAPER) & (stacked["tested_on"] == "gen")
    usual = stacked["tested_on"].map(SCALES).fillna("score").where(~judged, JUDGE)
    return stacked.assign(scale=stacked["scale"].fillna(usual) if "scale" in stacked else usual)


def list_paper_gains(table: pd.DataFrame, keys: Sequence[str]) -> pd.DataFrame:
    """Return the paper's gains, one a combination of keys: of several measures the first."""
    return table[table["source"] == PAPER].drop_duplicates(list(keys))


def count_agreements(table: pd.DataFrame, keys: Sequence[str], source: str = SCORE_GEMMA) -> dict[str, int]:
    """Count the gains of a source that go the paper's way, and the clear ones among them.

    A gain of the paper's that is smaller than the reading error of its figure has no sign to agree with and
    is left out.

    Args:
        table: gains by source.
        keys: columns that name a gain.
        source: to compare with the paper.

    Returns:
        n, n_agree; n_clear, n_clear_agree for those whose interval excludes zero, uncorrected; and n_unknown,
        the gains left out.
    """
    paper = list_paper_gains(table, keys)
    known = excludes_zero(paper)
    theirs = paper[known]
    ours = table[table["source"] == source]
    clear = ours[excludes_zero(ours)]
    every, firm = (ablation.compare_directions(part, theirs, list(keys)) for part in (ours, clear))
    return {
        "n": len(every),
        "n_agree": int(every["same_sign"].sum()),
        "n_clear": len(firm),
        "n_clear_agree": int(firm["same_sign"].sum()),
        "n_unknown": int((~known).sum()),
    }


def list_contradictions(table: pd.DataFrame, source: str = SCORE_GEMMA) -> str:
    """Return the labels of a source's gains that go against the paper's, both intervals without zero, as a
    list for the prose.

    Args:
        table: labelled gains by source (`figure_tables.label_sources`).
        source: to compare with the paper.
    """
    clear = table[excludes_zero(table)]
    firm = ablation.compare_directions(
        *(clear[clear["source"] == name] for name in (source, PAPER)), ["label"]
    )
    return ", ".join(firm.loc[~firm["same_sign"], "label"]) or "none"
