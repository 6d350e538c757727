"""Speed of tuning: against TRL's trainer, against the machine's matrix product, and the estimate of
memory against the measured peak.
"""

from __future__ import annotations

import dataclasses
import json
import logging
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from helpers.bench.lm_eval_harness import MODEL
from helpers.bench.peak_memory import read_peak_mib
from helpers.bench.result import N_ROUNDS, describe
from helpers.paths import ROOT

if TYPE_CHECKING:
    from helpers.tuning.memory import ModelSize
    from helpers.tuning.rows import EncodedRow
    from helpers.tuning.settings import TuningSettings

N_BATCHES = 3  # TRL takes minutes for more
MATMUL_SIZE = 2048
READ_BYTES = 2**30
TRIAL_SECONDS = 2
MIB = 2**20


@dataclasses.dataclass(frozen=True)
class Work:
    """What both trainers do: the batches of one epoch in order, the learning rate of each, and
    the settings.
    """

    settings: TuningSettings
    batches: list[list[EncodedRow]]
    rates: list[float]

    @property
    def n_tokens(self) -> int:
        """Tokens of all batches, padding aside."""
        return sum(len(row.input_ids) for batch in self.batches for row in batch)

    @property
    def n_response(self) -> int:
        """Tokens of all batches that count for the loss."""
        return sum(row.n_response for batch in self.batches for row in batch)


def plan_work() -> Work:
    """Return one epoch of the laptop profile's tuning."""
    from helpers.jsonl import read_rows
    from helpers.models.load import load_tokenizer
    from helpers.prompts import PAPERS_FORMAT
    from helpers.records import Instruction
    from helpers.synthesis.pipeline import INSTRUCTIONS, synthesize
    from helpers.synthesis.settings import SynthesisSettings
    from helpers.tuning.lengths import count_tokens
    from helpers.tuning.rows import batch_indices
    from helpers.tuning.schedule import learning_rate_at
    from helpers.tuning.settings import TuningSettings
    from helpers.tuning.stage import draw_rows

    settings = TuningSettings(model=MODEL)
    rows = read_rows(synthesize(SynthesisSettings()).file(INSTRUCTIONS), Instruction)
    lengths = count_tokens(load_tokenizer(MODEL), rows, PAPERS_FORMAT)
    _, encoded, _ = draw_rows(settings, rows, lengths)
    order = batch_indices(len(encoded), settings.batch_size, settings.training_seed, 0)
    rates = [learning_rate_at(step, len(order), settings.learning_rate) for step in range(len(order))]
    return Work(settings, [[encoded[index] for index in batch] for batch in order], rates)


def train_ours(work: Work) -> tuple[float, list[float]]:
    """Tune with our own loop; return seconds and the loss of each step."""
    import torch

    from helpers.tuning.stage import prepare_model
    from helpers.tuning.step import take_step

    model = prepare_model(work.settings, recompute=False)
    optimizer = torch.optim.AdamW(
        [weight for weight in model.parameters() if weight.requires_grad], weight_decay=0.0
    )
    started = time.perf_counter()
    losses = [
        take_step(model, optimizer, batch, rate)[0]
        for batch, rate in zip(work.batches, work.rates, strict=True)
    ]
    return time.perf_counter() - started, losses


def train_with_trl(work: Work) -> tuple[float, list[float]]:
    """Tune with TRL's SFTTrainer: same adapter at the start, same batches in the same order, same rates,
    float32, no recomputing; return the same.
    """
    import torch
    from datasets import Dataset
    from trl import SFTConfig, SFTTrainer

    from helpers.models.load import load_model, load_tokenizer
    from helpers.tuning.lora import attach_adapter

    model = attach_adapter(load_model(work.settings.model), work.settings)
    rows = [row for batch in work.batches for row in batch]
    dataset = Dataset.from_list(
        [
            {"input_ids": row.input_ids, "completion_mask": [0] * row.n_prompt + [1] * row.n_response}
            for row in rows
        ]
    )
    optimizer = torch.optim.AdamW(
        [weight for weight in model.parameters() if weight.requires_grad], lr=1.0, weight_decay=0.0
    )
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: work.rates[min(step, len(work.rates) - 1)]
    )
    with tempfile.TemporaryDirectory() as folder:
        config = SFTConfig(
            output_dir=folder,
            per_device_train_batch_size=work.settings.batch_size,
            num_train_epochs=1,
            max_length=None,
            completion_only_loss=True,
            max_grad_norm=1.0,
            bf16=False,
            use_cpu=True,
            gradient_checkpointing=False,
            train_sampling_strategy="sequential",
            logging_steps=1,
            save_strategy="no",
            disable_tqdm=True,
        )
        trainer = SFTTrainer(
            model,
            config,
            train_dataset=dataset,
            processing_class=load_tokenizer(work.settings.model),
            optimizers=(optimizer, schedule),
        )
        started = time.perf_counter()
        trainer.train()
        seconds = time.perf_counter() - started
    return seconds, [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]


def compare_trl() -> Iterator[dict[str, Any]]:
    """Yield tokens/s of our loop and of TRL's trainer on the same work, the largest difference of their
    losses, and the share of the machine's peak.
    """
    if not find_spec("trl"):
        logging.getLogger(__name__).warning(
            "tuning_trl and tuning_matmul are skipped: TRL is not installed. `make bench` brings it."
        )
        return
    work = plan_work()
    work = dataclasses.replace(work, batches=work.batches[:N_BATCHES], rates=work.rates[:N_BATCHES])
    peak = measure_matmul()
    rounds = [(train_ours(work), train_with_trl(work)) for _ in range(N_ROUNDS)]
    (ours, losses), (theirs, their_losses) = map(take_median, zip(*rounds, strict=True))
    difference = max(abs(left - right) for left, right in zip(losses, their_losses, strict=True))
    row = describe(
        "tuning_trl",
        "tokens/s",
        work.n_tokens / ours,
        work.n_tokens / theirs,
        "TRL's SFTTrainer",
        work.n_tokens,
    )
    yield row | {
        "losses": [round(loss, 4) for loss in losses],
        "largest_loss_difference": float(f"{difference:.1e}"),
    }
    n_flops = count_flops(_measure(work), work.n_tokens, work.n_response)
    rate = n_flops / ours / 1e9
    yield describe(
        "tuning_matmul",
        "GFLOP/s",
        rate,
        peak,
        f"float32 product of {MATMUL_SIZE} x {MATMUL_SIZE} matrices",
        work.n_tokens,
    )


def take_median(runs: Sequence[tuple[float, list[float]]]) -> tuple[float, list[float]]:
    """Return the median seconds of some runs, and the losses of the first."""
    return statistics.median(seconds for seconds, _ in runs), runs[0][1]


def count_flops(size: ModelSize, n_tokens: int, n_response: int) -> float:
    """Return the floating-point operations of the products that tuning cannot do without; attention, norms
    and padding come on top and do not count.

    A frozen weight costs 4 a token (forward, and the gradient of its input), a learnt one 6; the vocabulary's
    weights cost 4 a response token.
    """
    return (
        n_tokens * (4 * size.n_layer_weights + 6 * size.n_adapter_weights)
        + n_response * 4 * size.vocabulary * size.hidden
    )


def _measure(work: Work) -> ModelSize:
    from helpers.models.load import load_config
    from helpers.tuning.memory import measure_model

    return measure_model(load_config(work.settings.model), work.settings)


def measure_matmul(device: str = "cpu", dtype: str = "float32", size: int = MATMUL_SIZE) -> float:
    """Return the most GFLOP/s that a large matrix product reaches."""
    import torch

    left, right = torch.randn(2, size, size, device=device, dtype=getattr(torch, dtype))
    return 2 * size**3 / time_best(lambda: left @ right, device) / 1e9


def measure_reading(device: str = "cpu") -> float:
    """Return the most GB/s that a device reads from its memory, as the sum of many numbers takes it."""
    import torch

    numbers = torch.ones(READ_BYTES // 4, device=device)
    return numbers.nbytes / time_best(numbers.sum, device) / 1e9


def time_best(call: Callable[[], Any], device: str) -> float:
    """Return the fewest seconds of a call, repeated for a few seconds."""
    import torch

    best, started = float("inf"), time.perf_counter()
    while time.perf_counter() - started < TRIAL_SECONDS:
        before = time.perf_counter()
        call()
        if device == "cuda":
            torch.cuda.synchronize()
        best = min(best, time.perf_counter() - before)
    return best


def compare_memory() -> Iterator[dict[str, Any]]:
    """Yield the estimate of memory against the measured peak of a fresh process (MiB above what it held
    before the model was loaded).
    """
    command = [sys.executable, "-c", "from helpers.bench.tuning import print_peak; print_peak()"]
    done = subprocess.run(
        command,
        check=True,
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": str(ROOT / "src")},
    )
    estimate, peak, n = json.loads(done.stdout.splitlines()[-1])
    yield describe("tuning_memory", "MiB", estimate, peak, "measured peak of resident memory", n)


def print_peak() -> None:
    """Tune for the two largest batches of the laptop profile and print estimate, measured peak and tokens as
    JSON.
    """
    import psutil

    from helpers.tuning.stage import plan_memory

    work = plan_work()
    largest = sorted(work.batches, key=lambda batch: sum(len(row.input_ids) for row in batch))[-2:]
    work = dataclasses.replace(work, batches=largest, rates=work.rates[:2])
    plan = plan_memory(work.settings, _measure(work), [(0, batch) for batch in work.batches], 1)
    before = psutil.Process().memory_info().rss
    train_ours(work)
    peak = read_peak_mib() * MIB - before
    print(json.dumps([plan.total / MIB, peak / MIB, work.n_tokens]))  # noqa: T201 (read by the process that started this one)
