"""The grid on a Slurm cluster of one node, set up on this machine; needs Debian's slurm-wlm and munge,
and the extra `grid` with snakemake-executor-plugin-slurm.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from test_grid_commands import call, done_cells, options, results  # noqa: F401 (options is a fixture)

from helpers.paths import ROOT

CLUSTER = ROOT / "tests" / "slurm" / "cluster.sh"
SNAKEMAKE = Path(sys.executable).with_name("snakemake")
LACKING = [] if os.geteuid() == 0 else ["root"]
LACKING += [name for name in ("slurmctld", "slurmd", "munged", "sbatch") if not shutil.which(name)] + [
    path.name for path in (SNAKEMAKE, SNAKEMAKE.with_name("study")) if not path.exists()
]
pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(1500),
    pytest.mark.skipif(
        bool(LACKING), reason=f"needs {', '.join(LACKING)} (Debian: slurm-wlm munge; pip: '.[grid]')"
    ),
]


@pytest.fixture
def cluster(tmp_path):
    """Start a cluster; return the folder of its files."""
    folder = tmp_path / "cluster"
    subprocess.run(["bash", CLUSTER, "up", folder], check=True)
    yield folder
    subprocess.run(["bash", CLUSTER, "down", folder], check=True)


def start_grid(folder):
    """Start the documented command, with what a machine of two CPUs and without a GPU needs otherwise."""
    here = ("slurm_partition=study", "mem_mb=0", "runtime=30", "gpu=0")
    command = [SNAKEMAKE, "--snakefile", ROOT / "Snakefile", "--profile", ROOT / "profiles" / "slurm"]
    command += ["--config", "cell_list=grid.json", "--set-threads", "cell=1", "--default-resources", *here]
    command += ["--slurm-init-seconds-before-status-checks", "5", "--latency-wait", "10"]
    environment = os.environ | {"STUDY_RUNS": str(folder / "runs"), "PYTHONPATH": str(ROOT / "src")}
    log = (folder / "log.txt").open("a")
    return subprocess.Popen(
        command, cwd=folder, env=environment, start_new_session=True, stdout=log, stderr=subprocess.STDOUT
    )


def wait_until(process, is_reached, seconds=300):
    for _ in range(seconds * 5):
        assert process.poll() is None, "Snakemake ended"
        if found := is_reached():
            return found
        time.sleep(0.2)
    return pytest.fail("nothing happened")


def running_jobs():
    listed = subprocess.run(
        ["squeue", "-h", "-t", "R", "-o", "%i"], capture_output=True, text=True, check=True
    )
    return listed.stdout.split()


def test_a_grid_on_slurm_survives_a_cancelled_job_a_killed_controller_and_a_killed_snakemake(
    options,  # noqa: F811
    cluster,
    tmp_path,
    monkeypatch,
):
    """Six cells end with the tables of `study grid run`."""
    options = [*options, "-p", "lattice=qa+ie", "-p", "n_seeds=2", "-p", "epochs=20"]
    folder = tmp_path / "grid"
    folder.mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.setenv("STUDY_RUNS", str(folder / "runs"))
    call("list", *options, "--cell-list", folder / "grid.json")
    n_cells = len(json.loads((folder / "grid.json").read_text())["cells"])
    process = start_grid(folder)
    subprocess.run(["scancel", wait_until(process, running_jobs)[0]], check=True)
    wait_until(process, lambda: done_cells(folder))
    os.kill(int((cluster / "slurmctld.pid").read_text()), signal.SIGKILL)
    time.sleep(2)
    subprocess.run(["slurmctld"], check=True)
    wait_until(process, lambda: len(done_cells(folder)) > 1)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    process = start_grid(folder)
    assert process.wait(timeout=900) == 0, (folder / "log.txt").read_text()
    assert len(done_cells(folder)) == n_cells
    monkeypatch.setenv("STUDY_RUNS", str(tmp_path / "alone" / "runs"))
    call("run", *options)
    assert results(folder) == results(tmp_path / "alone")
