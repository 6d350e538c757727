"""The mixture law measured: the speed of fits to thousands of draws, and the coverage of its intervals."""

from __future__ import annotations

import time
from collections.abc import Iterator

N_SIMULATIONS = 100
N_ALONE = 20  # fits one after the other, as many as show their pace


def measure_mixing() -> Iterator[tuple[str, str, float, float, str, int]]:
    """Yield the rows of the benchmark as `run.describe` takes them: seconds for 2,000 draws of a law of three
    categories against scipy's fits one after the other (n is the number of fits), then shares of simulated
    studies whose interval covers the truth, against the nominal share.
    """
    from helpers.analysis.mixing.fit_intervals import N_DRAWS, draw_losses, fit_losses
    from helpers.analysis.mixing.fitting import fit_law
    from helpers.analysis.mixing.losses import build_loss_arrays
    from helpers.analysis.mixing.simulation import measure_law_coverage, simulate_losses, true_parameters
    from helpers.study.cells import SINGLES

    losses = build_loss_arrays(
        simulate_losses("effective", {name: true_parameters(name) for name in SINGLES}, 3, 0)
    )
    started = time.perf_counter()
    fits = fit_losses(losses, "effective-exponents")
    ours = time.perf_counter() - started
    fit = fits[SINGLES[0]]
    drawn, _ = draw_losses(losses, losses.means, len(fit.parameters), N_ALONE, 0)
    started = time.perf_counter()
    for own in drawn[:, 0]:
        fit_law(fit.law, own, losses.n_seeds)
    alone = (time.perf_counter() - started) / N_ALONE * N_DRAWS * len(SINGLES)
    yield "mixture_draws", "s", ours, alone, "scipy from several starts, draw by draw", N_DRAWS * len(SINGLES)
    covered = measure_law_coverage(N_SIMULATIONS)
    for name in ("worths", "losses"):
        yield f"coverage_mixture_{name}", "share", covered[name], 0.95, "the nominal share", N_SIMULATIONS
    alarms = covered["false_alarms"]
    yield "false_alarms_mixture", "share", alarms, 0.05, "the nominal share", N_SIMULATIONS
