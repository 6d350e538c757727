"""A second process makes cells from the end of the list, and ends with the first one."""

import json
import os
import subprocess
import sys
import time
from contextlib import nullcontext
from dataclasses import asdict, astuple

import pytest
import torch

from helpers.errors import StudyError
from helpers.store import load_only
from helpers.study import sharing
from helpers.study.grid import CellPlan
from helpers.study.sharing import KINDS_OF_WORK, MAKE_LOSSES, PROGRAM, VARIABLE, share_cells
from helpers.study.study import Study

PATIENCE_SECONDS = 120


@pytest.fixture
def parameters(toy_model, instruction_file):
    chosen = {"model": toy_model, "instructions": str(instruction_file), "n_rows": 4, "batch_size": 4}
    return chosen | {"tasks": "evidence_yesno", "n_held_out": 2, "n_loss_items": 2, "held_out_share": 0.4}


@pytest.fixture
def study(parameters, monkeypatch):
    monkeypatch.setattr(sharing, "MIN_BYTES", 0)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    return Study.from_parameters(parameters)


@pytest.fixture
def started(monkeypatch):
    """Keep the processes that are started."""
    processes = []
    start = subprocess.Popen

    def keep(*arguments, **named):
        process = start(*arguments, **named)
        if PROGRAM in process.args:
            processes.append(process)
        return process

    monkeypatch.setattr(sharing.subprocess, "Popen", keep)
    return processes


@pytest.fixture
def two_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


def is_stored(study, plan):
    return KINDS_OF_WORK[MAKE_LOSSES].is_stored(study, plan)


@pytest.mark.parametrize("kind", KINDS_OF_WORK)
def test_work_of_every_kind_is_stored_once_it_is_made(study, kind):
    for plan in study.plan_cells(["base", "qa"]):
        assert not KINDS_OF_WORK[kind].is_stored(study, plan)
        KINDS_OF_WORK[kind].make(study, plan)
        assert KINDS_OF_WORK[kind].is_stored(study, plan)


def test_a_study_is_built_again_from_its_fields(study):
    assert Study.from_fields(json.loads(json.dumps(asdict(study)))) == study


def test_the_last_cell_is_made_by_a_second_process_that_ends_with_the_block(study, started, two_threads):
    plans = study.plan_cells(["base", "qa", "ie"])
    until = time.monotonic() + PATIENCE_SECONDS
    with share_cells(study, plans, MAKE_LOSSES):
        assert torch.get_num_threads() == 1
        assert os.environ["OMP_NUM_THREADS"] == os.environ[VARIABLE] == "1"  # for kernels
        with share_cells(study, plans, MAKE_LOSSES):
            assert len(started) == 1
        while not is_stored(study, plans[-1]) and time.monotonic() < until:
            time.sleep(0.2)
    assert is_stored(study, plans[-1])
    (second,) = started
    assert second.returncode is not None
    assert not {"OMP_NUM_THREADS", VARIABLE} & os.environ.keys()
    assert torch.get_num_threads() == 2
    shared = study.collect_losses(["base", "qa", "ie"])
    assert shared["cell"].unique().tolist() == ["base", "qa", "ie"]


@pytest.mark.parametrize(
    "reason", ["one cell", "nothing computed", "second itself", "distributed", "one thread", "small model"]
)
def test_no_second_process_where_it_does_not_pay(study, started, two_threads, monkeypatch, reason):
    plans = study.plan_cells(["base", "qa", "ie"])
    if reason == "second itself":
        monkeypatch.setenv(VARIABLE, "1")
    elif reason == "distributed":
        monkeypatch.setenv("WORLD_SIZE", "2")
    elif reason == "one thread":
        torch.set_num_threads(1)
    elif reason == "small model":
        monkeypatch.setattr(sharing, "MIN_BYTES", 10**8)
    mode = load_only() if reason == "nothing computed" else nullcontext()
    with mode, share_cells(study, plans[:1] if reason == "one cell" else plans, MAKE_LOSSES):
        assert not started


def test_the_second_process_ends_in_its_work_where_the_first_is_killed(study):
    n_cells = 400
    plans = [CellPlan("qa", 4, seed) for seed in range(n_cells)]
    asked = [{"study": asdict(study), "cells": [(MAKE_LOSSES, *astuple(plan)) for plan in plans]}]
    second = subprocess.Popen([sys.executable, "-m", PROGRAM], stdin=subprocess.PIPE)
    second.stdin.write(json.dumps(asked).encode() + b"\n")
    second.stdin.flush()
    until = time.monotonic() + PATIENCE_SECONDS
    while not is_stored(study, plans[-1]) and time.monotonic() < until:
        time.sleep(0.2)
    assert second.poll() is None
    second.stdin.close()  # as the system does for a process that is killed
    assert second.wait(PATIENCE_SECONDS) == 0
    assert is_stored(study, plans[-1])
    assert not is_stored(study, plans[0])


def test_an_error_in_the_block_ends_the_second_process(study, started, two_threads):
    plans = study.plan_cells(["base", "qa", "ie"])
    with pytest.raises(StudyError, match="no room"), share_cells(study, plans, MAKE_LOSSES):
        raise StudyError("no room")
    assert started[0].returncode is not None
