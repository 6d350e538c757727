"""Speed, each step against its plain way, side by side in one run, and coverage of the intervals; written to
`results/bench/NAME.json`.

Times are medians of a few rounds in which ours and the baseline take turns, so that a slow moment of the
machine hits both. They come first, since they need a quiet machine; the simulated studies, which count
shares, come last. Times are never tested: machines differ.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from itertools import chain
from typing import Any

from helpers.bench.interval_coverage import measure_coverage
from helpers.bench.lm_eval_harness import MODEL, list_comparisons
from helpers.bench.mixing import measure_mixing
from helpers.bench.result import N_ROUNDS, describe, save
from helpers.bench.synthesis import time_synthesis
from helpers.bench.tuning import compare_memory, compare_trl
from helpers.errors import StudyError
from helpers.paths import ROOT

STUDY = (sys.executable, "-c", "from helpers.cli import main; main()")
Pair = tuple[Callable[[], Any], Callable[[], Any], int]


def time_pair(ours: Callable[[], Any], baseline: Callable[[], Any]) -> tuple[float, float]:
    """Return median seconds of both, after one call of each that does not count, over rounds in which they
    take turns.
    """
    seconds: tuple[list[float], list[float]] = ([], [])
    for round_number in range(N_ROUNDS + 1):
        for kept, call in zip(seconds, (ours, baseline), strict=True):
            started = time.perf_counter()
            call()
            if round_number:
                kept.append(time.perf_counter() - started)
    return statistics.median(seconds[0]), statistics.median(seconds[1])


def compare_rouge() -> Pair:
    """ROUGE-L of all pairs of seed instructions, against `rouge_score`; n is the number of pairs."""
    from rouge_score.rouge_scorer import RougeScorer

    from helpers.jsonl import read_rows
    from helpers.paths import SEED_TASKS
    from helpers.records import SeedTask
    from helpers.rouge import similarity_matrix

    texts = [seed.instruction for seed in read_rows(SEED_TASKS, SeedTask)]
    scorer = RougeScorer(["rougeL"])
    return (
        lambda: similarity_matrix(texts),
        lambda: [scorer.score(left, right) for left in texts for right in texts],
        len(texts) ** 2,
    )


def compare_choice() -> Pair:
    """Options beside each other after one reading of the prompt, against one reading of prompt and option
    each; n is the number of items.
    """
    import torch

    from helpers.evaluation.choice import score_options
    from helpers.evaluation.task_prompts import build_task_prompt
    from helpers.evaluation.tasks import TASKS, load_items
    from helpers.models.load import load_model, load_tokenizer
    from helpers.prompts import encode_prompt

    model, tokenizer, task = load_model(MODEL), load_tokenizer(MODEL), TASKS["exam_choice"]
    items = load_items(task)[0][:12]
    prompts = [encode_prompt(tokenizer, build_task_prompt(task, item, None).text) for item in items]
    options = [
        [tokenizer(option, add_special_tokens=False)["input_ids"] for option in item.options]
        for item in items
    ]

    def plainly() -> None:
        with torch.inference_mode():
            for prompt, choices in zip(prompts, options, strict=True):
                for option in choices:
                    torch.log_softmax(
                        model(torch.tensor([prompt + option], device=model.device)).logits[
                            0, len(prompt) - 1 :
                        ],
                        dim=-1,
                    )

    return lambda: score_options(model, list(zip(prompts, options, strict=True)), 8), plainly, len(items)


def compare_generation(n_rows: int) -> Pair:
    """Greedy generation with a shared prefix, against `transformers.generate` on the same batch of `n_rows`
    prompts; n is their number.
    """
    from helpers.evaluation.generation import generate_greedily
    from helpers.evaluation.task_prompts import build_task_prompt
    from helpers.evaluation.tasks import TASKS, load_items
    from helpers.models.load import load_model, load_tokenizer

    model, tokenizer, task = load_model(MODEL), load_tokenizer(MODEL), TASKS["dialogue_to_note"]
    items, demonstration = load_items(task)
    texts = [build_task_prompt(task, item, demonstration).text for item in items[:n_rows]]
    tokenizer.padding_side = "left"
    batch = tokenizer(texts, padding=True, return_tensors="pt")
    ids = [tokenizer(text)["input_ids"] for text in texts]
    n_new = task.max_new_tokens

    def plainly() -> None:
        model.generate(
            **batch,
            max_new_tokens=n_new,
            do_sample=False,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.eos_token_id,
        )

    ends = [tokenizer.eos_token_id]
    return lambda: generate_greedily(model, ids, n_new, ends, len(ids)), plainly, len(texts)


def compare_tuning() -> Pair:
    """One LoRA step with vocabulary logits of the responses alone, against the loss of `transformers` from
    all logits; n is the number of tokens.
    """
    import torch

    from helpers.jsonl import read_rows
    from helpers.models.load import load_tokenizer
    from helpers.records import Instruction
    from helpers.synthesis.pipeline import INSTRUCTIONS, synthesize
    from helpers.synthesis.settings import SynthesisSettings
    from helpers.tuning.rows import collate, encode_row, select_rows
    from helpers.tuning.settings import TuningSettings
    from helpers.tuning.stage import prepare_model
    from helpers.tuning.step import take_step

    settings = TuningSettings(model=MODEL)
    tokenizer = load_tokenizer(MODEL)
    rows = select_rows(
        read_rows(synthesize(SynthesisSettings()).file(INSTRUCTIONS), Instruction), "all", 8, 1
    )
    encoded = [encode_row(tokenizer, row) for row in rows]
    model = prepare_model(settings, recompute=False)
    optimizer = torch.optim.AdamW([weight for weight in model.parameters() if weight.requires_grad])

    def plainly() -> None:
        model(**collate(encoded)).loss.backward()
        optimizer.step()
        optimizer.zero_grad()

    return (
        lambda: take_step(model, optimizer, encoded, 1e-4),
        plainly,
        sum(len(row.input_ids) for row in encoded),
    )


COMPARISONS: dict[str, tuple[Callable[[], Pair], str]] = {
    "rouge_pairs": (compare_rouge, "rouge_score, pair by pair"),
    "choice_items": (compare_choice, "one forward pass an option"),
    "generation_prompts": (partial(compare_generation, 16), "transformers generate"),
    "generation_prompts_32": (partial(compare_generation, 32), "transformers generate"),
    "tuning_tokens": (compare_tuning, "loss from all logits"),
}


def time_book() -> Iterator[dict[str, Any]]:
    """Run all notebooks of the smoke profile into an empty store, then again, then redraw the figures; yields
    seconds of each.
    """
    with tempfile.TemporaryDirectory() as folder:
        environment = os.environ | {"STUDY_RUNS": f"{folder}/runs"}
        seconds = {}
        for name, arguments in {
            "cold": ("run", "--profile", "smoke", "--book", f"{folder}/book"),
            "warm": ("run", "--profile", "smoke", "--book", f"{folder}/book"),
            "figures": ("figures", "--profile", "smoke", "--folder", f"{folder}/figures"),
        }.items():
            started = time.perf_counter()
            subprocess.run([*STUDY, *arguments], check=True, capture_output=True, env=environment, cwd=ROOT)
            seconds[name] = time.perf_counter() - started
        yield describe(
            "notebooks_smoke",
            "s",
            seconds["warm"],
            seconds["cold"],
            "the same notebooks with an empty store",
            1,
        )
        yield describe(
            "figures_smoke", "s", seconds["figures"], seconds["cold"], "all notebooks with an empty store", 1
        )


def time_two_runs() -> Iterator[dict[str, Any]]:
    """Yield median seconds of two tunings that share the machine, against one after the other, each with an
    empty store.
    """
    from helpers.synthesis.pipeline import INSTRUCTIONS, synthesize
    from helpers.synthesis.settings import SynthesisSettings

    rows = synthesize(SynthesisSettings()).file(INSTRUCTIONS)

    def time_together(*seeds: int) -> float:
        with tempfile.TemporaryDirectory() as folder:
            started = time.perf_counter()
            processes = [
                subprocess.Popen(
                    [*STUDY, "tune", "--instructions", rows, "--training-seed", str(seed)],
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL,
                    env=os.environ | {"STUDY_RUNS": f"{folder}/{seed}"},
                    cwd=ROOT,
                )
                for seed in seeds
            ]
            codes = [process.wait() for process in processes]
            seconds = time.perf_counter() - started
        if any(codes):
            raise StudyError(f"Tuning must end with exit code 0, but {codes} was found. Run `study tune`.")
        return seconds

    rounds = [(time_together(1, 2), time_together(1) + time_together(2)) for _ in range(N_ROUNDS)]
    beside, in_turn = map(statistics.median, zip(*rounds, strict=True))
    yield describe("two_runs", "s", beside, in_turn, "the same runs one after the other", 2)


def run_bench() -> Iterator[dict[str, Any]]:
    """Run every comparison, write its file and yield its row."""
    for name, (prepare, against) in (COMPARISONS | list_comparisons()).items():
        ours, baseline, n = prepare()
        seconds = time_pair(ours, baseline)
        yield save(describe(name, f"{name.split('_')[1]}/s", n / seconds[0], n / seconds[1], against, n))
    for measure in (compare_trl, compare_memory, time_two_runs, time_book):
        yield from map(save, measure())
    for *measured, more in chain(time_synthesis(), measure_mixing(), measure_coverage()):
        yield save(describe(*measured) | more)
