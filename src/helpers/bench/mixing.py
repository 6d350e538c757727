"""The mixture law measured: the speed of fits to thousands of draws, and the coverage of its intervals."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from helpers.bench.result import Measurement

N_SIMULATIONS = 100
N_ALONE = 20  # fits one after the other, as many as show their pace
SEVERAL, LATTICE_ALONE = "lattice, more mixtures and sizes", "lattice alone"
N_CASE = {SEVERAL: 12, LATTICE_ALONE: 5}  # studies of each case; fits to a lattice alone take longer


def measure_mixing() -> Iterator[Measurement]:
    """Yield seconds for 2,000 draws of a law of three categories against scipy's fits one after the other
    (n is the number of fits), then shares of simulated studies whose interval covers the truth, against the
    nominal share.
    """
    from helpers.analysis.mixing.fit_intervals import N_DRAWS, draw_losses, fit_losses
    from helpers.analysis.mixing.fitting import fit_law
    from helpers.analysis.mixing.losses import build_loss_arrays
    from helpers.analysis.mixing.simulation import measure_law_coverage, simulate_losses, true_laws
    from helpers.study.grid import SINGLES

    losses = build_loss_arrays(simulate_losses("effective", true_laws("effective"), 3, 0))
    started = time.perf_counter()
    fits = fit_losses(losses, "effective-exponents")
    ours = time.perf_counter() - started
    fit = fits[SINGLES[0]]
    drawn, _ = draw_losses(losses, losses.mean_over_seeds, len(fit.parameters), N_ALONE, 0)
    started = time.perf_counter()
    for own in drawn[:, 0]:
        fit_law(fit.law, own, losses.seed_weights)
    alone = (time.perf_counter() - started) / N_ALONE * N_DRAWS * len(SINGLES)
    n_fits = N_DRAWS * len(SINGLES)
    yield "mixture_draws", "s", ours, alone, "scipy from several starts, draw by draw", n_fits, {}
    covered = measure_law_coverage(N_SIMULATIONS)
    for name in ("worths", "losses"):
        yield f"coverage_mixture_{name}", "share", covered[name], 0.95, "the nominal share", N_SIMULATIONS, {}
    alarms = covered["false_alarms"]
    yield "false_alarms_mixture", "share", alarms, 0.05, "the nominal share", N_SIMULATIONS, {}
    yield measure_law_cases()


def measure_law_cases() -> Measurement:
    """Return how often an interval of the law `effective` holds the true loss of a mixture that no cell had,
    at least, where that law is the true one and there are several training seeds; against the least where
    another law is. More has the cases, by the true law, the cells and the number of seeds.
    """
    from helpers.analysis.mixing.simulation import (
        NOISE,
        RIVALS,
        SEED_NOISE,
        design_cells,
        measure_law_error,
    )
    from helpers.study.grid import LATTICE

    cells_of = {SEVERAL: design_cells(), LATTICE_ALONE: design_cells()[: len(LATTICE)]}
    cases = [("effective", SEVERAL, n_seeds) for n_seeds in (1, 2, 5)]
    cases += [(law, SEVERAL, 5) for law in RIVALS]
    cases += [(law, LATTICE_ALONE, 5) for law in ("effective", *RIVALS)]
    rows: list[dict[str, Any]] = []
    for law, cells, n_seeds in cases:
        found = measure_law_error(law, n_seeds, cells_of[cells], N_CASE[cells])
        rows.append({"law": law, "cells": cells, "n_seeds": n_seeds, "n": N_CASE[cells]} | found)
    several = [row for row in rows if row["n_seeds"] > 1]
    own, other = (
        min(row["losses"] for row in several if (row["law"] == "effective") == same) for same in (True, False)
    )
    rows = [
        {name: round(value, 4) if isinstance(value, float) else value for name, value in row.items()}
        for row in rows
    ]
    against = "the least where the losses follow another law"
    more = {"level": 0.95, "noise": NOISE, "seed_noise": SEED_NOISE, "cases": rows}
    return "coverage_mixture_cases", "share", own, other, against, N_CASE[SEVERAL], more
