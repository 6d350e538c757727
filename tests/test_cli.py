"""The command line as a user meets it."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
from typer.main import get_command
from typer.testing import CliRunner

from helpers import progress
from helpers.cli import app, open_closed_streams
from helpers.commands.evaluation import drop_repeated, name_models
from helpers.files import write_text
from helpers.paths import NOTEBOOKS
from helpers.tuning.settings import TuningSettings
from helpers.tuning.stage import ADAPTER, tune


def test_a_call_from_another_copy_of_the_project_is_refused(tmp_path, monkeypatch):
    (tmp_path / "src" / "helpers").mkdir(parents=True)
    (tmp_path / "src" / "helpers" / "paths.py").touch()
    (tmp_path / "book").mkdir()
    for folder in (tmp_path, tmp_path / "book"):
        monkeypatch.chdir(folder)
        refused = CliRunner().invoke(app, ["figures", "--profile", "smoke"])
        assert refused.exit_code == 1
        assert f"called from another copy of it, {tmp_path}. Where its environment" in refused.stderr


def test_a_launcher_starts_no_command_that_shares_no_work(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    refused = CliRunner().invoke(app, ["grid", "list", "--profile", "smoke"])
    assert refused.exit_code == 1
    assert "`study tune` alone shares its work" in refused.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["run", "--profile", "huge"], "`profile` must be one of"),
        (["run", "--profile", "smoke", "-p", "lora_rnak=4"], "Did you mean `lora_rank`?"),
        (["run", "--profile", "smoke", "-p", "instructions=none.jsonl"], "none lies at 'none.jsonl'"),
        (["figures", "--profile", "smoke"], "No stored result of stage 'synthesis'"),
        (["fetch", "gpt2"], "must be one of smollm2-135m, gemma-3-270m"),
        (
            ["evaluate", "--model", "a/b", "--model", "c/d", "--adapter", "x"],
            "Adapters belong to one model, but 2 models were named",
        ),
        (["evaluate", "--tasks", "medqb"], "patient_answer, medqa, medmcqa"),
        (["evaluate", "--judge", "recorded"], "must not be the teacher"),
        (
            ["evaluate", "--tasks", "evidence_yesno", "--judge", "x", "--max-cost-tokens", "9"],
            "A judge rates the texts of tasks that ask for one, but `tasks` (evidence_yesno) names none",
        ),
        (["evaluate", "--tasks", "mednli"], "'mednli' cannot be downloaded. Name a folder"),
        (["evaluate", "--adapter", "nowhere"], "lacks adapter_config.json"),
        (["export-harness", "nowhere", "--tasks", "patient_answer"], "must name at least one choice task"),
    ],
)
def test_a_mistake_is_one_clear_message_and_a_failing_exit(arguments, message):
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 1
    assert result.stderr.startswith("error: ")
    assert message in result.stderr
    assert "Traceback" not in result.output


def test_a_closed_output_is_no_error():
    command = f'exec "{sys.executable}" -c "from helpers.cli import main; main()" fetch gpt2 >&-'
    ended = subprocess.run(["sh", "-c", command], check=False, stderr=subprocess.PIPE, text=True)
    assert ended.returncode == 1
    assert ended.stderr.startswith("error: `model` must be one of")


def test_a_closed_error_output_can_be_asked_whether_it_is_a_terminal(monkeypatch):
    monkeypatch.setattr(sys, "stderr", None)
    open_closed_streams()
    assert not sys.stderr.isatty()
    sys.stderr.close()


def test_a_folder_whose_name_is_no_utf8_has_a_label_that_can_be_written(tmp_path):
    (label,) = [name for name in name_models("m", [Path(os.fsdecode(b"adapter\xe9"))]) if name != "m"]
    write_text(tmp_path / "scores.csv", label)
    assert label == "adapter\\xe9"


def test_a_folder_that_is_named_twice_counts_once(tmp_path, monkeypatch):
    (tmp_path / "toy").mkdir()
    monkeypatch.chdir(tmp_path)
    assert drop_repeated(["toy", "toy/", "./toy", str(tmp_path / "toy"), "hub", "hub"]) == ["toy", "hub"]
    (tmp_path / "smollm2-135m").mkdir()
    assert len(drop_repeated(["smollm2-135m", "./smollm2-135m"])) == 2
    assert drop_repeated(["a" * 300]) == ["a" * 300]
    assert drop_repeated([Path("toy"), Path("../") / tmp_path.name / "toy"]) == [Path("toy")]


def test_the_commands_are_these():
    named = "run figures student fetch bench pilot synthesize filter label push tune merge mix evaluate"
    assert set(get_command(app).commands) == {*named.split(), "export-harness", "grid"}


def test_figures_show_no_bar_of_a_step_that_is_only_read(monkeypatch, tmp_path):
    monkeypatch.delenv(progress.PROGRESS_VARIABLE, raising=False)

    def update_figures(*_):
        with progress.track("evaluate base model", 9, "tasks"):
            return []

    monkeypatch.setattr("helpers.book.update.update_figures", update_figures)
    result = CliRunner().invoke(app, ["figures", "--profile", "smoke", "--folder", str(tmp_path)])
    assert result.output == f"{tmp_path}: nothing has changed\n"


def test_a_reader_evaluates_a_model_on_their_own_file_with_one_command(toy_model, tmp_path):
    rows = [
        {
            "id": str(n),
            "split": "test",
            "context": "",
            "question": f"Is it {n}?",
            "options": ["yes", "no"],
            "answer": n % 2,
        }
        for n in range(4)
    ]
    (tmp_path / "bioasq.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    arguments = [
        "evaluate",
        "--model",
        toy_model,
        "--tasks",
        "bioasq",
        "--data",
        str(tmp_path),
        "--choice-scoring",
        "letter",
        "--output",
        str(tmp_path / "out"),
    ]
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "differences.csv").write_text("of an earlier call")
    result = CliRunner().invoke(app, [*arguments, "--model", f"{toy_model}/"])
    assert result.exit_code == 0, result.output
    assert "there before, not of this call: differences.csv" in result.output
    scores = pd.read_csv(tmp_path / "out" / "scores.csv")
    assert scores[["task", "metric", "n"]].values.tolist() == [["bioasq", "accuracy", 4]]
    assert (tmp_path / "out" / "letters.csv").is_file()
    assert "unparsed" in result.output


def test_adapters_are_compared_with_their_base(toy_model, instruction_file, tmp_path):
    adapter = tune(
        TuningSettings(model=toy_model, n_rows=4, batch_size=2, learning_rate=3e-2), instruction_file
    ).file(ADAPTER)
    arguments = [
        "evaluate",
        "--model",
        toy_model,
        "--adapter",
        str(adapter),
        "--tasks",
        "evidence_yesno,patient_answer",
        "--n-items",
        "3",
    ]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    assert all(
        word in result.output for word in ("differences", "McNemar", "permutation", "p_holm", "concept_f1")
    )


def test_the_harness_export_names_its_tasks(toy_model, tmp_path):
    result = CliRunner().invoke(
        app, ["export-harness", str(tmp_path), "--model", toy_model, "--tasks", "evidence_yesno"]
    )
    assert result.exit_code == 0, result.output
    assert "2 tasks" in result.output
    assert {path.name for path in tmp_path.iterdir()} == {
        "choose.py",
        *(
            f"study_evidence_yesno_{way}.{ending}"
            for way in ("text", "letter")
            for ending in ("yaml", "jsonl")
        ),
    }


def test_the_harness_export_does_not_mix_the_tasks_of_two_models(toy_model, tmp_path):
    (tmp_path / "study_exam_choice_text.yaml").touch()
    result = CliRunner().invoke(app, ["export-harness", str(tmp_path), "--model", toy_model])
    assert result.exit_code == 1
    assert "must name a new or empty folder" in " ".join(result.stderr.split())


@pytest.mark.parametrize("command", [["run", "--only", "06", "--book"], ["student", "--folder"]])
def test_no_notebook_is_written_over_its_source(command):
    result = CliRunner().invoke(app, [*command, str(NOTEBOOKS)])
    assert result.exit_code == 1
    assert "must not be notebooks, which holds the sources" in " ".join(result.stderr.split())


def test_a_single_item_is_refused_since_it_has_no_interval(toy_model, tmp_path):
    row = {
        "id": "1",
        "split": "test",
        "context": "",
        "question": "Is it?",
        "options": ["yes", "no"],
        "answer": 0,
    }
    (tmp_path / "bioasq.jsonl").write_text(json.dumps(row) + "\n")
    result = CliRunner().invoke(
        app, ["evaluate", "--model", toy_model, "--tasks", "bioasq", "--data", str(tmp_path)]
    )
    assert result.exit_code == 1
    assert "must have two test items at least" in result.stderr
