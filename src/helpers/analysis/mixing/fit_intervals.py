"""Laws fitted to measured cells, with intervals: training seeds and held-out items are drawn anew.

A draw is what the cells would have shown under other seeds and other held-out items. It is the fitted law,
plus noise of seeds, plus what redrawn items change. The noise has two parts, as in a two-way layout without
interaction: an effect of the seed on all cells, since a seed draws the same rows for each of them, and the
remainder. Both are normal; their variance is drawn too, as the degrees of freedom leave it open, so that
intervals are as wide as Student's t wants. Where the law misses the cells by more than their noise, the
remainder is widened to the misses (Birge's ratio, the scale factor of the Particle Data Group's reviews).
"""

from __future__ import annotations

import dataclasses

import numpy as np

from helpers.analysis.mixing.fitting import fit_law, refit_law
from helpers.analysis.mixing.laws import Law, build_law
from helpers.analysis.mixing.losses import LossArrays

N_DRAWS = 2000
DRAWING_SEED = 7


@dataclasses.dataclass(frozen=True)
class Fit:
    """A law fitted to the cells for one category of held-out rows.

    Attributes:
        law_name: in `LAWS`.
        target: the category of held-out rows.
        law: with the counts that it was built for.
        parameters: of the fit to all that was measured.
        draws: parameters of the fits to the draws, shape (draws, parameters); none where none were asked for.
        noise: standard deviation of the loss between runs of a cell that differ in their seed.
    """

    law_name: str
    target: str
    law: Law
    parameters: np.ndarray
    draws: np.ndarray
    noise: float

    def predict(self, counts: np.ndarray) -> np.ndarray:
        """Return the loss (nats per token) of cells, shape (cells,)."""
        return self.law.predict(self.parameters, counts)

    def predict_draws(self, counts: np.ndarray) -> np.ndarray:
        """Return the loss of cells under every draw, shape (draws, cells)."""
        return self.law.predict(self.draws, counts)


def fit_losses(
    losses: LossArrays, law_name: str, n_draws: int = N_DRAWS, seed: int = DRAWING_SEED
) -> dict[str, Fit]:
    """Fit a law to the cells for every category of held-out rows; their draws belong together.

    Args:
        losses: of the cells.
        law_name: in `LAWS`.
        n_draws: how often seeds and items are drawn anew; 0 for none.
        seed: of the draws.
    """
    laws = [build_law(law_name, losses.categories, target, losses.counts) for target in losses.targets]
    weights = losses.seed_weights.astype(float)
    best = [fit_law(law, means, weights) for law, means in zip(laws, losses.mean_over_seeds, strict=True)]
    fitted = np.stack([law.predict(own, losses.counts) for law, own in zip(laws, best, strict=True)])
    drawn, noise = draw_losses(losses, fitted, len(best[0]), n_draws, seed)
    return {
        target: Fit(law_name, target, law, own, refit_law(law, drawn[:, index], weights, own), noise[index])
        for index, (target, law, own) in enumerate(zip(losses.targets, laws, best, strict=True))
    }


def draw_losses(
    losses: LossArrays, fitted: np.ndarray, n_parameters: int, n_draws: int, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Draw losses of the cells as other seeds and items would give them about a fitted law.

    Returns:
        The losses, shape (draws, targets, cells), and for each target the standard deviation of a run.
    """
    random = np.random.default_rng(seed)
    n_targets, n_cells, _ = losses.losses_by_seed.shape
    effects, remainders, df = split_noise(losses)
    misses = losses.seed_weights * (losses.mean_over_seeds - fitted) ** 2
    left = max(n_cells - n_parameters, 1)
    missed = np.sqrt(misses.sum(axis=1) / left)
    found = np.sqrt((remainders**2).sum(axis=1) / df) if df else np.zeros(n_targets)
    wide = np.maximum(found, missed)
    df = np.where(missed > found, left, max(df, 1))
    mix = np.linalg.cholesky(_correlate(remainders))
    scales = wide * np.sqrt(df / random.chisquare(df, (n_draws, n_targets)))
    parts = random.normal(size=(n_draws, n_cells, n_targets)) @ mix.T
    own = np.where(
        losses.tuned, 1.0, np.sqrt(np.maximum(1 - (found / np.maximum(wide, 1e-12)) ** 2, 0))[:, None]
    )
    drawn = fitted + (parts * scales[:, None]).swapaxes(1, 2) * own / np.sqrt(losses.seed_weights)
    return drawn + _draw_seeds(losses, effects, random, n_draws) + _draw_items(losses, random, n_draws), found


def split_noise(losses: LossArrays) -> tuple[np.ndarray, np.ndarray, int]:
    """Split the losses of repeated cells into cell, seed and remainder.

    Returns:
        Effects of the seeds, shape (targets, seeds), remainders, shape (targets, runs), and their degrees of
        freedom; nothing of them where no cell was repeated.
    """
    there = np.isfinite(losses.losses_by_seed[0]) & losses.tuned[:, None]
    there &= (there.sum(axis=1) > 1)[:, None]
    cells, seeds = np.nonzero(there)
    n_targets, n_seeds = len(losses.targets), losses.losses_by_seed.shape[2]
    if not len(cells):
        return np.zeros((n_targets, n_seeds)), np.zeros((n_targets, 0)), 0
    layout = np.hstack([np.eye(len(losses.counts))[cells], np.eye(n_seeds)[seeds]])
    runs = losses.losses_by_seed[:, cells, seeds]
    effects = np.linalg.lstsq(layout, runs.T, rcond=None)[0].T
    df = len(cells) - np.linalg.matrix_rank(layout)
    of_seeds = effects[:, len(losses.counts) :]
    used = np.isin(np.arange(n_seeds), seeds)
    of_seeds = np.where(used, of_seeds - of_seeds[:, used].mean(axis=1, keepdims=True), 0.0)
    return of_seeds, runs - effects @ layout.T, int(df)


def _correlate(remainders: np.ndarray) -> np.ndarray:
    """Return how the remainders of the targets correlate, drawn towards none so that it can be inverted."""
    if remainders.shape[1] < 4 or not (remainders.std(axis=1) > 0).all():
        return np.eye(len(remainders))
    return 0.95 * np.atleast_2d(np.corrcoef(remainders)) + 0.05 * np.eye(len(remainders))


def _draw_seeds(
    losses: LossArrays, effects: np.ndarray, random: np.random.Generator, n_draws: int
) -> np.ndarray:
    """Return effects of drawn seeds on the mean of each cell, shape (draws, targets, cells)."""
    n_seeds = effects.shape[1]
    if n_seeds < 2:
        return np.zeros((n_draws, len(effects), len(losses.counts)))
    spread = np.sqrt((effects**2).sum(axis=1) / (n_seeds - 1))
    scale = np.sqrt((n_seeds - 1) / random.chisquare(n_seeds - 1, (n_draws, 1, 1)))
    drawn = random.normal(size=(n_draws, len(effects), n_seeds)) * spread[:, None] * scale
    there = np.isfinite(losses.losses_by_seed[0]) & losses.tuned[:, None]
    return drawn @ (there / np.maximum(there.sum(axis=1, keepdims=True), 1)).T


def _draw_items(losses: LossArrays, random: np.random.Generator, n_draws: int) -> np.ndarray:
    """Return what held-out rows drawn anew change in each cell's mean, shape (draws, targets, cells)."""
    parts = []
    for items in losses.item_losses:
        n_items = items.shape[-1]
        often = random.multinomial(n_items, np.full(n_items, 1 / n_items), n_draws) / n_items
        drawn = np.einsum("di,ci->dc", often, np.nanmean(items, axis=1))
        parts.append(drawn - np.nanmean(items, axis=(1, 2)))
    return np.stack(parts, axis=1) if parts else np.zeros((n_draws, len(losses.targets), len(losses.counts)))
