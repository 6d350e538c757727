"""The steps of a tuning run: progress, checkpoints, and what a resumed run repeats."""

from __future__ import annotations

import math
import time
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

from helpers.errors import StudyError
from helpers.progress import Advance, show_seconds, track
from helpers.tuning.checkpoint import load_checkpoint, save_checkpoint
from helpers.tuning.rows import EncodedRow
from helpers.tuning.schedule import learning_rate_at
from helpers.tuning.settings import TuningSettings
from helpers.tuning.step import take_step

if TYPE_CHECKING:
    import torch
    from accelerate import PartialState
    from peft import PeftModel

CHECKPOINT_SECONDS = 20
Steps = list[tuple[int, list[EncodedRow]]]


def take_steps(
    settings: TuningSettings,
    model: PeftModel,
    optimizer: torch.optim.Optimizer,
    steps: Steps,
    checkpoint: Path,
    processes: PartialState,
) -> tuple[list[dict[str, Any]], float]:
    """Take the optimiser steps of a run that its checkpoint lacks; return the log, one entry per step, and
    the seconds of all steps, those before a kill included.
    """
    import torch

    rank, n = processes.process_index, processes.num_processes
    log, seconds = load_checkpoint(checkpoint, model, optimizer)
    sizes = [sum(len(row.input_ids) for row in rows) for _, rows in steps]
    resumed, saved, started = len(log), time.monotonic(), time.monotonic()
    with show_steps(settings, len(steps), rank) as advance:
        advance(resumed)
        for step, (epoch, rows) in enumerate(steps[resumed:], resumed):
            rate = learning_rate_at(step, len(steps), settings.learning_rate)
            # dropout depends on the step alone, so a resumed run repeats it
            torch.manual_seed((settings.training_seed * 1_000_003 + step) * n + rank)
            loss, n_tokens = take_step(model, optimizer, rows, rate, rank, n)
            check_loss(loss, step, rate)
            log.append(
                {"step": step, "epoch": epoch, "learning_rate": rate, "loss": loss, "tokens": n_tokens}
            )
            speed = sum(sizes[resumed : step + 1]) / (time.monotonic() - started)
            advance(
                note=f"loss {loss:.2f}, {speed:.0f} tokens/s, {show_seconds(sum(sizes[step + 1 :]) / speed)} "
                "left"
            )
            if rank == 0 and time.monotonic() - saved > CHECKPOINT_SECONDS:
                save_checkpoint(checkpoint, model, optimizer, log, seconds + time.monotonic() - started)
                saved = time.monotonic()
    return log, seconds + time.monotonic() - started


def show_steps(settings: TuningSettings, n_steps: int, rank: int) -> AbstractContextManager[Advance]:
    """Show progress in the first process; the others are silent."""
    return (
        nullcontext(lambda *_, **__: None)
        if rank
        else track(f"tune on {settings.categories}", n_steps, "steps")
    )


def check_loss(loss: float, step: int, rate: float) -> None:
    """Raise StudyError where a step's loss is not finite: nothing after it can be sound."""
    if not math.isfinite(loss):
        raise StudyError(
            f"The loss of step {step} is {loss}, which is not finite (learning rate {rate:.3g}). Lower "
            "`learning_rate`; nothing was stored."
        )
