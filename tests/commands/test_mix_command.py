"""`study mix` as a user meets it: it says its cost, runs the cells it needs, resumes, and recommends."""

import re
from pathlib import Path

import pandas as pd
import pytest
from typer.testing import CliRunner

from helpers.analysis.mixing.fit_intervals import fit_losses
from helpers.analysis.mixing.losses import build_loss_arrays
from helpers.analysis.mixing.recommendation import recommend
from helpers.analysis.mixing.simulation import simulate_losses, true_laws
from helpers.cli import app
from helpers.commands.mix import describe_recommendation, describe_shortage, describe_trust
from helpers.errors import StudyError
from helpers.jsonl import dump_rows, read_json_lines
from helpers.study.grid import SINGLES
from helpers.study.losses import build_loss_tables, load_losses
from helpers.study.mixing import MixturePlan, collect_mixture_losses, design_mixtures, read_mixtures
from helpers.study.study import Study
from helpers.study.tables import write_tables
from helpers.tuning.rows import parse_parts


@pytest.fixture
def ward_file(tmp_path):
    """Write rows of two categories whose responses differ much."""
    responses = {"cardiology": "yes metoprolol lowers the heart rate", "oncology": "0 1 2 3 4 5 6 7 8 9"}
    rows = [
        {
            "id": f"{name}-{number}",
            "category": name,
            "instruction": f"Which drug {number}?",
            "input": "",
            "output": f"{response} {number}",
        }
        for name, response in responses.items()
        for number in range(16)
    ]
    path = tmp_path / "wards.jsonl"
    path.write_text(dump_rows(rows))
    return path


@pytest.fixture
def options(toy_model, ward_file):
    values = {"model": toy_model, "learning_rate": 1e-2, "batch_size": 2, "held_out_share": 0.25}
    return [
        "--instructions",
        ward_file,
        *("--profile", "smoke", "--cell-rows", 4, "--n-seeds", 1),
        *(part for name, value in values.items() for part in ("-p", f"{name}={value}")),
    ]


def call(*arguments, code=0):
    result = CliRunner().invoke(app, ["mix", *map(str, arguments)])
    assert result.exit_code == code, result.output
    return result.output


def test_it_says_its_cost_runs_its_cells_once_and_recommends(options, tmp_path, runs):
    planned = call(*options, "--rows", 12, "--target", "oncology", "--dry-run")
    assert "9 of 9 cells are to be run: 55 rows to tune on" in planned
    assert not (runs / "tuning").exists()
    output = call(*options, "--rows", 8, "--target", "oncology", "--output", tmp_path / "tables")
    assert re.search(r"For oncology, 8 rows, by the law .*: (cardiology:\d+)?\+?(oncology:\d+)?\.\n", output)
    assert "Error on mixtures left out (% of the loss" in output
    command = re.search(r"To tune it, .*:\n\.venv/bin/study tune (.*)\n", output)[1].split()
    given = dict(zip(command[::2], command[1::2], strict=True))
    assert {"--learning-rate": "0.01", "--batch-size": "2", "--n-rows": "8"}.items() <= given.items()
    assert len(read_json_lines(Path(given["--instructions"]))) == 24
    assert "With one training seed" in output
    assert "of all mixtures may be as good" in output
    made = sorted(runs.glob("tuning/*/manifest.json"))
    assert len(made) == 8
    assert (
        len(list(runs.glob("lengths/*/manifest.json"))) == 2
    )  # training and held-out rows, each counted once
    tables = {path.stem: pd.read_csv(path) for path in (tmp_path / "tables").glob("*.csv")}
    assert set(tables) == {"losses", "left_out", "worths", "comparisons", "mixtures"}
    assert len(tables["losses"]) == 9 * 2
    assert "All 9 cells are stored." in call(*options, "--rows", 12, "--target", "worst", "--dry-run")
    beyond = call(*options, "--rows", 40)
    assert "`--available-only` recommends only what is there" in beyond
    assert "To tune it" not in beyond
    measured_again = call(*options, "--rows", 12, "--dry-run", "-p", "n_held_out=3")
    assert "9 of 9 cells are to be run: 0 rows to tune on" in measured_again
    for path in made[:2]:
        path.unlink()
    assert "2 of 9 cells are to be run" in call(*options, "--rows", 30, "--dry-run")


def test_rows_that_are_too_long_are_counted(options, ward_file):
    rows = read_json_lines(ward_file)
    long = [
        row | {"id": f"long-{row['id']}", "output": "yes " * 900} for row in rows if "oncology" in row["id"]
    ]
    ward_file.write_text(dump_rows([*rows, *long]))
    said = call(*options, "--rows", 12, "--dry-run")
    assert (
        f"Rows longer than 160 tokens are left out, and nothing below counts them: {len(long)} oncology"
        in said
    )
    assert "9 of 9 cells are to be run" in said


def test_mistakes_are_told_before_any_cell_runs(options, ward_file, runs):
    assert "less than or equal to 1000" in call(*options, "--rows", 12, "--n-seeds", 1001, code=2)
    assert "The goal (`--target`) must be one of cardiology, oncology" in call(
        *options, "--rows", 12, "--target", "cardio", code=1
    )
    assert "Lower `--cell-rows` to " in call(*options, "--rows", 12, "--cell-rows", 90, code=1)
    assert "90 of 24 leave none" in call(*options, "--rows", 90, "--available-only", code=1)
    assert "`held_out_share` must be above 0" in call(*options, "--rows", 9, "-p", "held_out_share=0", code=1)
    rows = [
        row | {"category": f"{row['category']}-{number % 4}"}
        for number, row in enumerate(read_json_lines(ward_file))
    ]
    ward_file.write_text(dump_rows(rows))
    assert "2 to 6 categories, but 8 were found" in call(*options, "--rows", 12, code=1)
    ward_file.write_text(dump_rows([*rows[:8], rows[8] | {"category": "lab notes"}, *rows[9:]]))
    said = " ".join(call(*options, "--rows", 12, code=1).split())
    assert "'lab notes' was found" in said
    assert f"{ward_file.name}:9" in said.replace(" ", "")
    assert not (runs / "tuning").exists()


def test_the_cells_hold_singles_pairs_all_and_tilted_mixtures_at_two_sizes():
    cells = design_mixtures({"a": 100, "b": 40, "c": 90}, 20)
    assert len(cells) == 3 + 3 + 1 + 3 + 3 + 1
    sizes = [sum(count or 0 for _, count in parse_parts(cell)) for cell in cells]
    assert sorted(set(sizes)) == [20, 40, 60]
    assert {"a:20", "b:40", "c:60", "a:10+b:10", "a:13+b:4+c:3", "a:20+b:20+c:20"} <= set(cells)


def test_the_tables_kept_of_a_study_give_the_same_losses_as_its_cells(toy_model, ward_file, tmp_path):
    study = Study.from_parameters(
        {
            "model": toy_model,
            "instructions": str(ward_file),
            "lattice": "",
            "mixtures": "cardiology:3+oncology:1",
            "controls": "all,oncology~shuffled",
            "n_rows": 4,
            "tasks": "evidence_yesno",
            "n_loss_items": 2,
            "held_out_share": 0.25,
        }
    )
    plan = MixturePlan(study, {}, {})
    plans = study.plan_cells(["all", "oncology~shuffled", "base", *study.grid_settings.mixture_cells])
    write_tables(*build_loss_tables(study, plans, tmp_path / "tables"))
    kept = read_mixtures(load_losses(tmp_path / "tables"), study.grid_settings.lattice_categories)
    found = collect_mixture_losses(plan)
    assert kept.columns.tolist() == found.columns.tolist()
    assert kept[["n_cardiology", "n_oncology"]].drop_duplicates().to_numpy().tolist() == [[0, 0], [3, 1]]
    keys = ["n_cardiology", "category", "id"]
    assert kept.sort_values(keys)["loss"].to_numpy() == pytest.approx(
        found.sort_values(keys)["loss"].to_numpy(), abs=1e-4
    )


@pytest.fixture(scope="module")
def simulated():
    """Return losses of a lattice with a known law."""
    return build_loss_arrays(simulate_losses("effective", true_laws("effective"), 2, 0))


def test_a_recommendation_says_its_intervals_and_one_that_cells_do_not_support_is_not_made(simulated):
    found = recommend(fit_losses(simulated, "effective", 100), SINGLES, 300)
    said = describe_recommendation(found, 300)
    assert re.search(
        r"Expected loss \d\.\d{3} nats per token \(95 % interval \d\.\d{3} to \d\.\d{3}\)\.", said
    )
    assert len(re.findall(r"saved \(95 % interval ", said)) == len(found.comparisons)
    found = recommend(fit_losses(simulated, "null", 100), SINGLES, 900)
    said = describe_recommendation(found, 900)
    assert "do not say which rows help" in said.replace("\n", " ")
    assert not re.search(r"(qa|ie|gen):\d", said)
    assert "No cell had 900 rows" in said


def test_a_mixture_of_more_rows_than_there_are_says_so():
    available = {"qa": 20, "gen": 1_400}
    assert describe_shortage({"qa": 20, "gen": 1_400}, available) == ""
    said = describe_shortage({"qa": 40, "gen": 1_500}, available)
    assert "there are 20 of 40 qa, 1,400 of 1,500 gen. `--available-only`" in said


def test_one_training_seed_is_told_to_be_too_few():
    assert "too narrow" in describe_trust(1)
    assert "2 training seeds" in describe_trust(2)


def test_a_category_without_rows_gets_advice_that_can_be_followed():
    with pytest.raises(StudyError, match=r"Lower `--cell-rows` to 2 or less, or add rows\."):
        design_mixtures({"qa": 3, "ie": 9}, 4)
    with pytest.raises(StudyError, match=r"not held out\. Add rows\."):
        design_mixtures({"qa": 0, "ie": 9}, 4)


@pytest.mark.parametrize("given", ["n_seeds=5", "endpoint=text", "n_rows=500", "tasks=exam_choice"])
def test_a_parameter_that_mixtures_do_not_heed_is_refused(options, given):
    told = " ".join(call("--rows", 8, *options, "-p", given, code=1).split())
    assert f"so `{given.split('=')[0]}` would not be heeded" in told
