"""Speed of the synthesis: the novelty filter against `rouge_score`, the client against the ideal, a run
through faults and kills against a calm one.
"""

from __future__ import annotations

import itertools
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from helpers.bench.endurance import run_endurance, serve
from helpers.bench.peak_memory import read_peak_mib
from helpers.bench.result import Measurement
from helpers.jsonl import read_json_lines
from helpers.paths import ROOT, runs_folder

PAPER_ROWS = 25_005
SIZES = (10_000, PAPER_ROWS, 100_000, 1_000_000)
N_PLAIN_PAIRS = 20_000
N_SLOTS, LATENCY_SECONDS = 32, 0.3
FEW_ROWS = 2_500
N_KILLS, FAULT_RATE = 20, 0.05


def make_instructions(n: int) -> list[str]:
    """Return `n` instructions, each the first half of one recorded instruction and the second half of
    another: words, lengths and likeness are real.
    """
    from helpers.synthesis.pipeline import INSTRUCTIONS, synthesize
    from helpers.synthesis.settings import SynthesisSettings

    words = [
        row["instruction"].split()
        for row in read_json_lines(synthesize(SynthesisSettings()).file(INSTRUCTIONS))
    ]
    draw = random.Random(1)  # noqa: S311
    pairs = (draw.choices(words, k=2) for _ in range(n))
    return [" ".join([*left[: len(left) // 2], *right[len(right) // 2 :]]) for left, right in pairs]


def filter_once(n: int) -> dict[str, float]:
    """Send `n` instructions through the novelty filter in this process; returns seconds, CPU seconds, pairs
    decided on and the peak of memory in MiB.
    """
    from helpers.synthesis.novelty import NoveltyIndex

    texts = make_instructions(n)
    started, cpu = time.perf_counter(), time.process_time()
    decisions = [new for new, _ in NoveltyIndex(0.7).add(texts)]
    seconds, cpu = time.perf_counter() - started, time.process_time() - cpu
    pairs = sum(itertools.accumulate(decisions))  # what a plain reading compares: each with all that are kept
    return {
        "seconds": seconds,
        "cpu_seconds": cpu,
        "pairs": pairs,
        "mib": read_peak_mib(),
        "kept": sum(decisions),
    }


def score_plainly(n_pairs: int) -> float:
    """Return the CPU seconds of `rouge_score` for one pair, as Self-Instruct and Alpaca call it."""
    from rouge_score.rouge_scorer import RougeScorer

    texts, scorer = make_instructions(n_pairs + 1), RougeScorer(["rougeL"], use_stemmer=False)
    cpu = time.process_time()
    for left, right in itertools.pairwise(texts):
        scorer.score(left, right)
    return (time.process_time() - cpu) / n_pairs


def time_novelty() -> Measurement:
    """Compare CPU for a pair; growth with the number of instructions and the peak of memory
    stand beside it.
    """
    sizes = {n: run_alone("filter_once", n) for n in SIZES}
    full = sizes[PAPER_ROWS]
    more = {
        f"{name}_by_n": {n: round(run[name], 2) for n, run in sizes.items()}
        for name in ("seconds", "cpu_seconds", "mib", "kept")
    }
    rate, plain_rate = full["pairs"] / full["cpu_seconds"], 1 / score_plainly(N_PLAIN_PAIRS)
    return (
        "novelty_pairs",
        "pairs/CPU second",
        rate,
        plain_rate,
        "rouge_score, pair by pair",
        PAPER_ROWS,
        more,
    )


def ask_once(url: str, n_rows: int) -> dict[str, float]:
    """Synthesise `n_rows` rows in this process; returns requests per second while all slots were busy, their
    number, and the peak of memory in MiB.
    """
    from helpers.provider.ledger import ProviderLimits
    from helpers.synthesis.pipeline import synthesize
    from helpers.synthesis.settings import SynthesisSettings

    settings = SynthesisSettings(teacher="toy", teacher_url=url, n_requests=n_rows // 10, target_rows=n_rows)
    synthesize(settings, ProviderLimits(max_cost_tokens=10**12, n_parallel=N_SLOTS))
    times = sorted(
        path.stat().st_mtime for path in runs_folder().glob("replies/*/*.jsonl") if path.stem != "ledger"
    )
    rate = (len(times) - 2 * N_SLOTS) / (times[-N_SLOTS - 1] - times[N_SLOTS - 1])
    return {"rate": rate, "n": len(times), "mib": read_peak_mib()}


def time_client() -> Measurement:
    """Compare requests per second with what the slots could do at best; the peak of memory at a tenth of the
    rows and at all of them stands beside it.
    """
    runs = {}
    for n_rows in (FEW_ROWS, PAPER_ROWS):
        with tempfile.TemporaryDirectory() as folder, serve(latency_seconds=LATENCY_SECONDS) as url:
            runs[n_rows] = run_alone(
                "ask_once", repr(url), n_rows, STUDY_RUNS=folder, STUDY_PROGRESS=f"{folder}/progress"
            )
    full, peaks = runs[PAPER_ROWS], {n: round(run["mib"]) for n, run in runs.items()}
    return (
        "client_requests",
        "requests/s",
        full["rate"],
        N_SLOTS / LATENCY_SECONDS,
        "all slots busy all the time",
        full["n"],
        {"peak_mib_by_rows": peaks},
    )


def run_alone(name: str, *arguments: Any, **environment: str) -> dict[str, float]:
    """Call a function of this module in a process of its own, so that its peak of memory is its own."""
    code = (
        f"import json; from helpers.bench.synthesis import {name}; "
        f"print(json.dumps({name}({', '.join(map(str, arguments))})))"
    )
    answer = subprocess.run(
        [sys.executable, "-c", code],
        check=True,
        capture_output=True,
        text=True,
        cwd=ROOT,
        env=os.environ | environment,
    )
    return json.loads(answer.stdout)


def time_endurance() -> Measurement:
    """Compare a run through faults and kills with a calm one, in seconds; whether both end in the same bytes
    stands beside it.
    """
    with tempfile.TemporaryDirectory() as folder:
        outcome = run_endurance(Path(folder), PAPER_ROWS, N_KILLS, FAULT_RATE)
    return (
        "endurance",
        "s",
        outcome["seconds"],
        outcome["calm_seconds"],
        "the same synthesis undisturbed",
        PAPER_ROWS,
        outcome,
    )


def time_synthesis() -> Iterator[Measurement]:
    """Measure all three."""
    for measure in (time_novelty, time_client, time_endurance):
        yield measure()
