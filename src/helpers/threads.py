"""Threads that leave the cores to others while they wait."""

from __future__ import annotations

import os


def share_cores() -> None:
    """Let PyTorch's threads sleep where they wait for each other, here and in processes that this one starts.

    By default they spin, and two runs on one machine hold each other up many times over. It works before
    PyTorch is imported, and leaves what the user has set. The number of threads needs no care: OpenMP takes
    that of the cores that the scheduler gives the process.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    os.environ.setdefault("KMP_BLOCKTIME", "0")  # the same for Intel's OpenMP, in builds that use it
