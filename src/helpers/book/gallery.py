"""Every figure of the book: where it stands, its table, the function that draws it, its height."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from helpers.analysis import reference_losses, source_comparison
from helpers.analysis.contrasts import average_scores, gain_by_task
from helpers.analysis.games import explain_pair, interaction_table, shapley_table
from helpers.analysis.hypotheses import add_holm
from helpers.analysis.paired_tests import compare_models
from helpers.analysis.published import ablation, claims
from helpers.analysis.published.tables import AUTOMATIC, JUDGED, label_scores
from helpers.analysis.transfer import addition_table, size_table, synergy_table, transfer_table
from helpers.book.figure_tables import (
    collect_single_losses,
    collect_singles,
    count_kept_roots,
    label_additions,
    label_pairs,
    label_sources,
    list_signals,
    predict_mixtures,
    read_controls,
    read_training_log,
    run_chosen_tuning,
    select_reference_items,
    tabulate_controls,
    tabulate_kept_shares,
    tabulate_parts,
)
from helpers.figures.comparison import plot_sources
from helpers.figures.endpoints import plot_parts, plot_signal
from helpers.figures.evaluation import plot_differences
from helpers.figures.lattice import plot_lattice, plot_shapley, plot_sizes, plot_task_scores
from helpers.figures.mixing import plot_forecast, plot_predictions, plot_size_gains, plot_triangle
from helpers.figures.outcomes import plot_intervals, plot_loss, plot_scores, plot_task_gains, plot_transfer
from helpers.figures.published import (
    plot_claims,
    plot_published_transfer,
    plot_scores_of_models,
    plot_share_by_size,
    plot_share_of_full_gain,
    plot_size_curves,
    plot_table4_beside_figure2,
)
from helpers.figures.sketches import plot_lora, plot_pair, plot_pipeline
from helpers.figures.style import WIDTH
from helpers.figures.synthesis import (
    plot_growth,
    plot_lengths,
    plot_rejections,
    plot_roots,
    plot_saturation,
    plot_shares,
    plot_similarity,
)
from helpers.records import BASE
from helpers.study.endpoints import ENDPOINTS, LOSS, SCORE
from helpers.study.grid import LATTICE, SINGLES
from helpers.study.overview import count_stages
from helpers.synthesis.overview import (
    compare_instructions,
    count_growth,
    count_rejections,
    measure_lengths,
    read_parsed_tasks,
    tabulate_category_shares,
)
from helpers.tuning.lora import read_matrices

if TYPE_CHECKING:
    from helpers.study.study import Study

# the notebooks, where the figures stand
SEEDS, SYNTHESIS, TUNING = "01_seed_curation", "02_instruction_synthesis", "03_lora_training"
ABLATION, SYNERGY, PUBLISHED = "04_category_ablation", "05_multitask_synergy", "06_published_results"


def describe_endpoint(name: str) -> dict[str, str]:
    """Return what a figure says of an endpoint: its unit, and what it is measured on."""
    return {"unit": ENDPOINTS[name].unit, "items": ENDPOINTS[name].measured_on}


@dataclasses.dataclass(frozen=True)
class FigureSpec:
    """A figure of the book: notebook, table, drawing function and height (inches; all are equally wide)."""

    notebook: str
    table: Callable[[Study], pd.DataFrame]
    plot: Callable[..., Axes]
    height: float
    of_endpoint: bool = False  # whether it shows the study's endpoint, and names its unit and items


GALLERY: dict[str, FigureSpec] = {
    "seed_shares": FigureSpec(
        SEEDS,
        lambda study: tabulate_category_shares({"seeds": [seed.category for seed in study.seed_tasks]}),
        plot_shares,
        3.2,
    ),
    "seed_lengths": FigureSpec(SEEDS, lambda study: measure_lengths(study.seed_tasks), plot_lengths, 3.4),
    "seed_similarity": FigureSpec(
        SEEDS, lambda study: compare_instructions(study.seed_tasks), plot_similarity, 3.4
    ),
    "pipeline": FigureSpec(SYNTHESIS, count_stages, plot_pipeline, 4.4),
    "rejections": FigureSpec(
        SYNTHESIS,
        lambda study: count_rejections(read_parsed_tasks(study.synthesis_run)),
        plot_rejections,
        3.4,
    ),
    "growth": FigureSpec(
        SYNTHESIS, lambda study: count_growth(read_parsed_tasks(study.synthesis_run)), plot_growth, 3.2
    ),
    "saturation": FigureSpec(
        SYNTHESIS, lambda study: count_growth(read_parsed_tasks(study.synthesis_run)), plot_saturation, 3.4
    ),
    "kept_shares": FigureSpec(SYNTHESIS, tabulate_kept_shares, plot_shares, 3.6),
    "root_verbs": FigureSpec(SYNTHESIS, count_kept_roots, plot_roots, 5.8),
    "lora": FigureSpec(
        TUNING, lambda study: read_matrices(run_chosen_tuning(study).file("adapter")), plot_lora, 3.6
    ),
    "loss": FigureSpec(TUNING, read_training_log, plot_loss, 3.4),
    "scores": FigureSpec(
        TUNING,
        lambda study: average_scores(
            study.collect_scores_of_one_seed([BASE, study.tuning_settings.categories])
        ),
        plot_scores,
        4.8,
    ),
    "differences": FigureSpec(
        TUNING,
        lambda study: compare_models(
            study.collect_scores_of_one_seed([BASE, study.tuning_settings.categories]), BASE
        ),
        plot_differences,
        4.4,
    ),
    "tuning_sources": FigureSpec(
        TUNING,
        lambda study: label_sources(
            source_comparison.tuning_gains(
                study.collect_scores_of_one_seed([BASE, study.tuning_settings.categories]),
                study.tuning_settings.categories,
            )
        ),
        plot_sources,
        6.0,
    ),
    "panels": FigureSpec(
        ABLATION, lambda study: average_scores(collect_singles(study)), plot_task_scores, 8.4
    ),
    "gains": FigureSpec(
        ABLATION,
        lambda study: gain_by_task(collect_singles(study), study.grid_settings.lattice_categories),
        plot_task_gains,
        6.4,
    ),
    "single_transfer": FigureSpec(
        ABLATION,
        lambda study: add_holm(
            transfer_table(
                study.select_endpoint_items_with_spread(collect_single_losses(study), LOSS),
                study.grid_settings.lattice_categories,
            )
        ),
        partial(plot_transfer, **describe_endpoint(LOSS)),
        4.6,
    ),
    "parts": FigureSpec(
        ABLATION,
        lambda study: tabulate_parts(collect_single_losses(study), study.grid_settings.lattice_categories),
        plot_parts,
        5.0,
    ),
    "signal": FigureSpec(
        ABLATION,
        lambda study: list_signals(collect_single_losses(study), collect_singles(study)),
        plot_signal,
        4.4,
    ),
    "controls": FigureSpec(
        ABLATION, lambda _: tabulate_controls(read_controls()), partial(plot_parts, label="{}"), 5.0
    ),
    "reference_transfer": FigureSpec(
        ABLATION,
        lambda _: add_holm(transfer_table(select_reference_items([BASE, *SINGLES]), SINGLES)),
        partial(plot_transfer, **describe_endpoint(LOSS)),
        4.6,
    ),
    "size_gains": FigureSpec(
        ABLATION,
        lambda _: reference_losses.collect_size_gains(reference_losses.read_reference_losses()),
        plot_size_gains,
        6.0,
    ),
    "single_sources": FigureSpec(
        ABLATION,
        lambda study: label_sources(
            source_comparison.single_gains(collect_singles(study), study.grid_settings.lattice_categories)
        ),
        plot_sources,
        7.6,
    ),
    "lattice": FigureSpec(
        SYNERGY,
        lambda study: transfer_table(study.endpoint_items, study.grid_settings.lattice_cells[1:]),
        plot_lattice,
        8.4,
        of_endpoint=True,
    ),
    "transfer": FigureSpec(
        SYNERGY,
        lambda study: add_holm(
            transfer_table(
                study.endpoint_items,
                [*study.grid_settings.lattice_cells[1:], *study.grid_settings.control_cells],
            )
        ),
        plot_transfer,
        8.8,
        of_endpoint=True,
    ),
    "pair": FigureSpec(SYNERGY, lambda _: explain_pair(), plot_pair, 3.6),
    "additions": FigureSpec(
        SYNERGY,
        lambda study: label_additions(
            add_holm(addition_table(study.endpoint_items, study.grid_settings.lattice_categories))
        ),
        plot_intervals,
        3.8,
        of_endpoint=True,
    ),
    "synergies": FigureSpec(
        SYNERGY,
        lambda study: label_pairs(
            add_holm(synergy_table(study.endpoint_items, study.grid_settings.lattice_categories))
        ),
        plot_intervals,
        4.6,
        of_endpoint=True,
    ),
    "interactions": FigureSpec(
        SYNERGY,
        lambda study: label_pairs(
            add_holm(interaction_table(study.endpoint_items, study.grid_settings.lattice_categories))
        ),
        plot_intervals,
        4.6,
        of_endpoint=True,
    ),
    "shapley": FigureSpec(
        SYNERGY,
        lambda study: shapley_table(study.endpoint_items, study.grid_settings.lattice_categories),
        plot_shapley,
        4.4,
        of_endpoint=True,
    ),
    "sizes": FigureSpec(
        SYNERGY,
        lambda study: size_table(study.collect_endpoint_by_size(), study.grid_settings.lattice_categories),
        plot_sizes,
        6.4,
        of_endpoint=True,
    ),
    "reference_synergies": FigureSpec(
        SYNERGY,
        lambda _: label_pairs(add_holm(synergy_table(select_reference_items(LATTICE)))),
        partial(plot_intervals, **describe_endpoint(LOSS)),
        4.6,
    ),
    "mixture_predictions": FigureSpec(
        SYNERGY, lambda _: predict_mixtures()["mixture_predictions"], plot_predictions, 4.8
    ),
    "mixture_triangle": FigureSpec(
        SYNERGY, lambda _: predict_mixtures()["mixture_triangle"], plot_triangle, 5.6
    ),
    "mixture_forecast": FigureSpec(
        SYNERGY, lambda _: predict_mixtures()["mixture_forecast"], plot_forecast, 4.4
    ),
    "addition_sources": FigureSpec(
        SYNERGY, lambda _: label_sources(source_comparison.addition_gains()), plot_sources, 6.8
    ),
    "published_table1": FigureSpec(
        PUBLISHED, lambda _: label_scores(("table1",), ("accuracy",)), plot_scores_of_models, 5.6
    ),
    "published_table2": FigureSpec(
        PUBLISHED,
        lambda _: label_scores(("table2",), ("precision", "recall", "f1", "conditional_accuracy")),
        plot_scores_of_models,
        5.2,
    ),
    "published_table3_judged": FigureSpec(
        PUBLISHED,
        lambda _: label_scores(("table3",), JUDGED),
        partial(plot_scores_of_models, unit="points, 1 to 5"),
        4.6,
    ),
    "published_table3_automatic": FigureSpec(
        PUBLISHED, lambda _: label_scores(("table3",), AUTOMATIC), plot_scores_of_models, 4.6
    ),
    "published_claims": FigureSpec(PUBLISHED, lambda _: claims.list_all_ways(), plot_claims, 3.6),
    "published_table4": FigureSpec(
        PUBLISHED, lambda _: ablation.compare_with_single(), plot_table4_beside_figure2, 4.8
    ),
    "published_transfer": FigureSpec(
        PUBLISHED, lambda _: ablation.gains_in_paper_units(), plot_published_transfer, 5.6
    ),
    "published_figure2": FigureSpec(
        PUBLISHED, lambda _: ablation.share_of_full_gain(), plot_share_of_full_gain, 5.8
    ),
    "published_figure3": FigureSpec(PUBLISHED, lambda _: ablation.gain_curves(), plot_size_curves, 7.0),
    "published_sizes": FigureSpec(PUBLISHED, lambda _: ablation.share_by_size(), plot_share_by_size, 4.2),
}


def draw(name: str, table: pd.DataFrame, endpoint: str = SCORE) -> Figure:
    """Draw a figure of the gallery from its table; `endpoint` is the study's, where the figure shows one."""
    spec = GALLERY[name]
    figure = Figure(figsize=(WIDTH, spec.height), layout="constrained")
    spec.plot(table, figure.add_subplot(), **(describe_endpoint(endpoint) if spec.of_endpoint else {}))
    return figure
