"""A lattice whose effects are known: do the intervals hold the truth as often as they say?

Scores are right or wrong, as on choice tasks. The chance of a right answer is a known score of the cell plus
effects of the item, of the training seed, of the item under this cell, and of the item under this cell and
seed; each is uniform about zero, and together they never leave 0..1, so that the expected score is the known
one exactly.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

import numpy as np

from helpers.analysis.games import interaction_weights, shapley_weights
from helpers.analysis.statistics import contrast
from helpers.records import BASE
from helpers.study.cells import LATTICE, SINGLES

if TYPE_CHECKING:
    import pandas as pd

TASKS = ("exam_choice", "broad_choice", "abstract_yesnomaybe", "evidence_yesno")
N_ITEMS = 12
WIDTHS = {
    "item": 0.08,
    "seed": 0.15,
    "cell_item": 0.08,
    "cell_seed_item": 0.05,
}  # half the range of each uniform effect
SCORES = dict(zip(LATTICE, (0.40, 0.46, 0.43, 0.42, 0.52, 0.47, 0.44, 0.54), strict=True))
CONTRASTS: dict[str, dict[str, float]] = {
    "gain": {"qa": 1.0, BASE: -1.0},
    "shapley": shapley_weights(SINGLES, "qa"),
    "interaction": interaction_weights(("qa", "ie"), ("qa", "ie")),
}


def simulate_lattice(scores: Mapping[str, float], n_seeds: int, seed: int) -> pd.DataFrame:
    """Return item scores of a lattice as `grid.collect_seeds` returns them: cell, seed, task, category, item,
    score, parsed.

    Args:
        scores: the true score of each cell; those of the base model are the same under every training seed.
        n_seeds: training seeds of every tuned cell.
        seed: seed of the simulation.
    """
    import pandas as pd

    random = np.random.default_rng(seed)
    index = pd.MultiIndex.from_product([TASKS, range(N_ITEMS)], names=["task", "item"])
    item = random.uniform(-1, 1, len(index)) * WIDTHS["item"]
    frames = []
    for cell, score in scores.items():
        of_cell = score + item + random.uniform(-1, 1, len(index)) * WIDTHS["cell_item"]
        for number in range(1 if cell == BASE else n_seeds):
            noise = (
                0.0
                if cell == BASE
                else random.uniform(-1, 1) * WIDTHS["seed"]
                + random.uniform(-1, 1, len(index)) * WIDTHS["cell_seed_item"]
            )
            right = random.random(len(index)) < of_cell + noise
            under = range(n_seeds) if cell == BASE else [number]
            frames += [
                pd.DataFrame({"score": right.astype(float)}, index=index).assign(cell=cell, seed=one)
                for one in under
            ]
    return pd.concat(frames).reset_index().assign(category="qa", parsed=True)


def measure_coverage(
    weights: Mapping[str, float], n_seeds: int, n_simulations: int, scores: Mapping[str, float] | None = None
) -> float:
    """Return the share of simulations whose interval of a contrast, from `n_seeds` training seeds, holds its
    true value.
    """
    scores = scores or SCORES
    truth = sum(weight * scores[cell] for cell, weight in weights.items())
    rows = (contrast(simulate_lattice(scores, n_seeds, seed), weights) for seed in range(n_simulations))
    return sum(row["low"] <= truth <= row["high"] for row in rows) / n_simulations


def measure_intervals(n_simulations: int = 200, n_seeds: int = 5) -> Iterator[tuple[str, float, float]]:
    """Yield, for each kind of contrast and for a lattice without effects, the coverage of the pooled interval
    and that of one seed's.
    """
    for name, weights in CONTRASTS.items():
        yield (
            name,
            measure_coverage(weights, n_seeds, n_simulations),
            measure_coverage(weights, 1, n_simulations),
        )
    flat = dict.fromkeys(LATTICE, 0.4)
    yield (
        "null",
        measure_coverage(CONTRASTS["gain"], n_seeds, n_simulations, flat),
        measure_coverage(CONTRASTS["gain"], 1, n_simulations, flat),
    )
