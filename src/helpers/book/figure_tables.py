"""Tables of the figures, where these take more than one call, and the labels of their rows."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import cache
from typing import TYPE_CHECKING, NamedTuple

import pandas as pd

from helpers.analysis import controls, reference_losses
from helpers.analysis.hypotheses import add_holm
from helpers.analysis.mixing import cross_validation, fit_intervals, forecast
from helpers.analysis.signal_noise import signal_table
from helpers.analysis.transfer import synergy_table, transfer_table
from helpers.figures.style import CATEGORY_NAMES, name_cell
from helpers.jsonl import read_rows
from helpers.paths import RESULTS
from helpers.records import BASE, CONTROL_SEPARATOR, Instruction
from helpers.store import Run
from helpers.study.endpoints import (
    LOSS,
    LOSS_COLUMNS,
    SCORE,
    keep_held_out,
    keep_tasks,
    loss_to_log_likelihood,
)
from helpers.study.grid import LATTICE, SINGLES
from helpers.study.losses import load_losses
from helpers.study.seed_spread import MEASURED_SEEDS_FOLDER, add_spread
from helpers.synthesis.overview import tabulate_category_shares
from helpers.synthesis.verbs import count_roots
from helpers.tuning.stage import LOG

if TYPE_CHECKING:
    from helpers.analysis.mixing.losses import LossArrays
    from helpers.analysis.mixing.recommendation import Recommendation
    from helpers.study.study import Study


def label_additions(table: pd.DataFrame) -> pd.DataFrame:
    """Return the table of additions with labels for figures and lists, such as 'QA: + IE'."""
    return table.assign(
        label=[f"{name_cell(row.target)}: + {name_cell(row.added)}" for row in table.itertuples()],
        tested_on=table["target"],
    )


def label_pairs(table: pd.DataFrame) -> pd.DataFrame:
    """Return a table of pairs, such as that of synergies, with labels for figures and lists."""
    return _label(table, "contrast")


def label_gains(table: pd.DataFrame) -> pd.DataFrame:
    """Return a transfer matrix in long form with labels such as 'QA on IE'."""
    return _label(table, "trained_on")


def _label(table: pd.DataFrame, name: str) -> pd.DataFrame:
    pairs = zip(table[name], table["tested_on"], strict=True)
    return table.assign(label=[f"{name_cell(cell)} on {name_cell(items)}" for cell, items in pairs])


def label_sources(table: pd.DataFrame) -> pd.DataFrame:
    """Return a table of gains by source with the labels of its figure: of tuning, of a category alone, or of
    a second one.
    """
    if "added" in table:
        return label_additions(table)
    if "trained_on" in table:
        return label_gains(table)
    names = table["tested_on"].map(CATEGORY_NAMES)
    if "measure" in table:
        names = names + table["measure"].map(", {}".format, na_action="ignore").fillna("")
    return table.assign(label=names)


def run_chosen_tuning(study: Study) -> Run:
    """Return the tuning of the cell that the study's parameters name. Where it is not stored, the cell is
    tuned and answers all tasks, as the other figures of the lesson need it to.
    """
    return study.answer_cells_of_one_seed([study.tuning_settings.categories])[
        study.tuning_settings.categories
    ].tuning


def read_training_log(study: Study) -> pd.DataFrame:
    """Return the log of that tuning, one row per step."""
    return pd.read_csv(run_chosen_tuning(study).file(LOG))


def collect_tuning_scores(study: Study) -> pd.DataFrame:
    """Return the scores of the base model and of the one that the study's parameters name, under its training
    seed.
    """
    return study.collect_scores_of_one_seed([BASE, study.tuning_settings.categories])


def collect_single_scores(study: Study) -> pd.DataFrame:
    """Return the scores of the base model and the single categories, tuned where they are not stored."""
    return study.collect_scores_of_all_seeds([BASE, *study.grid_settings.lattice_categories])


def tabulate_kept_shares(study: Study) -> pd.DataFrame:
    """Return the shares of the categories among the seeds and the kept rows, held-out ones included."""
    kept = read_rows(study.all_rows_file, Instruction)
    return tabulate_category_shares(
        {"seeds": [seed.category for seed in study.seed_tasks], "kept": [row.category for row in kept]}
    )


def count_kept_roots(study: Study) -> pd.DataFrame:
    """Return the commonest root verbs of the kept rows, held-out ones included."""
    return count_roots(row.instruction for row in read_rows(study.all_rows_file, Instruction))


def collect_losses_with_controls(study: Study) -> pd.DataFrame:
    """Return the losses of base model, single categories and controls, tuned where they are not stored."""
    return study.collect_losses(
        [BASE, *study.grid_settings.lattice_categories, *study.grid_settings.control_cells]
    )


def tabulate_parts(losses: pd.DataFrame, categories: Sequence[str] = SINGLES) -> pd.DataFrame:
    """Return the gains of single categories in each measured loss of the right answers to the tasks (text
    and end add up to the loss; choice and calibrated stand beside it): `part`, then as `transfer_table`.
    """
    answers = keep_tasks(losses)
    # without options there is no choice
    there = [part for part in LOSS_COLUMNS if answers[part].notna().any()]
    tables = {
        part: transfer_table(loss_to_log_likelihood(answers, part), categories).assign(part=part)
        for part in there
    }
    return pd.concat(tables.values(), ignore_index=True)


def tabulate_controls(losses: pd.DataFrame) -> pd.DataFrame:
    """Return what each category of rows gains on its own tasks in each measured loss, as the rows are,
    with shuffled responses, and with matched lengths: part, trained_on (which rows), tested_on, estimate,
    low, high.
    """
    answers = keep_tasks(losses)
    tables = []
    for part in LOSS_COLUMNS:
        items = loss_to_log_likelihood(answers, part)
        for kind, suffix in ({"rows as they are": ""} | controls.SUFFIXES).items():
            table = transfer_table(items, [f"{name}{suffix}" for name in SINGLES])
            own = table[table["trained_on"].str.partition(CONTROL_SEPARATOR)[0] == table["tested_on"]]
            tables.append(own.assign(part=part, trained_on=kind))
    return pd.concat(tables, ignore_index=True)


def read_controls() -> pd.DataFrame:
    """Return the losses of the singles and their controls that `results/controls` keeps."""
    tables = load_losses(RESULTS / "controls")
    return tables.collect(tables.cells["cell"], int(tables.cells["n_rows"].max()))


def select_control_items(losses: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Return by the measured loss what the stored controls are compared on: the end and the text on
    held-out rows, with the spread over seeds that `results/training_seeds` holds for the same tuning; the
    choice on the tasks with options.
    """
    kept = load_losses(MEASURED_SEEDS_FOLDER)
    measured = kept.collect([BASE, *SINGLES], int(kept.cells["n_rows"].max()))
    held_out = keep_held_out(losses)
    items = {
        part: add_spread(loss_to_log_likelihood(held_out, part), loss_to_log_likelihood(measured, part))
        for part in ("end", "text")
    }
    return items | {"choice": loss_to_log_likelihood(keep_tasks(losses), "choice")}


def tabulate_signals(losses: pd.DataFrame, scores: pd.DataFrame) -> pd.DataFrame:
    """Return signal and noise of the loss, its text, and the scores on each task, as `signal_table`. All are
    of the cells that have scores: losses of others, such as controls, are left out.
    """
    answers = keep_tasks(losses[losses["cell"].isin(scores["cell"])])
    sources = {name: loss_to_log_likelihood(answers, name) for name in (LOSS, "text")}
    return signal_table(sources | {SCORE: scores})


def select_reference_items(cells: Sequence[str]) -> pd.DataFrame:
    """Return the held-out rows of some cells of the reference run by loss, minus the loss as `score`."""
    return reference_losses.select_loss_items(reference_losses.read_reference_losses(), cells)


@cache
def measure_reference_gains() -> pd.DataFrame:
    """Return the gains of single categories in the reference run by loss, with Holm's correction."""
    return add_holm(transfer_table(select_reference_items([BASE, *SINGLES]), SINGLES))


@cache
def measure_reference_synergies() -> pd.DataFrame:
    """Return the synergies of pairs in the reference run by loss, with Holm's correction."""
    return add_holm(synergy_table(select_reference_items(LATTICE)))


def read_law_cases() -> pd.DataFrame:
    """Return how far the intervals of a mixture law hold in simulated studies, which `study bench` measured:
    one row per case, columns named for readers.
    """
    stored = json.loads((RESULTS / "bench" / "coverage_mixture_cases.json").read_text(encoding="utf-8"))
    return pd.DataFrame(stored["cases"]).rename(
        columns={
            "law": "losses follow",
            "cells": "models",
            "n": "studies",
            "losses": "loss included",
            "gains": "gain included",
            "false_claims": "false claims",
            "shortfall": "short of the best",
        }
    )


class LatticeFit(NamedTuple):
    """A mixture law fitted to the lattice of the reference run by loss.

    Attributes:
        losses: of the lattice.
        left_out: what each law predicted of the mixtures that it was not fitted to.
        fits: of the law with the least error on these, by category of held-out rows.
        found: the mixture that it recommends for the mean of the categories.
    """

    losses: LossArrays
    left_out: pd.DataFrame
    fits: Mapping[str, fit_intervals.Fit]
    found: Recommendation


@cache
def fit_reference_lattice() -> LatticeFit:
    """Fit the law to the lattice of the reference run by loss, once."""
    tables = reference_losses.read_reference_losses()
    losses = forecast.read_lattice(tables)
    left_out = cross_validation.cross_validate_laws(losses)
    law = cross_validation.choose_law(cross_validation.average_errors(left_out))
    fits = fit_intervals.fit_losses(losses, law)
    return LatticeFit(losses, left_out, fits, forecast.recommend_mixture(tables, fits))


@cache
def predict_mixtures() -> dict[str, pd.DataFrame]:
    """Return the tables of the figures of the mixture law: of the lattice of the reference run by loss, the
    law with the least error on mixtures left out.
    """
    tables = reference_losses.read_reference_losses()
    losses, left_out, fits, found = fit_reference_lattice()
    law = next(iter(fits.values())).law_name
    unseen = pd.concat([left_out, forecast.predict_later(tables, [law])], ignore_index=True)
    return {
        "mixture_predictions": cross_validation.tabulate_predictions(losses, fits, unseen),
        "mixture_triangle": found.mixtures,
        "mixture_forecast": forecast.compare_forecast(tables, fits, found),
    }
