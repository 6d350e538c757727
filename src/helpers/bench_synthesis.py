"""Speed of the synthesis: the novelty filter against `rouge_score`, the client against the ideal, a run through faults and kills against a calm one."""

from __future__ import annotations

import itertools
import json
import random
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from helpers.endurance import finish, read_statistics, run_endurance, serve, start_synthesis
from helpers.paths import ROOT
from helpers.records import read_json_lines

PAPER_ROWS = 25_005
SIZES = (5_000, 10_000, PAPER_ROWS)
N_PLAIN_PAIRS = 20_000
N_SLOTS, LATENCY_SECONDS = 32, 0.3
FEW_ROWS = 2_500
N_KILLS, FAULT_RATE = 20, 0.05

Measured = tuple[str, str, float, float, str, int, dict[str, Any]]


def make_instructions(n: int) -> list[str]:
    """Return `n` instructions, each the first half of one recorded instruction and the second half of another: words, lengths and likeness are real."""
    from helpers.synthesis.pipeline import INSTRUCTIONS, SynthesisSettings, synthesize

    words = [row["instruction"].split() for row in read_json_lines(synthesize(SynthesisSettings()).file(INSTRUCTIONS))]
    draw = random.Random(1)  # noqa: S311
    pairs = (draw.choices(words, k=2) for _ in range(n))
    return [" ".join([*left[: len(left) // 2], *right[len(right) // 2 :]]) for left, right in pairs]


def filter_once(n: int) -> dict[str, float]:
    """Send `n` instructions through the novelty filter in this process; returns seconds, CPU seconds, pairs decided on and the peak of memory in MiB."""
    from helpers.synthesis.novelty import NoveltyIndex

    texts = make_instructions(n)
    started, cpu = time.perf_counter(), time.process_time()
    decisions = [new for new, _ in NoveltyIndex(0.7).add(texts)]
    seconds, cpu = time.perf_counter() - started, time.process_time() - cpu
    pairs = sum(itertools.accumulate(decisions))  # what a plain reading compares: each with all that are kept
    return {"seconds": seconds, "cpu_seconds": cpu, "pairs": pairs, "mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, "kept": sum(decisions)}


def score_plainly(n_pairs: int) -> float:
    """Return the CPU seconds of `rouge_score` for one pair, as Self-Instruct and Alpaca call it."""
    from rouge_score.rouge_scorer import RougeScorer

    texts, scorer = make_instructions(n_pairs + 1), RougeScorer(["rougeL"], use_stemmer=False)
    cpu = time.process_time()
    for left, right in itertools.pairwise(texts):
        scorer.score(left, right)
    return (time.process_time() - cpu) / n_pairs


def time_novelty() -> Measured:
    """Compare CPU for a pair; growth with the number of instructions and the peak of memory stand beside it."""
    code = "import json, sys; from helpers.bench_synthesis import filter_once; print(json.dumps(filter_once(int(sys.argv[1]))))"
    sizes = {}
    for n in SIZES:
        answer = subprocess.run([sys.executable, "-c", code, str(n)], check=True, capture_output=True, text=True, cwd=ROOT)
        sizes[n] = json.loads(answer.stdout)
    full = sizes[PAPER_ROWS]
    more = {"seconds_by_n": {n: round(run["seconds"], 2) for n, run in sizes.items()}, "peak_mib": round(full["mib"]), "kept": full["kept"]}
    rate, plain_rate = full["pairs"] / full["cpu_seconds"], 1 / score_plainly(N_PLAIN_PAIRS)
    return "novelty_pairs", "pairs/CPU second", rate, plain_rate, "rouge_score, pair by pair", PAPER_ROWS, more


def time_client() -> Measured:
    """Compare requests a second with what the slots could do at best; the peak of memory at a tenth of the rows and at all of them stands beside it."""
    peaks, rates = {}, []
    for n_rows in (FEW_ROWS, PAPER_ROWS):
        with tempfile.TemporaryDirectory() as folder, serve(latency_seconds=LATENCY_SECONDS) as url:
            finish(start_synthesis(url, Path(folder), n_rows, N_SLOTS))
            peaks[n_rows] = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss // 1024
            times = sorted(path.stat().st_mtime for path in Path(folder).glob("replies/*/*.jsonl") if path.stem != "ledger")
            rates.append((len(times) - N_SLOTS) / (times[-1] - times[N_SLOTS - 1]))
            n_answers = sum(read_statistics(url)["sent"].values())
    return "client_requests", "requests/s", rates[-1], N_SLOTS / LATENCY_SECONDS, "all slots busy all the time", n_answers, {"peak_mib_by_rows": peaks}


def time_endurance() -> Measured:
    """Compare a run through faults and kills with a calm one, in seconds; whether both end in the same bytes stands beside it."""
    with tempfile.TemporaryDirectory() as folder:
        outcome = run_endurance(Path(folder), PAPER_ROWS, N_KILLS, FAULT_RATE)
    return "endurance", "s", outcome["seconds"], outcome["calm_seconds"], "the same synthesis undisturbed", PAPER_ROWS, outcome


def time_synthesis() -> Iterator[Measured]:
    """Measure all three."""
    for measure in (time_novelty, time_client, time_endurance):
        yield measure()
