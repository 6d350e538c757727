"""Laws of the loss: the loss of a model on held-out rows of one category, from the numbers of rows of every
category that it was tuned on.

Each law gives predictions and their derivatives for many parameter vectors at once, shape (..., parameters),
so that thousands of refits cost little.

- `effective-exponents` follows Li, Liu and Xing (ICML 2025, arXiv 2508.11953): a power law of the effective
  rows, which are the category's own and what rows of the others transfer, less than in proportion.
  Departures: each other category s has a coefficient k_ts and an exponent a_ts of its own, and N_t stands for
  what the untuned model knows, so its loss is part of the law: L_t = E_t + C_t (N_t + m_t)^-b_t with the
  effective rows m_t = n_t + sum of k_ts n_s^a_ts. The code has it as L_t = E_t + drop_t (1 + m_t / N_t)^-b_t,
  where drop_t = C_t N_t^-b_t is the untuned model's loss minus E_t, and k_ts = w_ts r^(1 - a_ts), where w_ts
  is the worth of a row of s when there are r of them (`Law.median_rows`). No coefficient is negative: a
  category that harms another one is beyond this law. (Worths down to -1, with effective rows kept above zero,
  fitted the reference run's harm and predicted left-out mixtures no better.)
- `effective` is the same with every exponent a_ts at one.
- `exponential` is the law of Ye et al. (2024, arXiv 2403.16952), c_t + exp(k_t + sum of t_ts r_s) in the
  shares r_s, with a term d_t log(1 + n) for the number of rows n, which is fixed in theirs.
- `log-linear` is a regression on log(1 + n_s) (RegMix, ICLR 2025, regresses on shares).
- `null` knows the number of rows alone: the mean loss of the size, and a line in log(1 + n) between sizes.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from itertools import product

import numpy as np

LARGEST_LOSS = 100.0  # nats per token; no tuned model comes near


@dataclasses.dataclass(frozen=True)
class Law:
    """A law for one category of held-out rows, with what it must know of the cells that it is fitted to.

    Attributes:
        target_index: of the category among those of the training rows; -1 where no training row is of it.
        counts: training rows of the cells it is fitted to, shape (cells, categories).
    """

    target_index: int
    counts: np.ndarray

    @property
    def median_rows(self) -> float:
        """Rows for which a coefficient holds where the worth of a row depends on their number: the median of
        the cells' rows of a category.
        """
        return float(np.median(self.counts[self.counts > 0])) if self.counts.any() else 1.0

    def list_bounds(self) -> tuple[np.ndarray, np.ndarray]:
        """Return the least and the greatest value of each parameter."""
        raise NotImplementedError

    def list_starts(self, losses: np.ndarray) -> np.ndarray:
        """Return parameters from which a fit to some losses starts, shape (starts, parameters)."""
        raise NotImplementedError

    def predict(self, parameters: np.ndarray, counts: np.ndarray) -> np.ndarray:
        """Return the loss (nats per token) of cells with some training rows, shape (..., cells)."""
        raise NotImplementedError

    def derive(self, parameters: np.ndarray, counts: np.ndarray) -> np.ndarray:
        """Return the derivatives of the predictions, shape (..., cells, parameters)."""
        raise NotImplementedError


class Effective(Law):
    """A power law of effective rows; parameters: E, drop (the untuned model's loss minus E), log N, b, then
    the worth of a row of each other category.
    """

    has_exponents = False

    @property
    def others(self) -> list[int]:
        """Indices of the categories other than the target."""
        return [index for index in range(self.counts.shape[1]) if index != self.target_index]

    def list_bounds(self) -> tuple[np.ndarray, np.ndarray]:
        """See `Law`; a row of another category is worth at most ten of the target's own."""
        n = len(self.others)
        low, high = (
            [0.0, 0.0, np.log(0.5), 0.02, *[0.0] * n],
            [LARGEST_LOSS] * 2 + [np.log(1e5), 3.0, *[10.0] * n],
        )
        if self.has_exponents:
            low, high = [*low, *[0.1] * n], [*high, *[1.0] * n]
        return np.array(low), np.array(high)

    def list_starts(self, losses: np.ndarray) -> np.ndarray:
        """See `Law`; the floor lies somewhat below the least loss."""
        least, span = losses.min(), max(np.ptp(losses), 1e-3)
        n, scale = len(self.others), self.median_rows
        tails = [[0.7] * n] if self.has_exponents else [[]]
        return np.array(
            [
                [least - floor * span, (1 + floor) * span, np.log(scale * known), 0.5, *[worth] * n, *tail]
                for floor, known, worth, tail in product((0.1, 1.0), (0.1, 1.0), (0.1, 0.6), tails)
            ]
        )

    def _transfer(self, parameters: np.ndarray, counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return worths, and what each other category would add if a row were worth one of the target's."""
        n, scale = len(self.others), self.median_rows
        worths, rows = parameters[..., None, 4 : 4 + n], counts[:, self.others]
        if not self.has_exponents:
            return worths, np.broadcast_to(rows, (*parameters.shape[:-1], *rows.shape))
        exponents = parameters[..., None, 4 + n :]
        return worths, scale * (rows / scale) ** exponents

    def count_effective(self, parameters: np.ndarray, counts: np.ndarray) -> np.ndarray:
        """Return the effective rows of cells, shape (..., cells): those of the target, and what the others
        transfer.
        """
        worths, rows = self._transfer(parameters, counts)
        own = counts[:, self.target_index] if self.target_index >= 0 else 0.0
        return own + (worths * rows).sum(axis=-1)

    def predict(self, parameters: np.ndarray, counts: np.ndarray) -> np.ndarray:
        """See `Law`."""
        floor, drop, known, power = (parameters[..., None, index] for index in range(4))
        return floor + drop * (1 + self.count_effective(parameters, counts) / np.exp(known)) ** -power

    def derive(self, parameters: np.ndarray, counts: np.ndarray) -> np.ndarray:
        """See `Law`."""
        _, drop, known, power = (parameters[..., None, index] for index in range(4))
        worths, rows = self._transfer(parameters, counts)
        ratio = self.count_effective(parameters, counts) / np.exp(known)
        left = (1 + ratio) ** -power
        by_row = -drop * power * left / (1 + ratio) / np.exp(known)
        parts = [
            np.ones_like(left)[..., None],
            left[..., None],
            (-by_row * ratio * np.exp(known))[..., None],
            (-drop * left * np.log1p(ratio))[..., None],
            by_row[..., None] * rows,
        ]
        if self.has_exponents:
            logs = np.log(np.maximum(counts[:, self.others], 1e-9) / self.median_rows)
            parts.append(by_row[..., None] * worths * rows * logs)
        return np.concatenate(parts, axis=-1)


class EffectiveExponents(Effective):
    """`Effective` with an exponent for each other category, after the worths; a worth holds for `median_rows`
    rows of that category.
    """

    has_exponents = True


class Exponential(Law):
    """The exponential law of the shares; parameters: floor, log of the drop, d, then t of each category."""

    def list_bounds(self) -> tuple[np.ndarray, np.ndarray]:
        """See `Law`."""
        n = self.counts.shape[1]
        return np.array([0.0, -12.0, -1.0, *[-6.0] * n]), np.array([LARGEST_LOSS, 5.0, 3.0, *[6.0] * n])

    def list_starts(self, losses: np.ndarray) -> np.ndarray:
        """See `Law`."""
        least, span = losses.min(), max(np.ptp(losses), 1e-3)
        n = self.counts.shape[1]
        return np.array(
            [
                [least - floor * span, np.log((1 + floor) * span), size, *[0.0] * n]
                for floor, size in product((0.1, 0.5, 2.0), (0.05, 0.4))
            ]
        )

    def _design(self, counts: np.ndarray) -> np.ndarray:
        """Return what the parameters after the floor multiply: shape (cells, 2 + categories)."""
        total = counts.sum(axis=1, keepdims=True)
        return np.hstack([np.ones_like(total), -np.log1p(total), counts / np.maximum(total, 1)])

    def predict(self, parameters: np.ndarray, counts: np.ndarray) -> np.ndarray:
        """See `Law`."""
        return parameters[..., :1] + np.exp(parameters[..., 1:] @ self._design(counts).T)

    def derive(self, parameters: np.ndarray, counts: np.ndarray) -> np.ndarray:
        """See `Law`."""
        design = self._design(counts)
        left = np.exp(parameters[..., 1:] @ design.T)[..., None]
        return np.concatenate([np.ones_like(left), left * design], axis=-1)


class LogLinear(Law):
    """A linear law: constant, then the slope of log(1 + rows) of each category."""

    def list_bounds(self) -> tuple[np.ndarray, np.ndarray]:
        """See `Law`; nothing is bounded."""
        n = self._design(self.counts).shape[1]
        return np.full(n, -np.inf), np.full(n, np.inf)

    def list_starts(self, losses: np.ndarray) -> np.ndarray:
        """See `Law`; a linear law needs one."""
        return np.linalg.lstsq(self._design(self.counts), losses, rcond=None)[0][None]

    def _design(self, counts: np.ndarray) -> np.ndarray:
        return np.hstack([np.ones((len(counts), 1)), np.log1p(counts)])

    def predict(self, parameters: np.ndarray, counts: np.ndarray) -> np.ndarray:
        """See `Law`."""
        return parameters @ self._design(counts).T

    def derive(self, parameters: np.ndarray, counts: np.ndarray) -> np.ndarray:
        """See `Law`."""
        design = self._design(counts)
        return np.broadcast_to(design, (*parameters.shape[:-1], *design.shape))


class Null(LogLinear):
    """The mean loss of each number of rows, joined by lines in log(1 + rows): mixtures make no difference."""

    def _design(self, counts: np.ndarray) -> np.ndarray:
        sizes = np.unique(np.log1p(self.counts.sum(axis=1)))
        units = np.eye(len(sizes))
        return np.stack([np.interp(np.log1p(counts.sum(axis=1)), sizes, unit) for unit in units], axis=1)


LAWS: dict[str, type[Law]] = {
    "effective-exponents": EffectiveExponents,
    "effective": Effective,
    "exponential": Exponential,
    "log-linear": LogLinear,
    "null": Null,
}


def build_law(name: str, categories: Sequence[str], target: str, counts: np.ndarray) -> Law:
    """Return a law for a category of held-out rows, which may be none of the training rows'."""
    return LAWS[name](list(categories).index(target) if target in categories else -1, counts)
