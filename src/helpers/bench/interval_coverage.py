"""How often intervals cover the truth and tests find what is not there, on simulated lattices."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from itertools import product
from typing import Any

import numpy as np

from helpers.analysis.contrasts import weigh_cells
from helpers.analysis.hypotheses import ALPHA
from helpers.analysis.intervals import (
    CONFIDENCE,
    VarianceComponents,
    bootstrap_items,
    crossed_variance,
    t_interval,
)
from helpers.analysis.sensitivity import pooled_variance
from helpers.analysis.simulation import (
    HEAVY,
    RIGHT,
    SIMULATED_CELLS,
    SKEWED,
    ZEROS,
    Scenario,
    simulate_scores,
)
from helpers.analysis.stability import draw_means, find_sign, win_probabilities
from helpers.analysis.transfer import STRICT, combine_min, gain_contrasts, synergy_contrasts
from helpers.bench.result import Measurement
from helpers.records import BASE
from helpers.study.grid import PAIRS, SINGLES

BATCH = 100
N_LATTICES = {12: 4000, 48: 4000, 200: 500}  # simulated, by items per task
N_ONE, N_BETTER, N_DRAWN = 2000, 1000, 300  # lattices of the other measures
SEED_COUNTS = (3, 5)
EFFECTS = dict(zip(SIMULATED_CELLS, (0.0, 0.1, 0.04, -0.02, 0.12, 0.03, 0.0), strict=True))
FAMILY = 1 - ALPHA / len(SINGLES) ** 2  # level at which the first of nine holds after Holm's correction
N_MEASURED = 6  # training seeds of the models whose spread a run of one seed takes
SPREADS = ({"seed_ratio": 0.0}, {"seed_ratio": 1.0}, {"seed_ratio": 2.8})
UNLIKE = ({"seed_ratio": 2.8, "shared": True}, {"seed_ratio": 2.8, "uneven": True})

Stacks = dict[str, np.ndarray]


def measure_coverage() -> Iterator[Measurement]:
    """Yield name, unit, value, baseline, what the baseline is, number of simulated lattices and more, of each
    measure.
    """
    yield measure_families()
    yield measure_gains()
    yield measure_one_seed()
    yield measure_spread()
    yield measure_better()
    yield measure_shares()


def list_scenarios() -> list[Scenario]:
    """Return the scenarios that families are tested on: every kind of scores and spread of seeds with a dozen
    items per task, the hard ones with more.
    """
    few = [
        Scenario(kind, 12, **spread) for kind in (RIGHT, ZEROS, HEAVY, SKEWED) for spread in SPREADS + UNLIKE
    ]
    more = [Scenario(kind, 48, **spread) for kind in (ZEROS, SKEWED) for spread in (*SPREADS[2:], *UNLIKE)]
    return [*few, *more, *(Scenario(HEAVY, 200, **spread) for spread in SPREADS[::2])]


def stack_tasks(scores: np.ndarray) -> Stacks:
    """Return simulated scores by task, cells first: shape (cells, simulations, categories, seeds, items)."""
    return {str(task): np.moveaxis(scores[:, :, :, task], 2, 0) for task in range(scores.shape[3])}


def simulate_batches(
    scenario: Scenario, n_seeds: int, n: int, **more: Any
) -> Iterator[tuple[Stacks, np.ndarray]]:
    """Yield stacks of simulated lattices and the effects of their seeds, a hundred lattices at a time."""
    for number in range(-(-n // BATCH)):
        scores, of_seeds = simulate_scores(scenario, n_seeds, min(BATCH, n), seed=number, **more)
        yield stack_tasks(scores), of_seeds


def measure_families() -> Measurement:
    """Return how often a family of nine contrasts finds something where nothing is, at most: three singles
    over base, or three pairs over the mean of their parts, on three categories of tasks.
    """
    rows = [describe_errors(scenario, n_seeds) for scenario in list_scenarios() for n_seeds in SEED_COUNTS]
    beyond = [
        describe_errors(Scenario(HEAVY, 12, 2.8), 2),
        *(describe_errors(Scenario(RIGHT, 12, 2.8, bounded=True), n_seeds) for n_seeds in SEED_COUNTS),
    ]
    worst = {
        name: max(row[name] for row in rows) for name in ("gains", "synergies", "satterthwaite", "pooled")
    }
    more = {"level": ALPHA, "worst": worst, "cases": rows, "beyond": beyond}
    ours, against = max(worst["gains"], worst["synergies"]), "degrees of freedom by Satterthwaite"
    return "family_error", "share", ours, worst["satterthwaite"], against, N_LATTICES[12], more


def describe_errors(scenario: Scenario, n_seeds: int) -> dict[str, Any]:
    """Return the errors of `count_errors` with what was simulated."""
    return {"case": scenario.name, "n_seeds": n_seeds} | count_errors(scenario, n_seeds)


def count_errors(scenario: Scenario, n_seeds: int) -> dict[str, float]:
    """Return the share of lattices without effects in which at least one of nine contrasts holds after Holm's
    correction, by family; for gains also with Satterthwaite's degrees of freedom and with pooled seeds; and
    the share of single gains that differ from zero uncorrected.
    """
    n = N_LATTICES[scenario.n_items]
    ways: dict[str, tuple[Mapping[str, Mapping[str, float]], Callable[..., Any], float]] = {
        "gains": (gain_contrasts(SINGLES), study_variance, FAMILY),
        "synergies": (synergy_contrasts(), study_variance, FAMILY),
        "satterthwaite": (gain_contrasts(SINGLES), split_satterthwaite, FAMILY),
        "pooled": (gain_contrasts(SINGLES), pooled_variance, FAMILY),
        "single": (gain_contrasts(SINGLES), study_variance, CONFIDENCE),
    }
    found: dict[str, list[np.ndarray]] = {name: [] for name in ways}
    for stacks, _ in simulate_batches(scenario, n_seeds, n):
        for name, (contrasts, split, level) in ways.items():
            wrong = [exclude_truth(stacks, weights, split, level) for weights in contrasts.values()]
            found[name].append(np.stack(wrong, axis=1).reshape(len(wrong[0]), -1))
    shares = {name: np.concatenate(wrong) for name, wrong in found.items()}
    return {
        name: round(float((wrong if name == "single" else wrong.any(axis=1)).mean()), 4)
        for name, wrong in shares.items()
    }


def exclude_truth(
    stacks: Stacks,
    weights: Mapping[str, float],
    split: Callable[..., Any],
    level: float,
    truth: np.ndarray | float = 0.0,
) -> np.ndarray:
    """Return for each simulation and category whether the interval of a contrast leaves the truth out."""
    low, high = t_interval(
        estimate_contrast(stacks, weights), *split(stacks, SIMULATED_CELLS, weights), level
    )
    return (low > truth) | (high < truth)


def estimate_contrast(stacks: Stacks, weights: Mapping[str, float]) -> np.ndarray:
    """Return the estimates of a contrast: shape (simulations, categories)."""
    return np.mean(
        [sample.mean(axis=(-2, -1)) for sample in weigh_cells(stacks, weights, SIMULATED_CELLS)], axis=0
    )


def study_variance(
    stacks: Stacks, cells: tuple[str, ...], weights: Mapping[str, float]
) -> tuple[np.ndarray, VarianceComponents]:
    """Return variance and components as every table of the study has them."""
    return crossed_variance(weigh_cells(stacks, weights, cells))


def split_satterthwaite(
    stacks: Stacks, cells: tuple[str, ...], weights: Mapping[str, float]
) -> tuple[np.ndarray, VarianceComponents]:
    """Return the same variance as one component with Satterthwaite's (1946) degrees of freedom."""
    variance, components = study_variance(stacks, cells, weights)
    (of_seeds, seed_df), (_, item_df) = components
    of_items = sum(
        sample.mean(axis=-2).var(axis=-1, ddof=1) / sample.shape[-1]
        for sample in weigh_cells(stacks, weights, cells)
    )
    of_items = of_items / len(stacks) ** 2
    return variance, [(variance, variance**2 / (of_seeds**2 / seed_df + of_items**2 / item_df))]


def measure_gains() -> Measurement:
    """Return how often the interval of a gain covers the truth with five training seeds, against one."""
    scenario, truth = Scenario(RIGHT), EFFECTS["qa"] - EFFECTS[BASE]
    shares = {}
    for n_seeds in (1, *SEED_COUNTS):
        missed = [
            exclude_truth(stacks, {"qa": 1.0, BASE: -1.0}, study_variance, CONFIDENCE, truth)
            for stacks, _ in simulate_batches(
                scenario, n_seeds, N_LATTICES[12], effects=list(EFFECTS.values())
            )
        ]
        shares[n_seeds] = 1 - float(np.concatenate(missed).mean())
    more = {"case": scenario.name, "three_seeds": round(shares[3], 4)}
    against = "the interval of one training seed"
    return "coverage_gain", "share", shares[5], shares[1], against, N_LATTICES[12], more


def measure_one_seed() -> Measurement:
    """Return how often the interval of one training seed covers what this seed would show on all items, at
    least; against what all seeds would show on average. It is made for the first and not for the second. More
    says the same of the error of families of nine gains.
    """
    rows = []
    for kind in (RIGHT, ZEROS, HEAVY, SKEWED):
        scenario = Scenario(kind)
        found: dict[str, list[np.ndarray]] = {
            name: [] for name in ("this_seed", "other_seeds", "family_this_seed", "family_other_seeds")
        }
        for stacks, of_seeds in simulate_batches(scenario, 1, N_ONE):
            ends = bootstrap_gains(stacks)
            own = of_seeds[:, 0, SIMULATED_CELLS.index("qa"), 0]
            for name, truth in {"this_seed": own, "other_seeds": 0.0}.items():
                found[name].append((ends[:, 0] <= truth) & (truth <= ends[:, 1]))
            for name, known in {"family_this_seed": 1.0, "family_other_seeds": 0.0}.items():
                wrong = [
                    exclude_truth(
                        stacks,
                        weights,
                        study_variance,
                        FAMILY,
                        known * of_seeds[:, :, SIMULATED_CELLS.index(cell), 0],
                    )
                    for cell, weights in gain_contrasts(SINGLES).items()
                ]
                found[name].append(np.any(wrong, axis=(0, 2)))
        rows.append(
            {"case": scenario.name}
            | {name: round(float(np.concatenate(hits).mean()), 4) for name, hits in found.items()}
        )
    worst = {name: min(row[name] for row in rows) for name in ("this_seed", "other_seeds")}
    against = "the truth over all training seeds, which it does not cover"
    more = {"level": CONFIDENCE, "cases": rows}
    return "coverage_one_seed", "share", worst["this_seed"], worst["other_seeds"], against, N_ONE, more


def measure_spread() -> Measurement:
    """Return how often a family of nine contrasts of losses finds something where nothing is, at most, under
    one training seed with the spread of six others (`seed_spread.add_spread`); against one seed without it.
    """
    kinds = product((HEAVY, SKEWED), (*SPREADS, *UNLIKE))
    rows = [count_spread_errors(Scenario(kind, 12, **spread)) for kind, spread in kinds]
    worst = {name: max(row[name] for row in rows) for name in ("gains", "synergies", "without")}
    ours, against = max(worst["gains"], worst["synergies"]), "gains of one seed without the spread"
    more = {"level": ALPHA, "worst": worst, "cases": rows}
    return "family_error_spread", "share", ours, worst["without"], against, N_ONE, more


def count_spread_errors(scenario: Scenario) -> dict[str, Any]:
    """Return the share of lattices without effects in which a run of one seed finds something: among gains
    and among synergies with the spread of six other seeds, and among gains without it.
    """
    found: dict[str, list[np.ndarray]] = {"gains": [], "synergies": [], "without": []}
    families = {"gains": gain_contrasts(SINGLES), "synergies": synergy_contrasts()}
    for stacks, _ in simulate_batches(scenario, 1 + N_MEASURED, N_ONE):
        own = {task: stack[..., :1, :] for task, stack in stacks.items()}
        variances = take_variances({task: stack[..., 1:, :] for task, stack in stacks.items()})

        def split(stacks: Stacks, cells: tuple[str, ...], weights: Mapping[str, float]) -> Any:
            squares = np.array([weights.get(cell, 0.0) ** 2 for cell in cells])
            deviation = np.mean(np.tensordot(squares, variances, axes=1) ** 0.5, axis=0)  # noqa: B023
            return crossed_variance(weigh_cells(stacks, weights, cells), (deviation**2, N_MEASURED - 1))

        ways = [(name, contrasts, split) for name, contrasts in families.items()]
        for name, contrasts, way in [*ways, ("without", families["gains"], study_variance)]:
            wrong = [exclude_truth(own, weights, way, FAMILY) for weights in contrasts.values()]
            found[name].append(np.any(wrong, axis=(0, 2)))
    shares = {name: round(float(np.concatenate(wrong).mean()), 4) for name, wrong in found.items()}
    return {"case": scenario.name} | shares


def take_variances(stacks: Stacks) -> np.ndarray:
    """Return variances over seeds of the cells' means, shape (cells, tasks, simulations, categories): none of
    the base model, those of singles as measured, and the largest of these for pairs.
    """
    measured = np.stack([stack.mean(axis=-1).var(axis=-1, ddof=1) for stack in stacks.values()], axis=1)
    singles = [SIMULATED_CELLS.index(cell) for cell in SINGLES]
    variances = np.broadcast_to(measured[singles].max(axis=0), measured.shape).copy()
    variances[singles] = measured[singles]
    variances[SIMULATED_CELLS.index(BASE)] = 0.0
    return variances


def bootstrap_gains(stacks: Stacks) -> np.ndarray:
    """Return the ends of the bootstrap interval of the first single's gain on the first category, of each
    lattice: shape (simulations, 2).
    """
    samples = weigh_cells(stacks, {SINGLES[0]: 1.0, BASE: -1.0}, SIMULATED_CELLS)
    return np.array(
        [bootstrap_items([sample[number, 0] for sample in samples]) for number in range(len(samples[0]))]
    )


def measure_better() -> Measurement:
    """Return how often the interval of a pair over the better of its parts covers the truth, at least;
    against the interval of the step from the part that looks better.
    """
    rows = []
    for name, effects in {
        "equal parts": dict.fromkeys(SIMULATED_CELLS, 0.0),
        "unequal parts": EFFECTS,
    }.items():
        for scenario, n_seeds in product(
            (Scenario(RIGHT), Scenario(HEAVY, 48), Scenario(HEAVY, 48, 2.8)), SEED_COUNTS
        ):
            ours, naive = zip(*cover_better(scenario, n_seeds, effects), strict=True)
            row = {"case": scenario.name, "effects": name, "n_seeds": n_seeds}
            rows.append(
                row | {"ours": round(float(np.mean(ours)), 4), "naive": round(float(np.mean(naive)), 4)}
            )
    worst = {name: min(row[name] for row in rows) for name in ("ours", "naive")}
    against = "the interval of the step from the part that looks better"
    more = {"level": CONFIDENCE, "cases": rows}
    return "coverage_better", "share", worst["ours"], worst["naive"], against, N_BETTER, more


def cover_better(
    scenario: Scenario, n_seeds: int, effects: Mapping[str, float]
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield for batches of lattices whether the interval of `transfer.best_part_table` covers the truth, and
    whether a naive one does.
    """
    pair, parts = PAIRS[0], SINGLES[:2]
    truth = effects[pair] - max(effects[part] for part in parts)
    for stacks, _ in simulate_batches(scenario, n_seeds, N_BETTER, effects=list(effects.values())):
        plain, strict = (
            [marginal_gain(stacks, pair, part, level) for part in parts] for level in (CONFIDENCE, STRICT)
        )
        found = combine_min(plain, strict)
        first = plain[0]["estimate"] < plain[1]["estimate"]
        naive = {end: np.where(first, plain[0][end], plain[1][end]) for end in ("low", "high")}
        yield tuple((ends["low"] <= truth) & (truth <= ends["high"]) for ends in (found, naive))


def marginal_gain(stacks: Stacks, pair: str, part: str, level: float) -> dict[str, np.ndarray]:
    """Return estimate, low and high of a pair minus one of its parts."""
    weights = {pair: 1.0, part: -1.0}
    estimate = estimate_contrast(stacks, weights)
    low, high = t_interval(estimate, *study_variance(stacks, SIMULATED_CELLS, weights), level)
    return {"estimate": estimate, "low": low, "high": high}


def measure_shares() -> Measurement:
    """Return how often cells without effects show a sign in at least 97.5 % of draws, at most; against how
    often all seeds agree on a sign. Also how often one of three equal cells wins in at least 95 % of draws.
    """
    rows = []
    for scenario, n_seeds in product((Scenario(ZEROS), Scenario(HEAVY, 12, 2.8)), SEED_COUNTS):
        signs, agreed, winners = [], [], []
        for stacks, _ in simulate_batches(scenario, n_seeds, N_DRAWN):
            for number in range(len(next(iter(stacks.values()))[0])):
                cells = [stack[: len(SINGLES) + 1, number, 0] for stack in stacks.values()]
                draws, by_seed = draw_means(cells), np.mean([stack.mean(axis=2) for stack in cells], axis=0)
                gain, by_draw = find_sign(by_seed[1] - by_seed[0]), find_sign(draws[:, 1] - draws[:, 0])
                signs.append(max((by_draw > 0).mean(), (by_draw < 0).mean()) >= (1 + CONFIDENCE) / 2)
                agreed.append(abs(gain.sum()) == n_seeds)
                winners.append(win_probabilities(draws[:, 1:]).max() >= CONFIDENCE)
        shares = {"signs": signs, "seeds_agree": agreed, "winners": winners}
        row = {"case": scenario.name, "n_seeds": n_seeds}
        rows.append(row | {name: round(float(np.mean(hits)), 4) for name, hits in shares.items()})
    worst = {name: max(row[name] for row in rows) for name in ("signs", "seeds_agree", "winners")}
    against = "all training seeds agree on the sign"
    more = {"level": ALPHA, "worst": worst, "cases": rows}
    return "sign_error", "share", worst["signs"], worst["seeds_agree"], against, N_DRAWN, more
