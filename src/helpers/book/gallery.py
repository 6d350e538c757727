"""Every figure of the book: where it stands, its table, the function that draws it, its height."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from helpers.analysis import reference_losses, source_comparison
from helpers.analysis.contrasts import average_scores, gain_by_task
from helpers.analysis.games import explain_pair, interaction_table, shapley_table
from helpers.analysis.hypotheses import add_holm
from helpers.analysis.paired_tests import compare_models
from helpers.analysis.published import ablation, claims
from helpers.analysis.published.tables import AUTOMATIC, JUDGED_MEASURES, label_scores
from helpers.analysis.transfer import addition_table, size_table, synergy_table, transfer_table
from helpers.book.figure_tables import (
    collect_losses_with_controls,
    collect_single_scores,
    collect_tuning_scores,
    count_kept_roots,
    label_additions,
    label_pairs,
    label_sources,
    measure_reference_gains,
    measure_reference_synergies,
    predict_mixtures,
    read_controls,
    read_training_log,
    run_chosen_tuning,
    tabulate_controls,
    tabulate_kept_shares,
    tabulate_parts,
    tabulate_signals,
)
from helpers.errors import StudyError
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
from helpers.study.endpoints import ENDPOINTS, LOSS
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
from helpers.tuning.stage import ADAPTER

if TYPE_CHECKING:
    from helpers.study.study import Study

# the notebooks, where the figures stand
SEEDS_NOTEBOOK = "01_seed_curation"
SYNTHESIS_NOTEBOOK = "02_instruction_synthesis"
TUNING_NOTEBOOK = "03_lora_training"
ABLATION_NOTEBOOK = "04_category_ablation"
SYNERGY_NOTEBOOK = "05_multitask_synergy"
PUBLISHED_NOTEBOOK = "06_published_results"


def describe_endpoint(name: str | None) -> dict[str, str]:
    """Return what a figure says of an endpoint: its unit, and what it is measured on.

    Raises:
        StudyError: there is no endpoint of this name.
    """
    if name not in ENDPOINTS:
        raise StudyError(
            f"`endpoint` must be one of {', '.join(ENDPOINTS)}, but {name!r} was found. It names the unit of "
            "the figure's numbers; give the one that its table was made with."
        )
    return {"unit": ENDPOINTS[name].unit, "measured_on": ENDPOINTS[name].measured_on}


@dataclasses.dataclass(frozen=True)
class FigureSpec:
    """A figure of the book.

    Attributes:
        notebook: where it stands.
        table: makes its table from a study.
        plot: draws the table.
        height: in inches; all figures are equally wide.
        of_endpoint: whether it shows the study's endpoint, and names its unit and what it was measured on.
        options: what else of the study's settings `plot` takes.
    """

    notebook: str
    table: Callable[[Study], pd.DataFrame]
    plot: Callable[..., Axes]
    height: float
    of_endpoint: bool = False
    options: Callable[[Study], dict[str, Any]] = lambda _: {}


GALLERY: dict[str, FigureSpec] = {
    "seed_shares": FigureSpec(
        SEEDS_NOTEBOOK,
        lambda study: tabulate_category_shares({"seeds": [seed.category for seed in study.seed_tasks]}),
        plot_shares,
        3.2,
    ),
    "seed_lengths": FigureSpec(
        SEEDS_NOTEBOOK, lambda study: measure_lengths(study.seed_tasks), plot_lengths, 3.4
    ),
    "seed_similarity": FigureSpec(
        SEEDS_NOTEBOOK,
        lambda study: compare_instructions(study.seed_tasks),
        plot_similarity,
        3.4,
        options=lambda study: {"threshold": study.synthesis_settings.novelty_threshold},
    ),
    "pipeline": FigureSpec(SYNTHESIS_NOTEBOOK, count_stages, plot_pipeline, 4.4),
    "rejections": FigureSpec(
        SYNTHESIS_NOTEBOOK,
        lambda study: count_rejections(read_parsed_tasks(study.synthesis_run)),
        plot_rejections,
        3.4,
    ),
    "growth": FigureSpec(
        SYNTHESIS_NOTEBOOK,
        lambda study: count_growth(read_parsed_tasks(study.synthesis_run)),
        plot_growth,
        3.2,
    ),
    "saturation": FigureSpec(
        SYNTHESIS_NOTEBOOK,
        lambda study: count_growth(read_parsed_tasks(study.synthesis_run)),
        plot_saturation,
        3.4,
    ),
    "kept_shares": FigureSpec(SYNTHESIS_NOTEBOOK, tabulate_kept_shares, plot_shares, 3.6),
    "root_verbs": FigureSpec(SYNTHESIS_NOTEBOOK, count_kept_roots, plot_roots, 5.8),
    "lora": FigureSpec(
        TUNING_NOTEBOOK, lambda study: read_matrices(run_chosen_tuning(study).file(ADAPTER)), plot_lora, 3.6
    ),
    "training_loss": FigureSpec(TUNING_NOTEBOOK, read_training_log, plot_loss, 3.4),
    "scores": FigureSpec(
        TUNING_NOTEBOOK,
        lambda study: average_scores(collect_tuning_scores(study)),
        plot_scores,
        4.8,
    ),
    "differences": FigureSpec(
        TUNING_NOTEBOOK,
        lambda study: compare_models(collect_tuning_scores(study), BASE),
        plot_differences,
        4.4,
    ),
    "tuning_sources": FigureSpec(
        TUNING_NOTEBOOK,
        lambda study: label_sources(
            source_comparison.tuning_gains(collect_tuning_scores(study), study.tuning_settings.categories)
        ),
        plot_sources,
        6.0,
    ),
    "single_scores": FigureSpec(
        ABLATION_NOTEBOOK, lambda study: average_scores(collect_single_scores(study)), plot_task_scores, 8.4
    ),
    "gains": FigureSpec(
        ABLATION_NOTEBOOK,
        lambda study: gain_by_task(collect_single_scores(study), study.grid_settings.lattice_categories),
        plot_task_gains,
        6.4,
    ),
    "single_transfer": FigureSpec(
        ABLATION_NOTEBOOK,
        lambda study: add_holm(
            transfer_table(
                study.select_endpoint_items_with_spread(collect_losses_with_controls(study), LOSS),
                study.grid_settings.lattice_categories,
            )
        ),
        partial(plot_transfer, **describe_endpoint(LOSS)),
        4.6,
    ),
    "parts": FigureSpec(
        ABLATION_NOTEBOOK,
        lambda study: tabulate_parts(
            collect_losses_with_controls(study), study.grid_settings.lattice_categories
        ),
        plot_parts,
        5.0,
    ),
    "signal": FigureSpec(
        ABLATION_NOTEBOOK,
        lambda study: tabulate_signals(collect_losses_with_controls(study), collect_single_scores(study)),
        plot_signal,
        4.4,
    ),
    "controls": FigureSpec(
        ABLATION_NOTEBOOK, lambda _: tabulate_controls(read_controls()), partial(plot_parts, label="{}"), 5.0
    ),
    "reference_transfer": FigureSpec(
        ABLATION_NOTEBOOK,
        lambda _: measure_reference_gains(),
        partial(plot_transfer, **describe_endpoint(LOSS)),
        4.6,
    ),
    "reference_task_gains": FigureSpec(
        ABLATION_NOTEBOOK,
        lambda _: reference_losses.collect_task_gains(
            reference_losses.read_reference_losses(reference_losses.PUBLIC_SETS)
        ),
        partial(plot_task_gains, unit=ENDPOINTS["text"].unit),
        5.2,
    ),
    "reference_size_gains": FigureSpec(
        ABLATION_NOTEBOOK,
        lambda _: reference_losses.collect_size_gains(reference_losses.read_reference_losses()),
        plot_size_gains,
        6.0,
    ),
    "single_sources": FigureSpec(
        ABLATION_NOTEBOOK,
        lambda study: label_sources(
            source_comparison.single_gains(
                collect_single_scores(study), study.grid_settings.lattice_categories
            )
        ),
        plot_sources,
        7.6,
    ),
    "lattice": FigureSpec(
        SYNERGY_NOTEBOOK,
        lambda study: transfer_table(study.endpoint_items, study.grid_settings.lattice_cells[1:]),
        plot_lattice,
        8.4,
        of_endpoint=True,
    ),
    "transfer": FigureSpec(
        SYNERGY_NOTEBOOK,
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
    "pair": FigureSpec(SYNERGY_NOTEBOOK, lambda _: explain_pair(), plot_pair, 3.6),
    "additions": FigureSpec(
        SYNERGY_NOTEBOOK,
        lambda study: label_additions(
            add_holm(addition_table(study.endpoint_items, study.grid_settings.lattice_categories))
        ),
        plot_intervals,
        3.8,
        of_endpoint=True,
    ),
    "synergies": FigureSpec(
        SYNERGY_NOTEBOOK,
        lambda study: label_pairs(
            add_holm(synergy_table(study.endpoint_items, study.grid_settings.lattice_categories))
        ),
        plot_intervals,
        4.6,
        of_endpoint=True,
    ),
    "interactions": FigureSpec(
        SYNERGY_NOTEBOOK,
        lambda study: label_pairs(
            add_holm(interaction_table(study.endpoint_items, study.grid_settings.lattice_categories))
        ),
        plot_intervals,
        4.6,
        of_endpoint=True,
    ),
    "shapley": FigureSpec(
        SYNERGY_NOTEBOOK,
        lambda study: shapley_table(study.endpoint_items, study.grid_settings.lattice_categories),
        plot_shapley,
        4.4,
        of_endpoint=True,
    ),
    "sizes": FigureSpec(
        SYNERGY_NOTEBOOK,
        lambda study: size_table(study.collect_endpoint_by_size(), study.grid_settings.lattice_categories),
        plot_sizes,
        6.4,
        of_endpoint=True,
        options=lambda study: {"per_category": study.grid_settings.budget == "additive"},
    ),
    "reference_synergies": FigureSpec(
        SYNERGY_NOTEBOOK,
        lambda _: label_pairs(measure_reference_synergies()),
        partial(plot_intervals, **describe_endpoint(LOSS)),
        4.6,
    ),
    "mixture_predictions": FigureSpec(
        SYNERGY_NOTEBOOK, lambda _: predict_mixtures()["mixture_predictions"], plot_predictions, 4.8
    ),
    "mixture_triangle": FigureSpec(
        SYNERGY_NOTEBOOK, lambda _: predict_mixtures()["mixture_triangle"], plot_triangle, 5.6
    ),
    "mixture_forecast": FigureSpec(
        SYNERGY_NOTEBOOK, lambda _: predict_mixtures()["mixture_forecast"], plot_forecast, 4.4
    ),
    "addition_sources": FigureSpec(
        SYNERGY_NOTEBOOK, lambda _: label_sources(source_comparison.addition_gains()), plot_sources, 6.8
    ),
    "published_table1": FigureSpec(
        PUBLISHED_NOTEBOOK, lambda _: label_scores(("table1",), ("accuracy",)), plot_scores_of_models, 5.6
    ),
    "published_table2": FigureSpec(
        PUBLISHED_NOTEBOOK,
        lambda _: label_scores(("table2",), ("precision", "recall", "f1", "conditional_accuracy")),
        plot_scores_of_models,
        5.2,
    ),
    "published_table3_judged": FigureSpec(
        PUBLISHED_NOTEBOOK,
        lambda _: label_scores(("table3",), JUDGED_MEASURES),
        partial(plot_scores_of_models, unit="points, 1 to 5"),
        4.6,
    ),
    "published_table3_automatic": FigureSpec(
        PUBLISHED_NOTEBOOK, lambda _: label_scores(("table3",), AUTOMATIC), plot_scores_of_models, 4.6
    ),
    "published_claims": FigureSpec(PUBLISHED_NOTEBOOK, lambda _: claims.list_all_ways(), plot_claims, 3.6),
    "published_table4": FigureSpec(
        PUBLISHED_NOTEBOOK, lambda _: ablation.compare_with_single(), plot_table4_beside_figure2, 4.8
    ),
    "published_transfer": FigureSpec(
        PUBLISHED_NOTEBOOK, lambda _: ablation.gains_in_paper_units(), plot_published_transfer, 5.6
    ),
    "published_figure2": FigureSpec(
        PUBLISHED_NOTEBOOK, lambda _: ablation.share_of_full_gain(), plot_share_of_full_gain, 5.8
    ),
    "published_figure3": FigureSpec(
        PUBLISHED_NOTEBOOK, lambda _: ablation.gain_curves(), plot_size_curves, 7.0
    ),
    "published_sizes": FigureSpec(
        PUBLISHED_NOTEBOOK, lambda _: ablation.share_by_size(), plot_share_by_size, 4.2
    ),
}


def draw(name: str, table: pd.DataFrame, endpoint: str | None = None, **options: Any) -> Figure:
    """Draw a figure of the gallery from its table, which is drawn as it is.

    Args:
        name: of the figure.
        table: with the columns that its drawing function names.
        endpoint: what the table was made with. It changes no number: it names their unit, and what they were
            measured on. The figures of the study's endpoint (`of_endpoint`) need it.
        options: what else the drawing function takes.

    Raises:
        StudyError: the figure needs an endpoint, and none, or an unknown one, was given.
    """
    spec = GALLERY[name]
    figure = Figure(figsize=(WIDTH, spec.height), layout="constrained")
    labels = describe_endpoint(endpoint) if spec.of_endpoint else {}
    spec.plot(table, figure.add_subplot(), **labels, **options)
    return figure
