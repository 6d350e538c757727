"""Lattices whose effects are known: do the intervals and tests keep what they promise?

A score is what its cell is worth, plus effects of the item, of the item under this cell, of the item under
this cell and seed, and of the training seed. The base model is one model: it answers alike under every seed.
`Scenario` names what could lead intervals astray: scores that are mostly zero, losses with heavy tails or a
long one to one side, few items, seeds that vary more than items, one seed that moves all cells, one cell that
varies alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from helpers.records import BASE
from helpers.study.grid import PAIRS, SINGLES

SIMULATED_CELLS = (BASE, *SINGLES, *PAIRS)  # of the lattice, without the mixture of all three
N_TASKS = 3  # of each category of tasks
RIGHT, ZEROS, HEAVY, SKEWED = "right or wrong", "mostly zero", "heavy-tailed loss", "skewed loss"
CHANCE = 0.46  # that an answer of the untuned model scores at all
SCORE_RANGES = {RIGHT: (1.0, 1.0), ZEROS: (0.2, 1.0)}  # of an answer that scores: least and most
SHARES = {"item": 0.5, "cell_item": 0.35, "rest": 0.15}  # of the variance within a seed


@dataclass(frozen=True)
class Scenario:
    """One way to simulate a lattice.

    Args:
        kind: of scores.
        n_items: a task.
        seed_ratio: spread between seeds over the noise that the items of a category leave in a cell's mean.
        shared: whether one effect of a seed moves all cells on all tasks.
        uneven: whether seeds move the first single alone.
        bounded: whether effects of seeds are uniform and not normal.
    """

    kind: str = RIGHT
    n_items: int = 12
    seed_ratio: float = 1.0
    shared: bool = False
    uneven: bool = False
    bounded: bool = False

    @property
    def name(self) -> str:
        """What is simulated, in words."""
        seeds = f"seeds {self.seed_ratio:g} times the items' noise"
        more = {"shared by all cells": self.shared, "of one cell alone": self.uneven, "bounded": self.bounded}
        words = [
            self.kind,
            f"{self.n_items} items a task",
            seeds,
            *(word for word, holds in more.items() if holds),
        ]
        return ", ".join(words)


def simulate_scores(
    scenario: Scenario,
    n_seeds: int,
    n_simulations: int,
    seed: int,
    effects: Sequence[float] = (0.0,) * len(SIMULATED_CELLS),
) -> tuple[np.ndarray, np.ndarray]:
    """Return scores of shape (simulations, categories, cells, tasks, seeds, items), cells in the order of
    `SIMULATED_CELLS`, and the effects of the seeds that are in them, of shape (simulations, categories,
    cells, seeds).

    Args:
        scenario: how to simulate.
        n_seeds: training seeds of every tuned cell.
        n_simulations: separate lattices.
        seed: seed of the simulation.
        effects: true difference of each cell from the base model, the same on all tasks.
    """
    random = np.random.default_rng(seed)
    width = (n_simulations, len(SINGLES))
    shape = (n_simulations, 1, 1, n_seeds) if scenario.shared else (*width, len(SIMULATED_CELLS), n_seeds)
    drawn = random.uniform(-(3**0.5), 3**0.5, shape) if scenario.bounded else random.normal(size=shape)
    of_seeds = scenario.seed_ratio * measure_noise(scenario) * drawn
    moved = [cell != BASE and (not scenario.uneven or cell == SINGLES[0]) for cell in SIMULATED_CELLS]
    of_seeds = of_seeds * np.reshape(moved, (-1, 1)) + np.zeros((*width, len(SIMULATED_CELLS), n_seeds))
    within = draw_within(scenario, random, (*width, len(SIMULATED_CELLS), N_TASKS, n_seeds, scenario.n_items))
    shift = of_seeds[:, :, :, None, :, None] + np.reshape(effects, (-1, 1, 1, 1))
    return add_shift(scenario, random, within, shift), of_seeds


def draw_within(scenario: Scenario, random: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Return the effects of items, of variance one, without those of seeds."""
    simulations, categories, cells, tasks, seeds, items = shape
    parts = {
        "item": (simulations, categories, 1, tasks, 1, items),
        "cell_item": (simulations, categories, cells, tasks, 1, items),
        "rest": (simulations, categories, cells, tasks, seeds, items),
    }
    drawn = {name: draw_effect(scenario, random, size) for name, size in parts.items()}
    base = SIMULATED_CELLS.index(BASE)
    drawn["rest"][:, :, base] = drawn["rest"][:, :, base, :, :1]
    if scenario.kind == SKEWED:  # tuning changes few items by much, so differences are skewed too
        drawn["cell_item"][:, :, base] = 0.0
    return sum(SHARES[name] ** 0.5 * effect for name, effect in drawn.items())


def draw_effect(scenario: Scenario, random: np.random.Generator, size: tuple[int, ...]) -> np.ndarray:
    """Return effects of mean zero and variance one: normal, with the tails of Student's t with three degrees
    of freedom, or with the one long tail of an exponential distribution.
    """
    if scenario.kind == HEAVY:
        return random.standard_t(3, size) / 3**0.5
    return random.exponential(1.0, size) - 1 if scenario.kind == SKEWED else random.standard_normal(size)


def add_shift(
    scenario: Scenario, random: np.random.Generator, within: np.ndarray, shift: np.ndarray
) -> np.ndarray:
    """Return scores: for losses the sum of all effects (nats per token); for the others whether the chance of
    a score, moved by seed and cell, is reached, times what a score is worth.
    """
    from scipy.special import ndtr

    if scenario.kind not in SCORE_RANGES:
        return 2 + within + shift
    least, most = SCORE_RANGES[scenario.kind]
    worth = random.uniform(least, most, (*within.shape[:4], 1, within.shape[5]))
    return (ndtr(within) < CHANCE + 2 * shift / (least + most)) * worth


def measure_noise(scenario: Scenario) -> float:
    """Return the standard error over items of a cell's mean on a category of tasks."""
    variance = 1.0
    if scenario.kind in SCORE_RANGES:
        least, most = SCORE_RANGES[scenario.kind]
        mean, square = (least + most) / 2, (least**2 + least * most + most**2) / 3
        variance = CHANCE * square - (CHANCE * mean) ** 2
    return (variance / (N_TASKS * scenario.n_items)) ** 0.5
