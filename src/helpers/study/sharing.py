"""A second process that works through a list of work on cells from its end, while this one works from its
beginning, each with half of the threads.

A small model's products are short, so threads spend much of a step waiting for each other: two processes of
one thread each get more done than one of two threads. Both keep what they make in the store, whose locks
settle who makes what, and whoever comes to a stored cell loads it.
"""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from helpers.errors import StudyError
from helpers.machine import measure_main_memory
from helpers.models.load import choose_device, resolve_model
from helpers.paths import runs_folder
from helpers.progress import PROGRESS_VARIABLE
from helpers.store import is_computing, plan_only, read_launcher_number
from helpers.study.cells import find_answer_state
from helpers.study.grid import CellPlan
from helpers.study.losses import measure_cell_losses
from helpers.tuning.step import MICRO_BATCH_TOKENS

if TYPE_CHECKING:
    from helpers.study.study import Study

MIN_BYTES = 10**8  # of the weights: a smaller model is done before a second process has started
MEMORY_SHARE = 16  # times the weights must be free: for two processes with a micro-batch each
PROGRAM = "helpers.study.second_process"
LOG = "second_process.log"
VARIABLE = "STUDY_SECOND_PROCESS"  # set where there is one, so that none is added; anyone may set it
# what is made of a cell: its answers, its losses, those of the held-out rows alone, all that is asked of it
MAKE_ANSWERS, MAKE_LOSSES, MAKE_ROW_LOSSES, MAKE_WHOLE = "answers", "losses", "row_losses", "whole"
Work: TypeAlias = "tuple[Study, Sequence[tuple[str, CellPlan]]]"  # and what is made of which cells


@dataclasses.dataclass(frozen=True)
class KindOfWork:
    """Work on a cell: what does it, and what says whether its result is stored; `is_stored` computes
    nothing.
    """

    make: Callable[[Study, CellPlan], Any]
    is_stored: Callable[[Study, CellPlan], bool]


def _has_losses(study: Study, plan: CellPlan, with_tasks: bool = True) -> bool:
    adapter, runs = plan_only(measure_cell_losses, study, plan, with_tasks)
    return all(run.is_stored for run in (adapter, *runs) if run)


KINDS_OF_WORK: Mapping[str, KindOfWork] = {
    MAKE_ANSWERS: KindOfWork(
        lambda study, plan: study.answer_cell(plan),
        lambda study, plan: find_answer_state(*study.list_cell_inputs(plan)) == "done",
    ),
    MAKE_LOSSES: KindOfWork(measure_cell_losses, _has_losses),
    MAKE_ROW_LOSSES: KindOfWork(
        partial(measure_cell_losses, with_tasks=False), partial(_has_losses, with_tasks=False)
    ),
    MAKE_WHOLE: KindOfWork(
        lambda study, plan: study.run_cell(plan),
        lambda study, plan: study.find_cell_state(plan) == "done",
    ),
}


@contextmanager
def share_work(work: Sequence[Work]) -> Iterator[None]:
    """Let a second process work through a list from its end while the block, and what is started in it, works
    from its beginning, where that pays: two things or more to make, two threads or more, no GPU, and memory
    for both. What cannot be made is left to the block, which says why.

    Args:
        work: in the block's order.
    """
    if not _pays(work):
        yield
        return
    import torch

    n_threads = torch.get_num_threads()
    inherited = {name: value for name, value in os.environ.items() if name != PROGRESS_VARIABLE}
    runs_folder().mkdir(parents=True, exist_ok=True)
    with (runs_folder() / LOG).open("a", encoding="utf-8") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", PROGRAM],
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=log,
            env=inherited | _limit_threads(n_threads // 2),
        )
    asked = [
        {
            "study": dataclasses.asdict(study),
            "cells": [(kind, *dataclasses.astuple(plan)) for kind, plan in cells],
        }
        for study, cells in work
    ]
    limits = _limit_threads(n_threads - n_threads // 2)
    before = {name: os.environ[name] for name in limits if name in os.environ}
    os.environ.update(limits)  # kernels that the block starts inherit them
    torch.set_num_threads(n_threads - n_threads // 2)
    try:
        with suppress(OSError):  # where it has ended already, this process does the work alone
            process.stdin.write(json.dumps(asked).encode() + b"\n")
            process.stdin.flush()
        yield
    finally:
        process.terminate()
        process.wait()
        with suppress(OSError):
            process.stdin.close()
        torch.set_num_threads(n_threads)
        for name in limits:
            del os.environ[name]
        os.environ.update(before)


def share_cells(study: Study, plans: Sequence[CellPlan], kind: str) -> AbstractContextManager[None]:
    """Share work of one kind on some cells (`share_work`)."""
    return share_work([(study, [(kind, plan) for plan in plans])])


def _limit_threads(n_threads: int) -> dict[str, str]:
    return {VARIABLE: "1", "OMP_NUM_THREADS": str(n_threads)}


def _pays(work: Sequence[Work]) -> bool:
    if not is_computing() or VARIABLE in os.environ or read_launcher_number("WORLD_SIZE", 1) > 1:
        return False
    if sum(len(cells) for _, cells in work) < 2 or not _lacks_two(work):
        return False
    settings = work[0][0].tuning_settings
    n_bytes = sum(path.stat().st_size for path in Path(resolve_model(settings.model)).glob("*.safetensors"))
    if settings.max_tokens > MICRO_BATCH_TOKENS["cpu"]:
        return False
    if n_bytes < MIN_BYTES or MEMORY_SHARE * n_bytes > measure_main_memory():
        return False
    import torch

    return choose_device()[0] == "cpu" and torch.get_num_threads() > 1


def _lacks_two(work: Sequence[Work]) -> bool:
    try:
        for study, _ in work:
            study.training_file  # noqa: B018 (made where it is missing: cells are looked up by it)
        missing = (
            plan
            for study, cells in work
            for kind, plan in cells
            if not KINDS_OF_WORK[kind].is_stored(study, plan)
        )
        return next(missing, None) is not None and next(missing, None) is not None
    except StudyError:  # the block comes to it, and says where
        return False
