"""Figures of the paper's numbers and of several sources."""

import matplotlib.pyplot as plt
import pandas as pd

from helpers.figures.comparison import plot_sources
from helpers.figures.published import plot_published_transfer, plot_scores_of_models
from helpers.figures.synthesis import plot_similarity


def read_texts(ax):
    return [text.get_text() for text in ax.texts]


def test_what_the_paper_does_not_report_is_hatched_and_says_so():
    table = pd.DataFrame(
        [
            ("qa", "qa", 7.0, 6.8, 7.2),
            ("qa", "ie", 8.0, 7.8, 8.2),
            ("qa", "gen", 2.0, 1.8, 2.2),
            ("ie", "qa", 6.0, 5.8, 6.2),
            ("ie", "ie", 9.0, 8.8, 9.2),
        ],
        columns=["trained_on", "tested_on", "estimate", "low", "high"],
    )
    ax = plot_published_transfer(table, plt.figure().add_subplot())
    assert read_texts(ax).count("not reported") == 1
    assert sum(bool(patch.get_hatch()) for patch in ax.patches) == 1


def test_a_field_gives_the_error_of_reading_and_no_interval():
    table = pd.DataFrame({"trained_on": "qa", "tested_on": ["qa", "ie", "gen"], "estimate": -7.0})
    ax = plot_published_transfer(table.assign(low=-7.2, high=-6.8), plt.figure().add_subplot())
    assert read_texts(ax)[0] == "−7.00\n± 0.20"


def test_equal_scores_before_and_after_tuning_show_as_a_dot_in_a_ring():
    table = pd.DataFrame({"label": "MedNLI", "model": "LLaMA 1 7B", "cell": ["base", "all"], "score": 34.6})
    ax = plot_scores_of_models(table.assign(plus_minus=2.0), plt.figure().add_subplot())
    ring, dot = [line for line in ax.lines if line.get_marker() == "o" and len(line.get_xdata())]
    assert ring.get_markerfacecolor() == "white"
    assert ring.get_markersize() > dot.get_markersize()
    assert ring.get_zorder() > max(bars.get_zorder() for bars in ax.collections)


def test_gains_of_different_measures_share_no_axis():
    table = pd.DataFrame(
        {
            "source": ["paper", "score_gemma", "paper", "score_gemma"],
            "label": ["Question answering", "Question answering", "Generation, BLEURT", "Generation"],
            "tested_on": ["qa", "qa", "gen", "gen"],
            "scale": ["accuracy", "accuracy", "automatic", "ROUGE-L"],
            "estimate": [0.1, 0.2, 0.5, 0.02],
            "low": [0.0, 0.1, 0.4, 0.01],
            "high": [0.2, 0.3, 0.6, 0.03],
        }
    )
    figure = plt.figure()
    plot_sources(table, figure.add_subplot())
    panels = [ax for ax in figure.axes if ax.axison]
    assert [panel.get_xlabel() for panel in panels] == [
        "Gain (accuracy)",
        "Gain (automatic)",
        "Gain (ROUGE-L)",
    ]


def test_every_pair_of_seeds_is_counted_once():
    ax = plot_similarity(
        pd.DataFrame([[1, 0.1, 0.3], [0.1, 1, 0.2], [0.3, 0.2, 1]]), plt.figure().add_subplot(), 0.7
    )
    assert sum(patch.get_height() for patch in ax.patches) == 3
