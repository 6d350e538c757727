"""What made a result: the machine, the libraries, the project's commit; and what memory is free."""

from __future__ import annotations

import gc
import os
import platform
import subprocess
import time
from collections.abc import Iterator
from contextlib import suppress
from importlib import metadata
from pathlib import Path
from typing import Any

from helpers.paths import ROOT

GIB = 2**30
GROUPS, GROUP_FOLDER = Path("/proc/self/cgroup"), Path("/sys/fs/cgroup")
GROUP_FILES = {  # limit, use, and how names in `memory.stat` begin
    "": ("memory.max", "memory.current", ""),
    "memory": ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_"),
}
LIBRARIES = ("torch", "transformers", "peft", "numpy", "pandas", "scipy", "rapidfuzz")


def describe_machine() -> dict[str, Any]:
    """Return what a manifest says of the machine, the libraries and the project's commit."""
    installed = {name: metadata.version(name) for name in LIBRARIES if _is_installed(name)}
    return {
        "created": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "commit": describe_commit(),
        "machine": {"processor": name_processor(), "cores": os.cpu_count(), "system": platform.system()},
        "versions": {"python": platform.python_version()} | installed,
    }


def describe_commit() -> str:
    """Return the checkout's commit, with `-dirty` where files differ from it, or `unknown` outside a
    checkout.
    """
    command = ["git", "-C", str(ROOT), "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def _is_installed(name: str) -> bool:
    try:
        metadata.version(name)
    except metadata.PackageNotFoundError:
        return False
    return True


def name_processor() -> str:
    """Return the processor's name as the system has it."""
    cpuinfo = Path("/proc/cpuinfo")
    names = (
        [
            line.split(":", 1)[1].strip()
            for line in cpuinfo.read_text().splitlines()
            if line.startswith("model name")
        ]
        if cpuinfo.exists()
        else []
    )
    return names[0] if names else platform.processor() or platform.machine()


def measure_free_memory() -> int:
    """Return the free bytes of the GPU that this process uses, or of the main memory where it uses none; what
    PyTorch keeps on a GPU of tensors that are gone is given back first.
    """
    import torch

    if not torch.cuda.is_available():
        return measure_main_memory()
    gc.collect()
    torch.cuda.empty_cache()
    return torch.cuda.mem_get_info()[0]


def measure_main_memory() -> int:
    """Return the free bytes of the main memory, or what is left of less that a container or a scheduler
    allows.
    """
    import psutil

    return min([psutil.virtual_memory().available, *list_group_rooms()])


def list_group_rooms() -> Iterator[int]:
    """Yield the bytes that each of Linux's control groups around this process leaves it, in either version of
    them; files that the system has read and can forget count as free.
    """
    lines = GROUPS.read_text().splitlines() if GROUPS.is_file() else []
    for _, kinds, path in (line.split(":", 2) for line in lines):
        if kinds not in GROUP_FILES:
            continue
        own = GROUP_FOLDER / kinds / path.lstrip("/")
        for folder in (own, *own.parents[: len(Path(path).parts) - 1]):
            limit, used, start = GROUP_FILES[kinds]
            with suppress(OSError, ValueError):  # a group without a limit says `max`
                room = int((folder / limit).read_text()) - int((folder / used).read_text())
                stat = dict(line.split() for line in (folder / "memory.stat").read_text().splitlines())
                cached = (stat.get(f"{start}{kind}_file", "0") for kind in ("inactive", "active"))
                yield max(0, room + sum(map(int, cached)))
