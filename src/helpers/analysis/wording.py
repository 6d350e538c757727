"""Gains in words: sentences and tables to be read, made from tables of contrasts."""

from __future__ import annotations

from collections.abc import Iterable
from math import exp
from typing import TYPE_CHECKING

from helpers.analysis.hypotheses import split_significant
from helpers.analysis.intervals import write_intervals, write_number
from helpers.records import order_categories
from helpers.study.grid import LATTICE, SINGLES

if TYPE_CHECKING:
    import pandas as pd

PLAIN_NAMES = {"qa": "question answering", "ie": "extraction", "gen": "generation"}  # for running text


def describe_transfer(gains: pd.DataFrame) -> str:
    """Return in a sentence which instructions made right answers likelier on which categories, and which less
    likely; only gains that hold after Holm's correction count.

    Args:
        gains: `transfer_table` with `p_holm` (`hypotheses.add_holm`).
    """
    clauses = []
    for name, rows in gains.groupby("trained_on", sort=False):
        significant, _ = split_significant(rows)
        found = {
            "more likely": significant.loc[significant["estimate"] > 0, "tested_on"],
            "less likely": significant.loc[significant["estimate"] < 0, "tested_on"],
        }
        said = [f"{how} on {name_together(on)}" for how, on in found.items() if len(on)]
        what = "them" if clauses else "right answers"
        done = f"made {what} {' and '.join(said)}" if said else f"changed {what} on none clearly"
        clauses.append(f"{PLAIN_NAMES[name].replace(' ', '-')} instructions {done}")
    text = "; ".join(clauses)
    return f"{text[:1].upper()}{text[1:]}."


def describe_task_gains(gains: pd.DataFrame) -> str:
    """Return in a sentence on how many test sets right answers became more or less likely after tuning on
    each category; only gains that hold after Holm's correction count.

    Args:
        gains: `reference_losses.collect_task_gains`.
    """
    significant, _ = split_significant(gains)
    clauses = []
    for name in dict.fromkeys(gains["cell"]):
        estimates = significant.loc[significant["cell"] == name, "estimate"]
        n_more, n_less = (estimates > 0).sum(), (estimates < 0).sum()
        less = f" and less likely on {n_less}" if n_less else ""
        clauses.append(f"on {n_more}{less} after tuning on {PLAIN_NAMES[name]}")
    return (
        f"Of {gains['task'].nunique()} public test sets, right answers (without their end) became clearly "
        f"more likely {', '.join(clauses[:-1])}, and {clauses[-1]} ({gains['n_seeds'].max()} training seeds)."
    )


def describe_synergies(synergies: pd.DataFrame) -> str:
    """Return in a sentence which pairs were better than the mean of their two categories alone, which worse,
    and by how much; only what holds after Holm's correction counts.

    Args:
        synergies: `synergy_table` with `p_holm` (`hypotheses.add_holm`), nats per token.
    """
    significant, _ = split_significant(synergies)
    counted = []
    for rows in (significant[significant["estimate"] > 0], significant[significant["estimate"] < 0]):
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


def describe_better_parts(better: pd.DataFrame) -> str:
    """Return in a sentence how often a pair was above, and how often below, the better of its two parts, by
    intervals that no correction has widened.

    Args:
        better: `transfer.best_part_table`.
    """
    n_above, n_below = (better["low"] > 0).sum(), (better["high"] < 0).sum()
    return (
        f"Against the better of its two parts, the interval lay above zero in {n_above} of {len(better)} "
        f"comparisons, and below zero in {n_below} (not corrected for their number)."
    )


def describe_shuffled(beyond: pd.DataFrame) -> str:
    """Return in words how often rows with shuffled responses gained less than the rows as they are, counting
    differences that hold after Holm's correction, and how often they seem to have done harm.

    Args:
        beyond: `reference_losses.compare_with_control` of shuffled rows, with `p_holm`.
    """
    significant, _ = split_significant(beyond)
    n_less, n_harmed = (significant["estimate"] > 0).sum(), (beyond["control"] < 0).sum()
    said = (
        "Tuned on rows whose responses were exchanged within a category, models were clearly worse than with "
        f"the rows as they are in {n_less} of {len(beyond)} comparisons."
    )
    return said + (
        f" In {n_harmed} the estimate was below that before tuning, so this control does not say how much of "
        "a gain is content."
        if n_harmed
        else ""
    )


def describe_confirmation(synergies: pd.DataFrame, by_size: pd.DataFrame, n_rows: int) -> str:
    """Return in a sentence for each other number of rows how many of the synergies that hold do so again
    there, with the same sign; nothing where none holds or no other number is there.

    Args:
        synergies: as `describe_synergies` takes them, of models of `n_rows` rows.
        by_size: the same for each number of rows (`reference_losses.collect_synergies_by_size`).
        n_rows: of the first table, which is left out of the second.
    """
    found = _list_signs(synergies)
    sentences = []
    for size, own in by_size[by_size["n_rows"] != n_rows].groupby("n_rows"):
        n_again = len(found & _list_signs(own))
        if len(found) == 1:
            what = f"the one clear difference {'held' if n_again else 'did not hold'} again"
        else:
            what = f"{n_again} of the {len(found)} clear differences held again"
        sentences += [f"With {size} rows per model {what}."] if found else []
    return " ".join(sentences)


def describe_matched_lengths(matched: pd.DataFrame, by_size: pd.DataFrame) -> str:
    """Return in sentences for each number of rows how many of the synergies that hold do so again where
    the lengths of responses match, with the same sign, and how many synergies are told apart from those of
    the rows as they are; nothing where no such models are there.

    Args:
        matched: `reference_losses.compare_synergies_with_control` of matched lengths.
        by_size: the synergies of the rows as they are, under all of their training seeds
            (`reference_losses.collect_synergies_by_size`).
    """
    sentences = []
    for size, own in matched.groupby("n_rows"):
        kinds = {kind: rows.set_index(["contrast", "tested_on"]) for kind, rows in own.groupby("rows")}
        difference = kinds["difference"]
        found = _list_signs(by_size[by_size["n_rows"] == size])
        n_again = len(found & _list_signs(own[own["rows"] == "control"]))
        apart, _ = split_significant(difference)
        changes = [
            f"{name_together(place[0].split('+'))} instructions on {PLAIN_NAMES[place[1]]}, "
            f"{write_number(kinds['as they are'].loc[place, 'estimate'], '+')} before and "
            f"{write_number(kinds['control'].loc[place, 'estimate'], '+')} then, a difference of {text}"
            for place, text in zip(apart.index, write_intervals(apart, "+"), strict=True)
        ]
        sentences.append(
            f"Among models of {size} rows, {len(found)} of {len(difference)} differences between a pair and "
            f"the mean of its parts were clear. {n_again or 'None'} of them held again with responses of "
            f"about the same lengths in all categories, and {len(apart)} of {len(difference)} changed clearly"
            + (f" ({'; '.join(changes)} nats per token)" if changes else "")
            + ". Such rows are a selection, so length need not be the reason."
        )
    return " ".join(sentences)


def _list_signs(synergies: pd.DataFrame) -> set[tuple[str, str, bool]]:
    """Return the synergies that hold: pair, category of held-out rows, and whether it is above zero."""
    significant, _ = split_significant(synergies)
    return {(row.contrast, row.tested_on, row.estimate > 0) for row in significant.itertuples()}


def tabulate_gains(table: pd.DataFrame, name: str, title: str) -> pd.DataFrame:
    """Return a corrected table of contrasts as a wide one to be read: one row per contrast, one column per
    category of tasks, '+0.82 [0.50, 1.17]' with a star where it holds after the correction.

    Args:
        table: tested_on, estimate, low, high, p_holm, and the column that names a contrast.
        name: of that column, such as `trained_on`.
        title: of the column in the wide table.
    """
    significant, _ = split_significant(table)
    stars = ["*" * (label in significant.index) for label in table.index]
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
