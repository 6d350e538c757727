"""Several processes share each batch and end with the adapter of one process."""

import os
import subprocess
import sys

import pytest
import torch
from safetensors.torch import load_file

from helpers.paths import ROOT

OPTIONS = ["--n-rows=13", "--batch-size=5", "--epochs=2", "--lora-rank=2", "--learning-rate=0.01"]


def tune(folder, toy_model, instructions, launcher):
    """Run `study tune` under a launcher; return the adapter's tensors and the log."""
    study = folder.parent / "study.py"
    study.write_text("from helpers.cli import main\nmain()\n")
    command = [
        sys.executable,
        *launcher,
        study,
        "tune",
        "--model",
        toy_model,
        "--instructions",
        instructions,
        "--output",
        folder / "out",
        *OPTIONS,
    ]
    environment = {name: value for name, value in os.environ.items() if name != "STUDY_PROGRESS"}
    environment |= {
        "STUDY_RUNS": str(folder / "runs"),
        "PYTHONPATH": str(ROOT / "src"),
        "PYTHONWARNINGS": "ignore",
    }
    done = subprocess.run(command, check=False, capture_output=True, text=True, env=environment, timeout=200)
    assert done.returncode == 0, done.stderr[-3000:]
    [log] = (folder / "runs" / "tuning").glob("*/log.csv")
    return load_file(folder / "out" / "adapter_model.safetensors"), log.read_text(), done.stdout


@pytest.fixture(scope="module")
def alone(toy_model, shared_instruction_file, tmp_path_factory):
    """Tune in one process, once for all launchers."""
    return tune(tmp_path_factory.mktemp("processes") / "alone", toy_model, shared_instruction_file, [])


@pytest.mark.slow
@pytest.mark.parametrize("how", ["--multi_gpu", "--use_fsdp"])
def test_two_processes_give_the_adapter_of_one(alone, toy_model, instruction_file, tmp_path, how):
    launcher = [
        "-m",
        "accelerate.commands.launch",
        how,
        "--num_processes=2",
        "--num_machines=1",
        "--mixed_precision=no",
        "--dynamo_backend=no",
    ]
    adapter, log, _ = alone
    shared, shared_log, output = tune(
        tmp_path / "shared", toy_model, instruction_file, [*launcher, "--main_process_port=0"]
    )
    assert "on 2 x cpu float32" in output
    assert adapter.keys() == shared.keys()
    assert all(torch.allclose(adapter[name], shared[name], atol=1e-5) for name in adapter)
    assert any(weight.any() for name, weight in shared.items() if "lora_B" in name)
    assert len(shared_log.splitlines()) == len(log.splitlines())


@pytest.mark.slow
def test_the_launchers_report_ends_with_our_message(tmp_path):
    study = tmp_path / "study.py"
    study.write_text("from helpers.cli import main\nmain()\n")
    command = [sys.executable, "-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes=2"]
    command += ["--num_machines=1", "--mixed_precision=no", "--dynamo_backend=no", "--main_process_port=0"]
    command += [str(study), "tune", "--instructions", str(tmp_path / "none.jsonl")]
    environment = os.environ | {"PYTHONPATH": str(ROOT / "src")}
    done = subprocess.run(command, check=False, capture_output=True, text=True, env=environment, timeout=200)
    assert done.returncode == 1
    report = done.stderr.rpartition("Root Cause")[2]
    assert "`instructions` must name a JSONL file, but none lies at" in report
