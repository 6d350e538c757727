"""`study grid` as a user meets it, and the Snakefile over the same cells."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from filelock import FileLock, Timeout
from typer.testing import CliRunner

from helpers.cli import app
from helpers.paths import ROOT
from helpers.store import LOCK
from helpers.study import losses


@pytest.fixture
def options(toy_model, instruction_file):
    """Return the options of a small grid on the toy model."""
    values = {
        "model": toy_model,
        "instructions": instruction_file,
        "tasks": "evidence_yesno,medication_status,patient_answer",
        "n_rows": 4,
        "n_items": 2,
        "n_held_out": 2,
        "n_loss_items": 2,
    }
    return [
        "--profile",
        "smoke",
        *(part for name, value in values.items() for part in ("-p", f"{name}={value}")),
        "-p",
        "controls=",
    ]


def call(*arguments):
    result = CliRunner().invoke(app, ["grid", *map(str, arguments)])
    assert result.exit_code == 0, result.output
    return result.output


def test_a_mixture_is_listed_run_and_exported_like_the_other_cells(options, tmp_path):
    options = [*options, "-p", "lattice=qa+ie", "-p", "mixtures=ie:3+qa:1"]
    assert "qa.1+ie.3-n4-s1: 4 rows, seed 1" in call("list", *options, "--cell-list", tmp_path / "grid.json")
    cells = json.loads((tmp_path / "grid.json").read_text())["cells"]
    assert cells[-1]["done"].endswith("grid/qa.1+ie.3-n4-s1.done")
    done = tmp_path / "cell.done"
    call("run", *options, "--cell", "qa.1+ie.3-n4-s1", "--done", done)
    assert done.is_file()
    assert call("status", *options).endswith("1 of 5 cells are done\n")
    call("export", tmp_path / "tables", *options)
    assert "qa.1+ie.3-n4-s1,qa:1+ie:3,4,1" in (tmp_path / "tables" / "cells.csv").read_text()


def test_a_control_of_matched_tokens_is_not_listed_by_rows(options):
    listed = call("list", *options, "-p", "controls=qa~tokens,qa~lengths")
    assert "qa~tokens-n4-s1: the response tokens of 4 average rows, seed 1\n" in listed
    assert "qa~lengths-n4-s1: 4 rows, seed 1\n" in listed


def test_two_exports_into_one_folder_wait_for_each_other(options, tmp_path, monkeypatch):
    own = losses.build_loss_tables

    def build_loss_tables(study, plans, folder):
        with pytest.raises(Timeout):
            FileLock(folder.parent / LOCK).acquire(blocking=False)
        return own(study, plans, folder)

    monkeypatch.setattr(losses, "build_loss_tables", build_loss_tables)
    call("run", *options, "-p", "answers=none", "--cell", "base")
    assert "1 of" in call("export", tmp_path / "tables", *options, "-p", "answers=none")


def test_an_export_that_is_refused_for_its_scores_writes_no_losses_either(options, tmp_path):
    folder = tmp_path / "tables"
    for n_rows in (4, 5):
        own = [*options, "-p", f"n_rows={n_rows}", "-p", "lattice=qa+ie", "-p", "answers=base"]
        call("run", *own, "--cell", "base", "--cell", f"qa-n{n_rows}-s1")
        if n_rows == 4:
            call("export", folder, *own)
            before = {path: path.read_bytes() for path in folder.rglob("*.*")}
    refused = CliRunner().invoke(app, ["grid", "export", str(folder), *map(str, own)])
    assert "their settings differ" in " ".join(refused.stderr.split())
    assert {path: path.read_bytes() for path in folder.rglob("*.*")} == before


def test_an_export_of_scores_alone_counts_the_cells_that_have_scores(options, tmp_path):
    call("run", *options, "-p", "answers=base", "--cell", "base", "--cell", "qa-n4-s1")
    told = call("export", tmp_path / "tables", *options, "-p", "answers=base", "--scores-only")
    assert "1 of 8 cells written" in told
    others = ["export", tmp_path / "none", *options, "-p", "answers=none", "--scores-only"]
    result = CliRunner().invoke(app, ["grid", *map(str, others)])
    assert result.exit_code == 1
    assert "`answers` ('none') names none of the 2 stored cells" in " ".join(result.stderr.split())
    assert not (tmp_path / "none").exists()


def test_list_run_and_status_agree_on_the_cells(options, runs):
    ids = [line.split(":")[0] for line in call("list", *options).splitlines()]
    assert ids == [
        "base",
        *(f"{name}-n4-s1" for name in ("qa", "ie", "gen", "qa+ie", "qa+gen", "ie+gen", "qa+ie+gen")),
    ]
    assert not runs.exists()
    assert call("status", *options).endswith("0 of 8 cells are done\n")
    assert [path.name for path in runs.iterdir()] == ["split"]
    assert "done" in call("run", *options, "--cell", "base", "--cell", "qa-n4-s1")
    status = call("status", *options)
    assert "qa+ie-n4-s1: missing" in status
    assert status.endswith("2 of 8 cells are done\n")
    assert "base: from the store" in call("run", *options)
    assert call("status", *options).endswith("8 of 8 cells are done\n")


def test_an_unknown_cell_is_refused_with_the_known_ones(options):
    result = CliRunner().invoke(app, ["grid", "run", *options, "--cell", "qa"])
    assert result.exit_code == 1
    assert "`cell` must be one of base, qa-n4-s1" in result.stderr


@pytest.mark.parametrize("command", [["status"], ["export", "tables"]])
def test_without_instruction_rows_a_command_says_what_to_run(command):
    result = CliRunner().invoke(app, ["grid", *command, "--profile", "smoke"])
    assert result.exit_code == 1
    assert "No stored result of stage 'synthesis'" in result.stderr


def test_a_manifest_in_an_empty_store_makes_the_instruction_rows_first(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert "written:" in call("list", "--profile", "smoke", "--cell-list", tmp_path / "grid.json")
    assert done_cells(tmp_path) == []


def test_the_manifest_marks_the_cells_that_the_store_holds(options, tmp_path, monkeypatch, runs):
    monkeypatch.chdir(tmp_path)
    call("run", *options, "--cell", "ie-n4-s1", "--done", tmp_path / "ie")
    assert (tmp_path / "ie").is_file()
    call("list", *options, "--cell-list", tmp_path / "grid.json")
    manifest = json.loads((tmp_path / "grid.json").read_text())
    assert manifest["arguments"] == options
    assert len(manifest["cells"]) == 8
    assert done_cells(tmp_path) == ["ie-n4-s1"]
    shutil.rmtree(runs / "evaluation")
    call("list", *options, "--cell-list", tmp_path / "grid.json")
    assert done_cells(tmp_path) == []


snakemake = Path(sys.executable).with_name("snakemake")


def start_snakemake(folder, *arguments):
    command = [
        snakemake,
        "--snakefile",
        ROOT / "Snakefile",
        "--cores",
        "2",
        "--config",
        "cell_list=grid.json",
        *arguments,
    ]
    environment = os.environ | {"STUDY_RUNS": str(folder / "runs"), "PYTHONPATH": str(ROOT / "src")}
    return subprocess.Popen(
        command,
        cwd=folder,
        env=environment,
        start_new_session=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def results(folder):
    files = [
        path
        for stage in ("tuning", "evaluation")
        for path in (folder / "runs" / stage).rglob("*")
        if path.is_file() and path.name != "manifest.json"
    ]
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def done_cells(folder):
    return [
        cell["id"]
        for cell in json.loads((folder / "grid.json").read_text())["cells"]
        if (folder / cell["done"]).is_file()
    ]


@pytest.mark.slow
@pytest.mark.skipif(
    not (snakemake.exists() and shutil.which("study", path=snakemake.parent)),
    reason="needs the extra `grid`: pip install --editable '.[grid]'",
)
def test_snakemake_runs_two_cells_at_a_time_and_goes_on_after_a_kill(options, tmp_path, monkeypatch):
    """A grid killed with -9 halfway and resumed ends with the bytes of one run cell by cell in
    one process.
    """
    options = [*options, "-p", "lattice=qa+ie", "-p", "epochs=20"]
    folder = tmp_path / "grid"
    folder.mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.setenv("STUDY_RUNS", str(folder / "runs"))
    call("list", *options, "--cell-list", folder / "grid.json")
    process = start_snakemake(folder)
    for _ in range(600):
        if done_cells(folder):
            break
        time.sleep(0.1)
    os.killpg(process.pid, signal.SIGKILL)
    output, _ = process.communicate()
    assert 1 <= len(done_cells(folder)) < 4, output
    assert "Execute 2 jobs" in output
    process = start_snakemake(folder, "--rerun-incomplete", "--nolock")
    output, _ = process.communicate(timeout=200)
    assert process.returncode == 0, output
    assert len(done_cells(folder)) == 4
    monkeypatch.setenv("STUDY_RUNS", str(tmp_path / "alone" / "runs"))
    call("run", *options)
    assert results(folder) == results(tmp_path / "alone")


@pytest.mark.parametrize("name", ["", ".", "grid"])
def test_a_manifest_that_is_no_json_file_is_refused_before_anything_is_made(
    name, tmp_path, monkeypatch, runs
):
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(app, ["grid", "list", "--profile", "smoke", "--cell-list", name])
    assert result.exit_code == 1
    assert "`cell_list` must name a JSON file, such as runs/grid.json" in result.stderr
    assert not runs.exists()
