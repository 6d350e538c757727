"""Fits of a law: one by scipy from several starts, and thousands at once by the same steps in numpy.

The refits of a bootstrap differ little from the fit to all cells. They start from it and take
Levenberg-Marquardt steps (Nocedal and Wright, 2006, section 10.3) with exact derivatives, all draws in one
array; a parameter that would leave its bounds stays on them for the step.
"""

from __future__ import annotations

import numpy as np

from helpers.analysis.mixing.laws import Law

MAX_STEPS = 60
SMALL_STEP = 1e-7  # relative fall of the squared error at which a fit has ended


def fit_law(law: Law, losses: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Return the parameters that fit losses best in weighted least squares, the best of several starts.

    Args:
        law: to be fitted to its own cells.
        losses: of the cells (nats per token).
        weights: of the cells, such as their number of training seeds.
    """
    from scipy.optimize import least_squares

    low, high = law.list_bounds()
    roots = np.sqrt(weights)
    starts = np.clip(law.list_starts(losses), low + 1e-9, high - 1e-9)
    fits = [
        least_squares(
            lambda parameters: roots * (law.predict(parameters, law.counts) - losses),
            start,
            lambda parameters: roots[:, None] * law.derive(parameters, law.counts),
            bounds=(low, high),
            x_scale="jac",
            max_nfev=300,
        )
        for start in starts
    ]
    return min(fits, key=lambda fit: fit.cost).x


def refit_law(law: Law, losses: np.ndarray, weights: np.ndarray, starts: np.ndarray) -> np.ndarray:
    """Return the parameters that fit each of many sets of losses, shape (sets, parameters).

    Args:
        law: to be fitted to its own cells.
        losses: shape (sets, cells).
        weights: of the cells.
        starts: parameters to start from, one vector for all sets or one for each.
    """
    low, high = law.list_bounds()
    roots = np.sqrt(weights)
    parameters = np.broadcast_to(np.clip(starts, low, high), (len(losses), len(low))).copy()
    damping = np.full(len(losses), 1e-3)
    errors = _weigh_errors(law, parameters, losses, roots)
    going = np.arange(len(losses))
    for _ in range(MAX_STEPS):
        now = parameters[going]
        tried = np.clip(now + _step(law, now, errors[going], roots, damping[going], low, high), low, high)
        found = _weigh_errors(law, tried, losses[going], roots)
        before, after = (errors[going] ** 2).sum(axis=1), (found**2).sum(axis=1)
        better = after <= before
        parameters[going[better]], errors[going[better]] = tried[better], found[better]
        damping[going] = np.clip(np.where(better, damping[going] / 5, damping[going] * 8), 1e-9, 1e9)
        ended = np.where(better, before - after <= SMALL_STEP * before + 1e-15, damping[going] > 1e8)
        going = going[~ended]
        if not len(going):
            break
    return parameters


def _weigh_errors(law: Law, parameters: np.ndarray, losses: np.ndarray, roots: np.ndarray) -> np.ndarray:
    return roots * (law.predict(parameters, law.counts) - losses)


def _step(
    law: Law,
    parameters: np.ndarray,
    errors: np.ndarray,
    roots: np.ndarray,
    damping: np.ndarray,
    low: np.ndarray,
    high: np.ndarray,
) -> np.ndarray:
    """Return a damped step of each fit; parameters on a bound that the step would cross do not move."""
    slopes = roots[:, None] * law.derive(parameters, law.counts)
    gradient = np.einsum("dmp,dm->dp", slopes, errors)
    held = ((parameters <= low) & (gradient > 0)) | ((parameters >= high) & (gradient < 0))
    slopes = np.where(held[:, None, :], 0.0, slopes)
    square = np.swapaxes(slopes, 1, 2) @ slopes
    size = np.diagonal(square, axis1=1, axis2=2)
    added = damping[:, None] * np.maximum(size, 1e-8 * size.max(axis=1, keepdims=True)) + 1e-12 + held
    square[:, np.arange(len(low)), np.arange(len(low))] += added
    return -np.linalg.solve(square, np.where(held, 0.0, gradient)[..., None])[..., 0]
