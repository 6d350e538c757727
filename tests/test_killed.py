"""A whole run, killed with -9 while it tunes, ends as one that was never killed."""

import os
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from helpers.paths import ROOT

STUDY = [
    sys.executable,
    "-c",
    "from helpers.cli import main; main()",
    "run",
    "--profile",
    "smoke",
    "--only",
    "03",
]


def start(toy_model, instructions, folder):
    """Start notebook 03 on the toy model with enough steps to be caught tuning."""
    parameters = {
        "model": toy_model,
        "instructions": instructions,
        "n_rows": 32,  # of forty, some of which are held out
        "batch_size": 2,
        "epochs": 20,
        "n_items": 2,
    }
    command = [
        *STUDY,
        "--book",
        folder / "book",
        *(f"-p{name}={value}" for name, value in parameters.items()),
    ]
    environment = os.environ | {"STUDY_RUNS": str(folder / "runs")}
    environment.pop("STUDY_PROGRESS", None)
    return subprocess.Popen(
        command,
        cwd=ROOT,
        env=environment,
        start_new_session=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def finish(process):
    output, _ = process.communicate(timeout=200)
    assert process.returncode == 0, output


def results(folder):
    files = [
        path
        for stage in ("tuning", "evaluation")
        for path in (folder / "runs" / stage).rglob("*")
        if path.is_file() and path.name != "manifest.json"
    ]
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def wait_for_tuning(folder: Path):
    for _ in range(1500):
        if any((folder / "runs" / "tuning").glob("*")):
            return
        time.sleep(0.1)
    pytest.fail("tuning did not begin in time")


@pytest.mark.timeout(900)
@pytest.mark.slow
def test_kill_minus_nine_while_tuning_loses_nothing(toy_model, instruction_file, tmp_path):
    killed, undisturbed = tmp_path / "killed", tmp_path / "undisturbed"
    process = start(toy_model, instruction_file, killed)
    wait_for_tuning(killed)
    time.sleep(0.5)
    kernels = psutil.Process(process.pid).children(recursive=True)
    process.kill()
    process.wait()
    assert kernels
    assert not psutil.wait_procs(kernels, timeout=60)[1]  # they see that their parent is gone
    assert not list((killed / "runs" / "tuning").glob("*/manifest.json"))
    assert not (killed / "book" / "03_lora_training.ipynb").exists()
    finish(start(toy_model, instruction_file, killed))
    finish(start(toy_model, instruction_file, undisturbed))
    assert results(killed) == results(undisturbed)
    assert (killed / "book" / "03_lora_training.ipynb").exists()
