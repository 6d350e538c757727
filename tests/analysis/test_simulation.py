"""The simulated lattice has the effects that it claims; its coverage is measured by `study bench`."""

import numpy as np
import pytest

from helpers.analysis.simulation import CONTRASTS, SCORES, WIDTHS, measure_coverage, simulate_lattice
from helpers.analysis.statistics import contrast
from helpers.study.cells import LATTICE


def test_no_chance_of_a_right_answer_leaves_its_range():
    assert max(SCORES.values()) + sum(WIDTHS.values()) <= 1
    assert min(SCORES.values()) - sum(WIDTHS.values()) >= 0


def test_mean_scores_over_many_lattices_are_the_known_ones():
    means = np.mean(
        [simulate_lattice(SCORES, 2, seed).groupby("cell")["score"].mean() for seed in range(100)], axis=0
    )
    assert means == pytest.approx([SCORES[cell] for cell in sorted(SCORES)], abs=0.03)


def test_the_base_model_answers_alike_under_every_seed():
    items = simulate_lattice(SCORES, 3, 0).query("cell == 'base'")
    assert (items.groupby(["task", "item"])["score"].nunique() == 1).all()


def test_a_lattice_without_effects_shows_none_on_average():
    flat = dict.fromkeys(LATTICE, 0.4)
    estimates = [
        contrast(simulate_lattice(flat, 1, seed), CONTRASTS["shapley"])["estimate"] for seed in range(40)
    ]
    assert abs(np.mean(estimates)) < 0.02


def test_pooled_intervals_hold_the_truth_about_as_often_as_they_say():
    assert 0.85 <= measure_coverage(CONTRASTS["shapley"], 3, 40) <= 1.0
