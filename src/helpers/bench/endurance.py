"""Endurance: a synthesis through a faulty provider, killed again and again, against one that nothing
disturbs.
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from helpers.errors import StudyError
from helpers.files import sha256_file
from helpers.paths import ROOT

POLL_SECONDS = 0.02
LONGEST_SECONDS = 1800
FILES = ("replies.jsonl", "tasks.jsonl", "instructions.jsonl")


@contextmanager
def serve(fault_rate: float = 0.0, latency_seconds: float = 0.0) -> Iterator[str]:
    """Run the misbehaving provider in a process of its own; yields its address."""
    command = [
        sys.executable,
        "-m",
        "helpers.bench.fake_server",
        "--fault-rate",
        str(fault_rate),
        "--latency-seconds",
        str(latency_seconds),
    ]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        try:
            yield server.stdout.readline().strip()
        finally:
            server.kill()


def read_statistics(url: str) -> dict[str, Any]:
    """Return how often the provider sent each answer in full, and which faults it played."""
    with urllib.request.urlopen(url.replace("/v1", "/stats")) as answer:  # noqa: S310
        return json.load(answer)


def start_synthesis(url: str, runs: Path, n_rows: int, n_parallel: int) -> subprocess.Popen[bytes]:
    """Start `study synthesize` against a provider, with a store of its own."""
    parameters = {
        "teacher": "toy",
        "teacher_url": url,
        "target_rows": n_rows,
        "n_requests": n_rows // 10 + 20,
        "n_parallel": n_parallel,
    }
    parameters |= {"max_cost_tokens": 10**12, "timeout_seconds": 2}
    assignments = [part for name, value in parameters.items() for part in ("-p", f"{name}={value}")]
    command = [
        sys.executable,
        "-c",
        "from helpers.cli import main; main()",
        "synthesize",
        "--profile",
        "smoke",
        *assignments,
    ]
    return subprocess.Popen(
        command,
        cwd=ROOT,
        env=os.environ | {"STUDY_RUNS": str(runs)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )


def finish(process: subprocess.Popen[bytes]) -> None:
    """Wait for a synthesis to end; raises StudyError with its last words if it fails."""
    words, _ = process.communicate(timeout=LONGEST_SECONDS)
    if process.returncode:
        raise StudyError(f"The synthesis failed: {words.decode()[-2000:]}")


def digest_files(runs: Path) -> dict[str, str]:
    """Return the sha256 of each file of the one synthesis in a store."""
    folder = next((runs / "synthesis").glob("*/manifest.json")).parent
    return {name: sha256_file(folder / name) for name in FILES}


def measure_ledger(runs: Path) -> int:
    """Return the size in bytes of the ledger of a store, which grows with every request."""
    return sum(path.stat().st_size for path in runs.glob("replies/*/ledger.jsonl"))


def kill_at(process: subprocess.Popen[bytes], runs: Path, threshold: float) -> bool:
    """Kill a synthesis once its ledger has grown to a size; returns False if it ended before."""
    while process.poll() is None:
        if measure_ledger(runs) >= threshold:
            process.kill()
            process.communicate()
            return True
        time.sleep(POLL_SECONDS)
    finish(process)
    return False


def run_endurance(
    folder: Path, n_rows: int, n_kills: int, fault_rate: float, n_parallel: int = 32, seed: int = 1
) -> dict[str, Any]:
    """Synthesise to `n_rows` kept rows twice: undisturbed, and through faults with `n_kills` kills at random
    moments.

    Returns:
        Whether both end in the same bytes, the answers that were sent more than once (each was under way when
        a kill came), and the answers that a further run still asked for.
    """
    calm, rough = folder / "calm", folder / "rough"
    started = time.perf_counter()
    with serve() as url:
        finish(start_synthesis(url, calm, n_rows, n_parallel))
    calm_seconds = time.perf_counter() - started
    draw, size = random.Random(seed), measure_ledger(calm)  # noqa: S311
    started, n_killed = time.perf_counter(), 0
    with serve(fault_rate) as url:
        for threshold in sorted(draw.uniform(0, size) for _ in range(n_kills)):
            n_killed += kill_at(start_synthesis(url, rough, n_rows, n_parallel), rough, threshold)
        finish(start_synthesis(url, rough, n_rows, n_parallel))
        seconds = time.perf_counter() - started
        sent = read_statistics(url)
        finish(start_synthesis(url, rough, n_rows, n_parallel))
        again = read_statistics(url)
    return {
        "identical": digest_files(calm) == digest_files(rough),
        "n_kills": n_killed,
        "n_answers": len(sent["sent"]),
        "n_sent_again": sum(sent["sent"].values()) - len(sent["sent"]),
        "n_asked_once_finished": sum(again["sent"].values()) - sum(sent["sent"].values()),
        "faults": sent["met"],
        "seconds": round(seconds, 1),
        "calm_seconds": round(calm_seconds, 1),
    }
