"""Every figure of the book: where it stands, the table it is drawn from, the function that draws it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from functools import cache, partial
from typing import TYPE_CHECKING

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from helpers.analysis import comparison
from helpers.analysis.games import explain_pair, interaction_table, shapley_table
from helpers.analysis.hypotheses import add_holm
from helpers.analysis.measures import compare_models
from helpers.analysis.mixing import forecast, intervals, judgement
from helpers.analysis.published import ablation, claims
from helpers.analysis.published.tables import AUTOMATIC, JUDGED, label_scores
from helpers.analysis.signal_noise import signal_table
from helpers.analysis.statistics import gain_by_task, score_tasks
from helpers.analysis.transfer import addition_table, size_table, synergy_table, transfer_table
from helpers.evaluation.settings import LOSS, SCORE
from helpers.figures.comparison import plot_sources
from helpers.figures.data import (
    plot_growth,
    plot_lengths,
    plot_rejections,
    plot_roots,
    plot_saturation,
    plot_shares,
    plot_similarity,
)
from helpers.figures.endpoints import plot_parts, plot_signal
from helpers.figures.evaluation import plot_differences
from helpers.figures.mixing import plot_forecast, plot_predictions, plot_triangle
from helpers.figures.mixtures import plot_lattice, plot_panels, plot_shapley, plot_sizes
from helpers.figures.outcomes import plot_intervals, plot_loss, plot_scores, plot_task_gains, plot_transfer
from helpers.figures.published import (
    plot_claims,
    plot_published_transfer,
    plot_scores_of_models,
    plot_share_by_size,
    plot_share_of_full_gain,
    plot_size_curves,
    plot_two_accounts,
)
from helpers.figures.sketches import plot_lora, plot_pair, plot_pipeline
from helpers.figures.style import CATEGORY_NAMES, SCORE_UNIT, WIDTH, name_cell
from helpers.jsonl import read_rows
from helpers.paths import RESULTS
from helpers.records import BASE, Instruction
from helpers.store import Run
from helpers.study.cells import LATTICE, SINGLES
from helpers.study.endpoints import UNITS, choose_items, keep_tasks, take_endpoint
from helpers.study.losses import load_losses
from helpers.study.overview import count_stages
from helpers.synthesis.overview import (
    compare_instructions,
    count_growth,
    count_rejections,
    measure_lengths,
    read_parsed_tasks,
    share_categories,
)
from helpers.synthesis.verbs import count_roots
from helpers.tuning.adapter import read_matrices
from helpers.tuning.lora import LOG

if TYPE_CHECKING:
    from helpers.study.study import Study

PUBLISHED_RESULTS = "06_published_results"


@dataclasses.dataclass(frozen=True)
class Drawing:
    """A figure of the book: its notebook, its table, its drawing function and its size in inches."""

    notebook: str
    table: Callable[[Study], pd.DataFrame]
    plot: Callable[..., Axes]
    size: tuple[float, float]
    of_endpoint: bool = False  # whether it shows the study's endpoint, whose unit its axis names


def label_additions(table: pd.DataFrame) -> pd.DataFrame:
    """Return the table of additions with the labels of a forest plot."""
    return table.assign(
        label=[f"{name_cell(row.target)} tasks: + {name_cell(row.added)}" for row in table.itertuples()],
        tested_on=table["target"],
    )


def label_pairs(table: pd.DataFrame) -> pd.DataFrame:
    """Return a table of pairs, such as that of synergies, with the labels of a forest plot."""
    return _label(table, "contrast")


def label_gains(table: pd.DataFrame) -> pd.DataFrame:
    """Return a transfer matrix in long form with the labels of a forest plot."""
    return _label(table, "trained_on")


def _label(table: pd.DataFrame, name: str) -> pd.DataFrame:
    pairs = zip(table[name], table["tested_on"], strict=True)
    return table.assign(label=[f"{name_cell(cell)} on {name_cell(tasks)} tasks" for cell, tasks in pairs])


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


def _tuning(study: Study) -> Run:
    return study.run_cells([study.tuning.categories])[study.tuning.categories].tuning


def _loss(study: Study) -> pd.DataFrame:
    return pd.read_csv(_tuning(study).file(LOG))


def _singles(study: Study) -> pd.DataFrame:
    return study.collect_grid([BASE, *SINGLES])


def _shares(study: Study) -> pd.DataFrame:
    kept = read_rows(study.instruction_file, Instruction)
    return share_categories(
        {"seeds": [seed.category for seed in study.seeds], "kept": [row.category for row in kept]}
    )


def _roots(study: Study) -> pd.DataFrame:
    return count_roots(row.instruction for row in read_rows(study.instruction_file, Instruction))


def _single_losses(study: Study) -> pd.DataFrame:
    return study.collect_losses([BASE, *SINGLES, *study.grid.control_cells])


def list_parts(losses: pd.DataFrame) -> pd.DataFrame:
    """Return the gains of the singles in each part of the loss of the right answers to the tasks: `part`,
    then as `transfer_table`.
    """
    answers = keep_tasks(losses)
    parts = ("stop", "words", "choice", "calibrated")
    tables = {part: transfer_table(take_endpoint(answers, part), SINGLES).assign(part=part) for part in parts}
    return pd.concat(tables.values(), ignore_index=True)


def list_controls(losses: pd.DataFrame) -> pd.DataFrame:
    """Return what each category of rows gains on its own tasks in each part of the loss, as the rows are,
    with shuffled responses, and with matched lengths: part, trained_on (which rows), tested_on, estimate,
    low, high.
    """
    answers = keep_tasks(losses)
    tables = []
    for part in ("stop", "words", "choice", "calibrated"):
        items = take_endpoint(answers, part)
        for kind, mark in {
            "rows as they are": "",
            "shuffled responses": "~shuffled",
            "matched lengths": "~lengths",
        }.items():
            table = transfer_table(items, [f"{name}{mark}" for name in SINGLES])
            own = table[table["trained_on"].str.partition("~")[0] == table["tested_on"]]
            tables.append(own.assign(part=part, trained_on=kind))
    return pd.concat(tables, ignore_index=True)


def read_controls() -> pd.DataFrame:
    """Return the losses of the singles and their controls that `results/controls` keeps."""
    tables = load_losses(RESULTS / "controls")
    return tables.collect(tables.cells["cell"], int(tables.cells["n_rows"].max()))


def list_signals(losses: pd.DataFrame, scores: pd.DataFrame) -> pd.DataFrame:
    """Return signal and noise of the loss, its words, and the scores on each task, as `signal_table`."""
    sources = {name: take_endpoint(keep_tasks(losses), name) for name in (LOSS, "words")}
    return signal_table(sources | {SCORE: scores})


def _reference_losses(cells: Sequence[str]) -> pd.DataFrame:
    return comparison.choose_reference_items(comparison.read_reference_losses(), cells)


@cache
def _predict_mixtures() -> dict[str, pd.DataFrame]:
    """Return the tables of the figures of the mixture law: of the reference run's lattice, the law with the
    least error on mixtures left out.
    """
    tables = comparison.read_reference_losses()
    losses = forecast.read_lattice(tables)
    left_out = judgement.leave_out(losses)
    law = judgement.choose_law(judgement.judge_laws(left_out))
    fits = intervals.fit_losses(losses, law)
    found = forecast.recommend_mixture(tables, fits)
    unseen = pd.concat([left_out, forecast.foretell(tables, [law])], ignore_index=True)
    return {
        "mixture_predictions": judgement.tabulate_predictions(losses, fits, unseen),
        "mixture_triangle": found.mixtures,
        "mixture_forecast": forecast.check_forecast(tables, fits, found),
    }


GALLERY: dict[str, Drawing] = {
    "seed_shares": Drawing(
        "01_seed_curation",
        lambda study: share_categories({"seeds": [seed.category for seed in study.seeds]}),
        plot_shares,
        (WIDTH, 3.2),
    ),
    "seed_lengths": Drawing(
        "01_seed_curation", lambda study: measure_lengths(study.seeds), plot_lengths, (WIDTH, 3.4)
    ),
    "seed_similarity": Drawing(
        "01_seed_curation", lambda study: compare_instructions(study.seeds), plot_similarity, (WIDTH, 3.4)
    ),
    "pipeline": Drawing("02_instruction_synthesis", count_stages, plot_pipeline, (WIDTH, 4.4)),
    "rejections": Drawing(
        "02_instruction_synthesis",
        lambda study: count_rejections(read_parsed_tasks(study.synthesis_run)),
        plot_rejections,
        (WIDTH, 3.4),
    ),
    "growth": Drawing(
        "02_instruction_synthesis",
        lambda study: count_growth(read_parsed_tasks(study.synthesis_run)),
        plot_growth,
        (WIDTH, 3.2),
    ),
    "saturation": Drawing(
        "02_instruction_synthesis",
        lambda study: count_growth(read_parsed_tasks(study.synthesis_run)),
        plot_saturation,
        (WIDTH, 3.4),
    ),
    "kept_shares": Drawing("02_instruction_synthesis", _shares, plot_shares, (WIDTH, 3.6)),
    "root_verbs": Drawing("02_instruction_synthesis", _roots, plot_roots, (WIDTH, 5.8)),
    "lora": Drawing(
        "03_lora_training",
        lambda study: read_matrices(_tuning(study).file("adapter")),
        plot_lora,
        (WIDTH, 3.6),
    ),
    "loss": Drawing("03_lora_training", _loss, plot_loss, (WIDTH, 3.4)),
    "scores": Drawing(
        "03_lora_training",
        lambda study: score_tasks(study.collect_items([BASE, study.tuning.categories])),
        plot_scores,
        (WIDTH, 4.8),
    ),
    "differences": Drawing(
        "03_lora_training",
        lambda study: compare_models(study.collect_items([BASE, study.tuning.categories]), BASE),
        plot_differences,
        (WIDTH, 4.4),
    ),
    "tuning_sources": Drawing(
        "03_lora_training",
        lambda study: label_sources(
            comparison.tuning_gains(
                study.collect_items([BASE, study.tuning.categories]), study.tuning.categories
            )
        ),
        plot_sources,
        (WIDTH, 6.0),
    ),
    "panels": Drawing(
        "04_category_ablation", lambda study: score_tasks(_singles(study)), plot_panels, (WIDTH, 8.4)
    ),
    "gains": Drawing(
        "04_category_ablation",
        lambda study: gain_by_task(_singles(study), SINGLES),
        plot_task_gains,
        (WIDTH, 6.4),
    ),
    "single_transfer": Drawing(
        "04_category_ablation",
        lambda study: add_holm(transfer_table(choose_items(_single_losses(study), LOSS), SINGLES)),
        partial(plot_transfer, unit=UNITS[LOSS]),
        (WIDTH, 4.6),
    ),
    "parts": Drawing(
        "04_category_ablation", lambda study: list_parts(_single_losses(study)), plot_parts, (WIDTH, 5.0)
    ),
    "signal": Drawing(
        "04_category_ablation",
        lambda study: list_signals(_single_losses(study), _singles(study)),
        plot_signal,
        (WIDTH, 4.4),
    ),
    "controls": Drawing(
        "04_category_ablation",
        lambda _: list_controls(read_controls()),
        partial(plot_parts, label="{}"),
        (WIDTH, 5.0),
    ),
    "reference_transfer": Drawing(
        "04_category_ablation",
        lambda _: add_holm(transfer_table(_reference_losses([BASE, *SINGLES]), SINGLES)),
        partial(plot_transfer, unit=UNITS[LOSS]),
        (WIDTH, 4.6),
    ),
    "single_sources": Drawing(
        "04_category_ablation",
        lambda study: label_sources(comparison.single_gains(_singles(study))),
        plot_sources,
        (WIDTH, 7.6),
    ),
    "lattice": Drawing(
        "05_multitask_synergy",
        lambda study: transfer_table(study.endpoint_items, study.grid.lattice_cells[1:]),
        plot_lattice,
        (WIDTH, 8.4),
        of_endpoint=True,
    ),
    "transfer": Drawing(
        "05_multitask_synergy",
        lambda study: add_holm(
            transfer_table(study.endpoint_items, [*study.grid.lattice_cells[1:], *study.grid.control_cells])
        ),
        plot_transfer,
        (WIDTH, 8.8),
        of_endpoint=True,
    ),
    "pair": Drawing("05_multitask_synergy", lambda _: explain_pair(), plot_pair, (WIDTH, 3.6)),
    "additions": Drawing(
        "05_multitask_synergy",
        lambda study: label_additions(add_holm(addition_table(study.endpoint_items, study.grid.players))),
        plot_intervals,
        (WIDTH, 3.8),
        of_endpoint=True,
    ),
    "synergies": Drawing(
        "05_multitask_synergy",
        lambda study: label_pairs(add_holm(synergy_table(study.endpoint_items, study.grid.players))),
        plot_intervals,
        (WIDTH, 4.6),
        of_endpoint=True,
    ),
    "interactions": Drawing(
        "05_multitask_synergy",
        lambda study: label_pairs(add_holm(interaction_table(study.endpoint_items, study.grid.players))),
        plot_intervals,
        (WIDTH, 4.6),
        of_endpoint=True,
    ),
    "shapley": Drawing(
        "05_multitask_synergy",
        lambda study: shapley_table(study.endpoint_items, study.grid.players),
        plot_shapley,
        (WIDTH, 4.4),
        of_endpoint=True,
    ),
    "sizes": Drawing(
        "05_multitask_synergy",
        lambda study: size_table(study.collect_sizes(), study.grid.players),
        plot_sizes,
        (WIDTH, 6.4),
    ),
    "reference_synergies": Drawing(
        "05_multitask_synergy",
        lambda _: label_pairs(add_holm(synergy_table(_reference_losses(LATTICE)))),
        partial(plot_intervals, unit=UNITS[LOSS]),
        (WIDTH, 4.6),
    ),
    "mixture_predictions": Drawing(
        "05_multitask_synergy",
        lambda _: _predict_mixtures()["mixture_predictions"],
        plot_predictions,
        (WIDTH, 4.8),
    ),
    "mixture_triangle": Drawing(
        "05_multitask_synergy", lambda _: _predict_mixtures()["mixture_triangle"], plot_triangle, (WIDTH, 5.6)
    ),
    "mixture_forecast": Drawing(
        "05_multitask_synergy", lambda _: _predict_mixtures()["mixture_forecast"], plot_forecast, (WIDTH, 4.4)
    ),
    "addition_sources": Drawing(
        "05_multitask_synergy",
        lambda _: label_sources(comparison.addition_gains()),
        plot_sources,
        (WIDTH, 6.8),
    ),
    "published_table1": Drawing(
        PUBLISHED_RESULTS,
        lambda _: label_scores(("table1",), ("accuracy",)),
        plot_scores_of_models,
        (WIDTH, 5.6),
    ),
    "published_table2": Drawing(
        PUBLISHED_RESULTS,
        lambda _: label_scores(("table2",), ("precision", "recall", "f1", "conditional_accuracy")),
        plot_scores_of_models,
        (WIDTH, 5.2),
    ),
    "published_table3_judged": Drawing(
        PUBLISHED_RESULTS,
        lambda _: label_scores(("table3",), JUDGED),
        partial(plot_scores_of_models, unit="points, 1 to 5"),
        (WIDTH, 4.6),
    ),
    "published_table3_automatic": Drawing(
        PUBLISHED_RESULTS, lambda _: label_scores(("table3",), AUTOMATIC), plot_scores_of_models, (WIDTH, 4.6)
    ),
    "published_claims": Drawing(
        PUBLISHED_RESULTS, lambda _: claims.list_all_ways(), plot_claims, (WIDTH, 3.6)
    ),
    "published_table4": Drawing(
        PUBLISHED_RESULTS, lambda _: ablation.compare_with_own(), plot_two_accounts, (WIDTH, 4.8)
    ),
    "published_transfer": Drawing(
        PUBLISHED_RESULTS, lambda _: ablation.printed_gains(), plot_published_transfer, (WIDTH, 5.6)
    ),
    "published_figure2": Drawing(
        PUBLISHED_RESULTS, lambda _: ablation.share_of_full_gain(), plot_share_of_full_gain, (WIDTH, 5.8)
    ),
    "published_figure3": Drawing(
        PUBLISHED_RESULTS, lambda _: ablation.gain_curves(), plot_size_curves, (WIDTH, 7.0)
    ),
    "published_sizes": Drawing(
        PUBLISHED_RESULTS, lambda _: ablation.share_by_size(), plot_share_by_size, (WIDTH, 4.2)
    ),
}


def draw(name: str, table: pd.DataFrame, unit: str = SCORE_UNIT) -> Figure:
    """Draw a figure of the gallery from its table; `unit` is that of the endpoint, where it shows one."""
    drawing = GALLERY[name]
    figure = Figure(figsize=drawing.size, layout="constrained")
    drawing.plot(table, figure.add_subplot(), **({"unit": unit} if drawing.of_endpoint else {}))
    return figure
