"""Which seed tasks a request shows: a pure function of `draw_seed` and request number."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable


def choose_seed_tasks(seed_ids: Iterable[str], draw_seed: int, request: int, n: int = 3) -> tuple[str, ...]:
    """Draw `n` of `seed_ids` for one request.

    Each id gets the sha256 of (draw_seed, request, id) as its rank, and the `n` smallest are drawn: uniform,
    the same on every machine and Python version, independent of the order of the file, so any request can be
    redone alone.

    Args:
        seed_ids: ids of the seed tasks, any order.
        draw_seed: random seed of these draws (the parameter `draw_seed`).
        request: number of the request, from 0.
        n: how many seed tasks a request shows; three in the paper (section "Instruction generation").
    """

    def rank(seed_id: str) -> bytes:
        return hashlib.sha256(f"{draw_seed}/{request}/{seed_id}".encode()).digest()

    return tuple(sorted(seed_ids, key=rank)[:n])
