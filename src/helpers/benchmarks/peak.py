"""The largest memory that a process held."""

from __future__ import annotations

import re
import resource
from pathlib import Path


def read_peak_mib() -> float:
    """Return this process's peak of resident memory in MiB.

    On Linux from the kernel's own mark of this program: `getrusage` also counts what the process held before
    it became this program, its parent's memory.
    """
    status = Path("/proc/self/status")
    mark = re.search(r"VmHWM:\s+(\d+) kB", status.read_text()) if status.exists() else None
    return int(mark.group(1)) / 1024 if mark else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
