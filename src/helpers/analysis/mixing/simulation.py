"""Lattices whose law is known: are its coefficients found, and how often do the intervals cover them?"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import combinations
from typing import TYPE_CHECKING

import numpy as np

from helpers.analysis.mixing.fit_intervals import fit_losses
from helpers.analysis.mixing.laws import build_law
from helpers.analysis.mixing.losses import build_loss_arrays
from helpers.analysis.mixing.recommendation import (
    EQUAL,
    MEAN,
    combine_targets,
    list_mixtures,
    recommend,
    worth_table,
)
from helpers.records import BASE
from helpers.study.grid import LATTICE, SINGLES, list_row_columns

if TYPE_CHECKING:
    import pandas as pd

WORTHS = {"qa": (0.3, 0.1), "ie": (0.5, 0.2), "gen": (0.15, 0.4)}  # of a row of each other category, in order
FLOORS = {"qa": 1.0, "ie": 0.8, "gen": 1.5}
NOISE, SEED_NOISE = 0.006, 0.004  # standard deviation (nats per token) of a run, and of a seed over all cells
ITEM_SPREAD, REST = 0.4, 0.1  # standard deviation between held-out rows, and of what is left of each
MIXTURES = ((2, 1, 0), (2, 0, 1), (1, 2, 1), (4, 1, 1), (1, 1, 4), (1, 3, 0), (0, 1, 2), (1, 4, 1))
UNSEEN = np.array([[150.0, 90.0, 60.0]])
RIVALS = {  # parameters of other laws by which simulated cells lose, for each category
    "exponential": {
        "qa": np.array([0.8, 0.3, 0.15, -0.5, 0.1, 0.2]),
        "ie": np.array([0.8, 0.3, 0.15, 0.1, -0.6, 0.3]),
        "gen": np.array([0.8, 0.3, 0.15, 0.0, 0.4, -0.4]),
    },
    "log-linear": {
        "qa": np.array([2.0, -0.08, -0.02, 0.01]),
        "ie": np.array([2.0, -0.02, -0.08, 0.0]),
        "gen": np.array([2.0, -0.01, 0.02, -0.06]),
    },
}


def design_cells(n_rows: int = 300, sizes: tuple[int, ...] = (75, 150, 600)) -> np.ndarray:
    """Return the training rows of a study like ours, shape (cells, 3): the untuned model, the lattice at one
    size, singles and the mixture of all at others, and eight mixtures more.
    """
    units = np.eye(3)
    subsets = [sum(part) for size in (1, 2, 3) for part in combinations(units, size)]
    ends = [*units, np.ones(3)]
    shares = [(shape, n_rows) for shape in (*subsets, *map(np.array, MIXTURES))]
    shares += [(shape, size) for size in sizes for shape in ends]
    return np.array([np.zeros(3), *(np.round(size * shape / shape.sum()) for shape, size in shares)])


def true_parameters(target: str, power: float = 0.4) -> np.ndarray:
    """Return the parameters of the law `effective` by which the simulated cells of a category lose."""
    return np.array([FLOORS[target], 0.8, np.log(40), power, *WORTHS[target]])


def expect_loss(target: str, rows: Mapping[str, float]) -> float:
    """Return the true loss of a simulated cell on a category, from its training rows by category."""
    counts = np.array([[rows.get(name, 0) for name in SINGLES]], dtype=float)
    return float(build_law("effective", SINGLES, target, counts).predict(true_parameters(target), counts)[0])


def simulate_items(n_rows: int, n_items: int = 40, n_seeds: int = 3, seed: int = 0) -> pd.DataFrame:
    """Return a lattice that loses by the law `effective`, item by item, as endpoints are compared.

    Args:
        n_rows: training rows of every tuned cell.
        n_items: held-out rows of each category.
        n_seeds: training seeds; the untuned model is the same under each.
        seed: of the simulation.

    Returns:
        cell, seed, task, category, item, score (minus the loss), truth (the score without any noise).
    """
    import pandas as pd

    random = np.random.default_rng(seed)
    tuned = np.array([cell != BASE for cell in LATTICE])[:, None, None]
    rows = [
        {name.removeprefix("n_"): n for name, n in list_row_columns(cell, n_rows, SINGLES).items()}
        for cell in LATTICE
    ]
    frames = []
    for target in SINGLES:
        truth = np.array([-expect_loss(target, own) for own in rows])
        shape = (len(LATTICE), n_seeds, n_items)
        rest = random.normal(0, REST, shape)
        rest = np.where(tuned, rest, rest[:, :1])
        run = random.normal(0, NOISE + SEED_NOISE, shape[:2])[..., None] * tuned
        scores = truth[:, None, None] + random.normal(0, ITEM_SPREAD, n_items) + run + rest
        names = pd.MultiIndex.from_product(
            [LATTICE, range(1, n_seeds + 1), range(n_items)], names=["cell", "seed", "item"]
        )
        frame = pd.DataFrame({"score": scores.ravel()}, index=names).reset_index()
        means = dict(zip(LATTICE, truth, strict=True))
        frames.append(frame.assign(task=target, category=target, truth=frame["cell"].map(means)))
    return pd.concat(frames, ignore_index=True)


def simulate_losses(
    law: str,
    parameters: Mapping[str, np.ndarray],
    n_seeds: int,
    seed: int,
    noise: float = 1.0,
    counts: np.ndarray | None = None,
) -> pd.DataFrame:
    """Return losses of the cells of `design_cells`, or of others, as `build_loss_arrays` takes them.

    Args:
        law: by which the cells lose.
        parameters: of the law, for each category.
        n_seeds: training seeds of every tuned cell.
        seed: of the simulation.
        noise: how many times `NOISE` and `SEED_NOISE`.
        counts: training rows of the cells, shape (cells, 3); None for those of `design_cells`.
    """
    import pandas as pd

    random = np.random.default_rng(seed)
    counts = design_cells() if counts is None else counts
    tuned = counts.sum(axis=1) > 0
    frames = []
    for target, own in parameters.items():
        expected = build_law(law, SINGLES, target, counts).predict(own, counts)
        for number in range(n_seeds):
            shift = random.normal(0, noise * SEED_NOISE) + random.normal(0, noise * NOISE, len(counts))
            columns = dict(zip((f"n_{name}" for name in SINGLES), counts.T.astype(int), strict=True))
            frame = pd.DataFrame(columns).assign(seed=number, category=target, loss=expected + shift * tuned)
            frames.append(frame[tuned] if number else frame)
    return pd.concat(frames, ignore_index=True)


def measure_law_coverage(n_simulations: int, n_draws: int = 400, n_seeds: int = 3) -> dict[str, float]:
    """Return the share of simulations whose interval covers the truth, of the worths of rows and of the loss
    of a mixture that no cell had; and how often a mixture seems better than equal parts where none is.
    """
    truth = {target: true_parameters(target) for target in SINGLES}
    flat = {target: np.array([*own[:4], 1.0, 1.0]) for target, own in truth.items()}
    covered: dict[str, list[bool]] = {"worths": [], "losses": [], "false_alarms": []}
    for seed in range(n_simulations):
        fits, null = (
            fit_losses(
                build_loss_arrays(simulate_losses("effective", parameters, n_seeds, seed)),
                "effective",
                n_draws,
            )
            for parameters in (truth, flat)
        )
        for row in worth_table(fits, SINGLES).query("source != target").itertuples():
            others = [name for name in SINGLES if name != row.target]
            covered["worths"].append(row.low <= WORTHS[row.target][others.index(row.source)] <= row.high)
        for target, fit in fits.items():
            low, high = np.quantile(fit.predict_draws(UNSEEN)[:, 0], [0.025, 0.975])
            covered["losses"].append(low <= fit.law.predict(truth[target], UNSEEN)[0] <= high)
        covered["false_alarms"].append(EQUAL in recommend(null, SINGLES, 300).beats)
    return {name: float(np.mean(values)) for name, values in covered.items()}


def true_laws(law: str) -> dict[str, np.ndarray]:
    """Return the parameters of a law, `effective` or a rival of it, by which simulated cells lose."""
    return RIVALS[law] if law in RIVALS else {target: true_parameters(target) for target in SINGLES}


def measure_law_error(
    law: str, n_seeds: int, counts: np.ndarray, n_simulations: int, n_draws: int = 200
) -> dict[str, float]:
    """Return how far the law `effective` can be trusted where cells lose by a law that may be another one.

    Worths are not compared: another law has none.

    Args:
        law: by which the cells lose, `effective` or one of `RIVALS`.
        n_seeds: training seeds of every tuned cell.
        counts: training rows of the cells, shape (cells, 3).
        n_simulations: studies to simulate.
        n_draws: of seeds, in each study.

    Returns:
        losses: share of intervals that hold the true loss of a mixture that no cell had; gains: share of
        studies whose interval of the recommended mixture's gain over equal parts holds the true gain;
        false_claims: share of studies that call the recommended mixture better than one that is as good or
        better; shortfall: mean of the recommended mixture's true loss minus the least one (nats per token).
    """
    truth, n_rows = true_laws(law), int(UNSEEN.sum())
    built = {target: build_law(law, SINGLES, target, counts) for target in SINGLES}

    def expect(rows: np.ndarray) -> np.ndarray:
        return np.stack([built[target].predict(own, rows) for target, own in truth.items()])

    mixtures = {EQUAL: np.full(3, n_rows / 3)} | dict(zip(SINGLES, n_rows * np.eye(3), strict=True))
    true_loss = {name: float(combine_targets(expect(rows[None]), MEAN)[0]) for name, rows in mixtures.items()}
    least, unseen = combine_targets(expect(n_rows * list_mixtures(3)), MEAN).min(), expect(UNSEEN)[:, 0]
    found: dict[str, list[float]] = {"losses": [], "gains": [], "false_claims": [], "shortfall": []}
    for seed in range(n_simulations):
        seen = build_loss_arrays(simulate_losses(law, truth, n_seeds, seed, counts=counts))
        fits = fit_losses(seen, "effective", n_draws)
        drawn = [fits[target].predict_draws(UNSEEN)[:, 0] for target in SINGLES]
        low, high = np.quantile(drawn, [0.025, 0.975], axis=1)
        found["losses"] += list((low <= unseen) & (unseen <= high))
        chosen = recommend(fits, SINGLES, n_rows)
        own = float(combine_targets(expect(np.array([list(chosen.rows.values())], dtype=float)), MEAN)[0])
        equal = chosen.comparisons.set_index("mixture").loc[EQUAL]
        found["gains"].append(equal["low"] <= true_loss[EQUAL] - own <= equal["high"])
        found["false_claims"].append(any(true_loss[name] <= own for name in chosen.beats))
        found["shortfall"].append(own - least)
    return {name: float(np.mean(values)) for name, values in found.items()}
