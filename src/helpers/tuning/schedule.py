"""The schedule of the learning rate: warm-up, then decay."""

from __future__ import annotations

WARMUP_SHARE = 0.1  # of the steps


def learning_rate_at(step: int, n_steps: int, peak: float) -> float:
    """Return the learning rate of a step: linear warm-up over a tenth of the steps, then linear decay towards
    zero.
    """
    warmup = max(1, round(WARMUP_SHARE * n_steps))
    return peak * min((step + 1) / warmup, (n_steps - step) / max(1, n_steps - warmup + 1))
