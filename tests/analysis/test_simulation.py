"""The simulated lattice has the effects and the noise that it claims."""

import numpy as np
import pytest

from helpers.analysis.simulation import (
    HEAVY,
    RIGHT,
    SIMULATED_CELLS,
    SKEWED,
    ZEROS,
    Scenario,
    measure_noise,
    simulate_scores,
)
from helpers.records import BASE

KINDS = (RIGHT, ZEROS, HEAVY, SKEWED)


@pytest.mark.parametrize("kind", KINDS)
def test_mean_scores_over_many_lattices_differ_as_they_should(kind):
    effects = [0.0, 0.1, -0.05, 0.0, 0.2, 0.0, 0.0]
    scores, _ = simulate_scores(Scenario(kind, n_items=12), 2, 600, 0, effects)
    means = scores.mean(axis=(0, 1, 3, 4, 5))
    assert means - means[0] == pytest.approx(effects, abs=0.02)


@pytest.mark.parametrize("kind", KINDS)
def test_the_base_model_answers_alike_under_every_seed_and_others_do_not(kind):
    scores, of_seeds = simulate_scores(Scenario(kind), 3, 20, 0)
    base = SIMULATED_CELLS.index(BASE)
    assert np.ptp(scores[:, :, base], axis=3).max() == pytest.approx(0)
    assert np.ptp(scores[:, :, base + 1], axis=3).max() > 0.1
    assert (of_seeds[:, :, base] == 0).all()


@pytest.mark.parametrize("kind", [RIGHT, ZEROS, HEAVY])
def test_the_noise_of_a_cells_mean_is_the_known_one(kind):
    scenario = Scenario(kind, n_items=30, seed_ratio=0)
    scores, _ = simulate_scores(scenario, 1, 600, 0)
    assert scores[:, :, 0].mean(axis=(2, 3, 4)).std() == pytest.approx(measure_noise(scenario), rel=0.1)


def test_seeds_spread_as_far_as_named_and_where_named():
    for bounded in (False, True):
        scenario = Scenario(HEAVY, seed_ratio=2.8, bounded=bounded)
        _, of_seeds = simulate_scores(scenario, 5, 300, 0)
        assert of_seeds[:, :, 1:].std() == pytest.approx(2.8 * measure_noise(scenario), rel=0.05)
    _, shared = simulate_scores(Scenario(HEAVY, shared=True), 3, 5, 0)
    assert np.ptp(shared[:, :, 1:], axis=(1, 2)).max() == 0
    _, uneven = simulate_scores(Scenario(HEAVY, uneven=True), 3, 5, 0)
    assert (uneven[:, :, 2:] == 0).all()
    assert uneven[:, :, 1].std() > 0


def test_a_case_says_what_it_simulates():
    name = Scenario(SKEWED, 48, 2.8, shared=True).name
    assert name == "skewed loss, 48 items a task, seeds 2.8 times the items' noise, shared by all cells"
