"""The same gains from several sources: the paper's figure, the reference run by score with its two models,
this run; and whether they go the same way.

Only directions compare. The paper's gains are those of a model of seven billion parameters with thousands of
rows. Its generation tasks are measured by GPT-4 (1 to 5, here by its span) or by automatic measures, ours by
ROUGE-L, so `scale` names the measure of each gain. Its bars are reading errors, not confidence intervals.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache
from math import exp
from typing import TYPE_CHECKING

from helpers.analysis.hypotheses import split_significant
from helpers.analysis.intervals import write_intervals
from helpers.analysis.published import ablation
from helpers.analysis.published.checks import MODEL
from helpers.analysis.published.tables import load_source, pair_scores
from helpers.analysis.statistics import contrast_by_category, exclude_zero
from helpers.analysis.transfer import addition_table, transfer_table
from helpers.records import BASE, order_categories
from helpers.study import reference
from helpers.study.cells import LATTICE, PAIRS, SINGLES, name_subset
from helpers.study.endpoints import LOSS, ROWS, keep_held_out, loss_to_log_likelihood
from helpers.study.losses import LossTables, load_losses
from helpers.tuning.controls import LENGTHS, SEPARATOR

if TYPE_CHECKING:
    import pandas as pd

PAPER, REFERENCE, SECOND, RUN = "paper", "reference", "second", "run"
REFERENCE_FOLDERS = {
    REFERENCE: reference.REFERENCE_FOLDER,
    SECOND: reference.REFERENCE_FOLDER / "smollm2-135m",
}
MIXTURE = name_subset(SINGLES)
LOSSES_FOLDER = reference.REFERENCE_FOLDER / "losses"
SCALES = {"qa": "accuracy", "ie": "F1", "gen": "ROUGE-L"}  # each from 0 to 1
JUDGE = "the paper's GPT-4 score, 0 to 1 of its span"
AUTOMATIC = "the paper's automatic measures, 0 to 1"
AUTOMATIC_NAMES = {"concept_f1": "concept F1", "bleurt": "BLEURT", "bertscore_f1": "BERTScore"}
PLAIN_NAMES = {"qa": "question answering", "ie": "extraction", "gen": "generation"}  # for running text


@cache
def read_reference_scores(source: str = REFERENCE) -> reference.Reference:
    """Return the reference run by score with one of its models, read once; `source` is `REFERENCE` or
    `SECOND`.
    """
    return reference.load_reference(REFERENCE_FOLDERS[source])


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
        **measure_reference_scores(lambda items: transfer_table(items, [MIXTURE])),
        RUN: transfer_table(items, [cell]),
    }
    return stack_sources(tables)


def _paper_tuning() -> pd.DataFrame:
    import pandas as pd

    figure = ablation.published_transfer_table((ablation.ALL,))
    pairs = pair_scores(load_source("table3"))
    chosen = pairs[(pairs["model"] == MODEL) & pairs["metric"].isin(AUTOMATIC_NAMES)]
    gains = (chosen["tuned"] - chosen["base"]).groupby(chosen["metric"]).mean() / 100
    rows = [
        {"tested_on": "gen", "measure": name, "scale": AUTOMATIC}
        | dict.fromkeys(("estimate", "low", "high"), gains[metric])
        for metric, name in AUTOMATIC_NAMES.items()
    ]
    kept = figure.loc[figure["tested_on"] != "gen"].drop(columns="trained_on")  # one cell has all rows
    return pd.concat([kept, pd.DataFrame(rows)], ignore_index=True)


def single_gains(items: pd.DataFrame) -> pd.DataFrame:
    """Return the gain over the base model of tuning on each category alone: source, trained_on,
    tested_on, estimate, low, high.
    """
    tables = {
        PAPER: ablation.published_transfer_table(SINGLES),
        **measure_reference_scores(lambda items: transfer_table(items, SINGLES)),
        RUN: transfer_table(items, SINGLES),
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


@cache
def read_reference_losses() -> LossTables:
    """Return the losses of the reference run by loss, read once."""
    return load_losses(LOSSES_FOLDER)


def count_lattice_rows(tables: LossTables) -> int:
    """Return the number of training rows of the lattice of the reference run by loss: that at which the most
    cells are.
    """
    return int(tables.cells.groupby("n_rows")["cell"].nunique().idxmax())


def choose_loss_items(
    tables: LossTables, cells: Iterable[str], endpoint: str = LOSS, weighting: str = ROWS
) -> pd.DataFrame:
    """Return an endpoint of cells of the reference run by loss on held-out rows, as
    `endpoints.loss_to_log_likelihood` does.
    """
    found = tables.collect(cells, count_lattice_rows(tables))
    return loss_to_log_likelihood(keep_held_out(found), endpoint, weighting)


def collect_size_gains(tables: LossTables) -> pd.DataFrame:
    """Return the gains over the base model of the singles and the mixture of all, for each number of rows of
    the reference run by loss that has all of these under one training seed or more.

    Returns:
        size, then as `transfer_table`, where low, high and p are empty under one seed: an interval of the
        items alone would not compare with the others; empty where there is one number of rows only.
    """
    import pandas as pd

    names, frames = [*SINGLES, MIXTURE], []
    for size, cells in tables.cells[tables.cells["n_rows"] > 0].groupby("n_rows"):
        by_seed = cells.groupby("seed")["cell"].agg(set)
        if any(set(names) <= own for own in by_seed):
            items = loss_to_log_likelihood(keep_held_out(tables.collect([BASE, *names], size)))
            gains = transfer_table(items, names)
            gains.loc[gains["n_seeds"] == 1, ["low", "high", "p"]] = float("nan")
            gains.insert(0, "size", size)
            frames.append(gains)
    return pd.concat(frames, ignore_index=True) if len(frames) > 1 else pd.DataFrame(columns=["size"])


def compare_additive_budget(tables: LossTables) -> pd.DataFrame:
    """Return what a second category adds with the additive budget in the reference run by loss: a pair in
    equal parts against its single category with half as many rows, so that no row is displaced.

    Returns:
        As `addition_table`, under the training seeds that have all of these cells; empty without such a seed.
    """
    import pandas as pd

    cells, size = tables.cells, count_lattice_rows(tables)
    pairs = cells["cell"].isin(PAIRS) & (cells["n_rows"] == size)
    halves = cells["cell"].isin(SINGLES) & (cells["n_rows"] == size / 2)
    by_seed = cells[pairs | halves].groupby("seed")["cell"].agg(set)
    seeds = [seed for seed, own in by_seed.items() if {*PAIRS, *SINGLES} <= own]
    if not seeds:
        return pd.DataFrame(columns=["target"])
    items = pd.concat([tables.collect(PAIRS, size), tables.collect(SINGLES, size // 2)], ignore_index=True)
    return addition_table(loss_to_log_likelihood(keep_held_out(items[items["seed"].isin(seeds)])))


def compare_matched_lengths(tables: LossTables) -> pd.DataFrame:
    """Return what the rows of a category gain beyond rows of the same category whose response lengths match
    those of the others, in the reference run by loss, where the gain of the matched rows (`matched`) stands
    beside.

    Returns:
        trained_on, tested_on, matched (gain over the base model), then of the difference estimate, low, high,
        p, n, n_seeds, under the training seeds that have all of these cells; empty without such a seed.
    """
    import pandas as pd

    matched = {name: f"{name}{SEPARATOR}{LENGTHS}" for name in SINGLES}
    cells = tables.cells[tables.cells["n_rows"] == count_lattice_rows(tables)]
    by_seed = cells.groupby("seed")["cell"].agg(set)
    if not any({*matched, *matched.values()} <= own for own in by_seed):
        return pd.DataFrame(columns=["trained_on"])
    items = choose_loss_items(tables, [BASE, *matched, *matched.values()])
    gains = transfer_table(items, matched.values())["estimate"].to_numpy()
    weights = {name: {name: 1.0, other: -1.0} for name, other in matched.items()}
    table = contrast_by_category(items, weights).rename(columns={"contrast": "trained_on"})
    table.insert(2, "matched", gains)
    return table


def describe_transfer(gains: pd.DataFrame) -> str:
    """Return in a sentence which instructions made right answers likelier on which categories, and which less
    likely; only gains that hold after Holm's correction count.

    Args:
        gains: `transfer_table` with `p_holm` (`hypotheses.add_holm`).
    """
    clauses = []
    for name, rows in gains.groupby("trained_on", sort=False):
        held, _ = split_significant(rows)
        found = {
            "more likely": held.loc[held["estimate"] > 0, "tested_on"],
            "less likely": held.loc[held["estimate"] < 0, "tested_on"],
        }
        said = [f"{how} on {name_together(on)}" for how, on in found.items() if len(on)]
        what = "them" if clauses else "right answers"
        done = f"made {what} {' and '.join(said)}" if said else f"changed {what} on none clearly"
        clauses.append(f"{PLAIN_NAMES[name].replace(' ', '-')} instructions {done}")
    text = "; ".join(clauses)
    return f"{text[:1].upper()}{text[1:]}."


def describe_synergies(synergies: pd.DataFrame) -> str:
    """Return in a sentence which pairs were better than the mean of their two categories alone, which worse,
    and by how much; only what holds after Holm's correction counts.

    Args:
        synergies: `synergy_table` with `p_holm` (`hypotheses.add_holm`), nats per token.
    """
    held, _ = split_significant(synergies)
    counted = []
    for rows in (held[held["estimate"] > 0], held[held["estimate"] < 0]):
        pairs = [
            f"{name_together(row.contrast.split('+'))} instructions on {PLAIN_NAMES[row.tested_on]}, {text}"
            for row, text in zip(rows.itertuples(), write_intervals(rows, "+"), strict=True)
        ]
        counted.append(
            f"{len(rows)} of {len(synergies)} comparisons"
            + (f" ({'; '.join(pairs)} nats per token)" if pairs else "")
        )
    above, below = counted
    return f"A pair was clearly above the mean of its two parts in {above}, and clearly below it in {below}."


def tabulate_gains(table: pd.DataFrame, name: str, title: str) -> pd.DataFrame:
    """Return a corrected table of contrasts as a wide one to be read: one row per contrast, one column per
    category of tasks, '+0.82 [0.50, 1.17]' with a star where it holds after the correction.

    Args:
        table: tested_on, estimate, low, high, p_holm, and the column that names a contrast.
        name: of that column, such as `trained_on`.
        title: of the column in the wide table.
    """
    held, _ = split_significant(table)
    stars = ["*" * (label in held.index) for label in table.index]
    texts = [text + star for text, star in zip(write_intervals(table, "+"), stars, strict=True)]
    wide = table.assign(text=texts).pivot(index=name, columns="tested_on", values="text")
    order = list(dict.fromkeys(table[name]))
    columns = {
        category: f"on {PLAIN_NAMES.get(category, category)}"
        for category in order_categories(table["tested_on"])
    }
    wide = wide.loc[order, list(columns)].rename(
        columns=columns, index=lambda cell: cell.upper().replace("+", " + ") if cell in LATTICE else cell
    )
    return wide.rename_axis(index=title, columns=None).reset_index()


def likelihood_ratio(nats: float) -> float:
    """Return how many times as likely a token became by a gain in nats per token."""
    return exp(nats)


def name_together(categories: Iterable[str]) -> str:
    """Return the names of categories for running text, such as 'extraction and generation'."""
    names = [PLAIN_NAMES[name] for name in order_categories(categories)]
    return "all three categories" if len(names) == len(SINGLES) else " and ".join(names)


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


def count_agreements(table: pd.DataFrame, keys: Sequence[str], source: str = REFERENCE) -> dict[str, int]:
    """Count the gains of a source that go the paper's way, and the clear ones among them.

    A gain of the paper's that is smaller than the reading error of its figure has no sign to agree with and
    is left out.

    Args:
        table: gains by source.
        keys: columns that name a gain.
        source: to compare with the paper.

    Returns:
        n, agree; n_clear, agree_clear for those whose interval excludes zero, uncorrected; and n_unknown, the
        gains left out.
    """
    paper = list_paper_gains(table, keys)
    known = exclude_zero(paper)
    theirs = paper[known]
    ours = table[table["source"] == source]
    clear = ours[exclude_zero(ours)]
    every, firm = (ablation.compare_directions(part, theirs, list(keys)) for part in (ours, clear))
    return {
        "n": len(every),
        "agree": int(every["agrees"].sum()),
        "n_clear": len(firm),
        "agree_clear": int(firm["agrees"].sum()),
        "n_unknown": int((~known).sum()),
    }


def list_contradictions(table: pd.DataFrame, source: str = REFERENCE) -> str:
    """Return the labels of a source's gains that go against the paper's, both intervals without zero, as a
    list for the prose.

    Args:
        table: labelled gains by source (`figure_tables.label_sources`).
        source: to compare with the paper.
    """
    clear = table[exclude_zero(table)]
    firm = ablation.compare_directions(
        *(clear[clear["source"] == name] for name in (source, PAPER)), ["label"]
    )
    return ", ".join(firm.loc[~firm["agrees"], "label"]) or "none"
