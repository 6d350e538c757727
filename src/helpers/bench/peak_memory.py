"""The largest memory that a process held, or one step of it."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil

MAXRSS_BYTES = 1 if sys.platform == "darwin" else 1024  # what `getrusage` counts memory in


def read_peak_mib() -> float:
    """Return this process's peak of resident memory in MiB.

    On Linux from the kernel's own mark of this program: `getrusage` also counts what the process held before
    it became this program, its parent's memory.
    """
    status = Path("/proc/self/status")
    mark = re.search(r"VmHWM:\s+(\d+) kB", status.read_text()) if status.exists() else None
    if mark:
        return int(mark.group(1)) / 1024
    if sys.platform == "win32":
        return psutil.Process().memory_info().peak_wset / 2**20
    import resource  # which Windows lacks

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * MAXRSS_BYTES / 2**20


def measure_peak(call: Callable[[], Any], device: str) -> int:
    """Call a function; return the most bytes that the device held meanwhile, all that was there before
    included: of a GPU what PyTorch allocated, of the main memory what this process had (on systems other than
    Linux, its peak so far).
    """
    import torch

    if device == "cuda":
        torch.cuda.reset_peak_memory_stats()
    else:
        with suppress(OSError):
            Path("/proc/self/clear_refs").write_text("5")  # sets the mark back
    call()
    return torch.cuda.max_memory_allocated() if device == "cuda" else round(read_peak_mib() * 2**20)
