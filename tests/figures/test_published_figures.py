"""Figures of the paper's numbers and of several sources."""

import matplotlib.pyplot as plt
import pandas as pd

from helpers.figures.comparison import plot_sources
from helpers.figures.data import plot_similarity
from helpers.figures.published import plot_published_transfer


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


def test_gains_of_different_measures_share_no_axis():
    table = pd.DataFrame(
        {
            "source": ["paper", "reference", "paper", "reference"],
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
        pd.DataFrame([[1, 0.1, 0.3], [0.1, 1, 0.2], [0.3, 0.2, 1]]), plt.figure().add_subplot()
    )
    assert sum(patch.get_height() for patch in ax.patches) == 3
