"""The grid's cells: which there are, what each is tuned with, what the store says of them."""

import dataclasses
import subprocess
import sys

import pandas as pd
import pytest

from helpers.errors import StudyError
from helpers.files import write_text
from helpers.jsonl import dump_rows, read_json_lines
from helpers.settings import build_settings
from helpers.study.grid import (
    LATTICE,
    PAIRS,
    CellPlan,
    GridSettings,
    list_lattice,
    list_row_columns,
    name_subset,
    plan_cells,
)
from helpers.study.study import Study
from helpers.tuning.stage import ROWS_FILE, tune


@pytest.fixture
def parameters(toy_model, instruction_file):
    tasks = "evidence_yesno,medication_status,patient_answer"
    return {
        "model": toy_model,
        "instructions": str(instruction_file),
        "held_out_share": 0.0,
        "n_rows": 4,
        "batch_size": 4,
        "n_items": 2,
        "tasks": tasks,
        "learning_rate": 1e-2,
    }


READ_CELLS = """
import sys
from helpers.store import load_only
from helpers.study.study import Study

study = Study.from_parameters({parameters})
with load_only():
    study.answer_cells_of_one_seed(["base", "qa"])
    study.collect_losses(["base", "qa"])
sys.exit("torch" in sys.modules)
"""


def test_stored_cells_are_read_without_pytorch(parameters):
    parameters |= {"tasks": "evidence_yesno", "held_out_share": 0.4, "n_held_out": 2, "n_loss_items": 2}
    study = Study.from_parameters(parameters)
    study.answer_cells_of_one_seed(["base", "qa"])
    study.collect_losses(["base", "qa"])
    ask = READ_CELLS.replace("{parameters}", repr(parameters))
    subprocess.run([sys.executable, "-c", ask], check=True)


def test_the_lattice_holds_every_subset_once_from_none_to_all():
    assert LATTICE == ("base", "qa", "ie", "gen", "qa+ie", "qa+gen", "ie+gen", "qa+ie+gen")
    assert len(set(list_lattice(("qa", "ie", "gen", "other")))) == 16


def test_the_name_of_a_cell_is_refused_where_no_file_could_have_it(tmp_path):
    names = ["é" * 16 + str(n) for n in range(6)]
    grid = GridSettings(lattice="+".join(name[:14] + name[-1] for name in names))
    grid.check_names()
    plan = CellPlan(grid.lattice_cells[-1], 10**9, 2**32 - 1)
    write_text(tmp_path / f"{plan.id}.done", "")
    with pytest.raises(StudyError, match="at most 200 bytes.*has 203"):
        GridSettings(lattice="+".join(names)).check_names()


def test_no_cell_answers_where_none_is_to_even_one_of_that_name():
    assert not GridSettings(lattice="none+qa", answers="none").asks_for_answers("none")
    assert GridSettings(lattice="none+qa", answers="none,qa").asks_for_answers("none")


def test_a_subset_has_one_name_whichever_category_is_named_first():
    assert name_subset(("gen", "qa")) == name_subset(("qa", "gen")) == PAIRS[1] == "qa+gen"
    assert GridSettings(lattice="gen+qa").lattice_cells == ("base", "qa", "gen", "qa+gen")


def test_a_fixed_budget_is_the_same_for_all_and_an_additive_one_grows_with_the_categories():
    fixed, additive = GridSettings(), GridSettings(budget="additive")
    assert [fixed.count_rows(name, 48) for name in ("base", "qa", "qa+ie", "qa+ie+gen", "all")] == [
        0,
        48,
        48,
        48,
        48,
    ]
    assert [additive.count_rows(name, 48) for name in ("base", "qa", "qa+ie", "qa+ie+gen", "all")] == [
        0,
        48,
        96,
        144,
        144,
    ]


@pytest.mark.parametrize("name", ["all", "shuffled", "all~shuffled"])
def test_a_control_of_all_rows_is_as_large_as_the_largest_cell_of_an_additive_budget(name):
    assert GridSettings(budget="additive", controls=name).count_rows(name, 48) == 3 * 48


def test_every_tuned_cell_comes_once_a_seed_and_the_base_model_once():
    plans = plan_cells(["base", "qa", "qa+ie"], GridSettings(n_seeds=3), 48, 5)
    assert [plan.id for plan in plans] == [
        "base",
        *(f"{name}-n48-s{seed}" for seed in (5, 6, 7) for name in ("qa", "qa+ie")),
    ]


@pytest.mark.parametrize(
    ("parameter", "message"),
    [
        ({"budget": "both"}, "`budget` must be one of"),
        ({"lattice": "qa"}, "two or more"),
        ({"lattice": "qa+qa"}, "`categories` must be"),
        ({"lattice": "qa:4+ie:4"}, "two or more"),
        ({"lattice": "a+b+c+d+e+f+g"}, "6 categories at most, but 7 were found: 127 models"),
        ({"mixtures": "qa:4+ie"}, "`categories` must be"),
        ({"mixtures": "qa+ie"}, "must name the rows of each"),
        ({"controls": "all,random"}, "'random' was found"),
        ({"controls": "qa~reversed"}, "A control must be one of shuffled, lengths, tokens"),
        ({"controls": "general"}, "`general` is empty"),
        ({"sizes": "12,many"}, "whole numbers"),
        ({"sizes": "0"}, "whole numbers"),
        ({"n_seeds": 0}, "at least 1"),
        (
            {"answers": "qa,ie+qa"},
            "`answers` must be all, none or some of base, qa, .* but 'ie\\+qa' was found",
        ),
        ({"answers": "none,qa"}, "but 'none' was found"),
    ],
)
def test_a_parameter_of_the_grid_that_means_nothing_is_refused(parameter, message):
    with pytest.raises(StudyError, match=message):
        Study.from_parameters(parameter)


@pytest.mark.parametrize("answers", ["all", "none", "base, qa+ie,shuffled", "qa:3+ie:1"])
def test_answers_are_asked_of_cells_of_the_grid(answers):
    grid = Study.from_parameters(
        {"answers": answers, "controls": "shuffled", "mixtures": "ie:1+qa:3,qa:4+ie:4"}
    ).grid_settings
    cells = [*grid.lattice_cells, "shuffled", "qa:3+ie:1"]
    asked = {"all": cells, "none": []}.get(answers, [name.strip() for name in answers.split(",")])
    assert [name for name in cells if grid.asks_for_answers(name)] == [n for n in cells if n in asked]


def test_the_plan_of_a_study_holds_lattice_controls_and_sizes():
    study = Study.from_parameters({"n_rows": 8, "sizes": "4,8", "controls": "all,shuffled,ie~shuffled"})
    ids = [plan.id for plan in study.plan_grid()]
    assert len(ids) == len(set(ids)) == 8 + 3 + 7
    assert {"base", "qa+ie+gen-n8-s1", "shuffled-n8-s1", "ie~shuffled-n8-s1", "qa-n4-s1"} <= set(ids)


def test_mixtures_by_rows_are_cells_beside_the_lattice_and_equal_parts_are_its_own_cells():
    study = Study.from_parameters(
        {"n_rows": 8, "n_seeds": 2, "controls": "", "mixtures": "gen:2+qa:6, qa:4+ie:4,qa:3+ie:2, qa:5"}
    )
    extra = [plan for plan in study.plan_grid() if plan.name not in LATTICE or plan.n_rows not in (0, 8)]
    assert [plan.id for plan in extra] == [
        "qa.6+gen.2-n8-s1",
        "qa+ie-n5-s1",
        "qa-n5-s1",
        "qa.6+gen.2-n8-s2",
        "qa+ie-n5-s2",
        "qa-n5-s2",
    ]
    assert extra[0].name == "qa:6+gen:2"


def test_a_mixture_is_tuned_on_its_rows_and_goes_through_the_store(parameters):
    study = Study.from_parameters(parameters | {"mixtures": "ie:1+qa:3", "controls": ""})
    plan = next(plan for plan in study.plan_grid() if ":" in plan.name)
    tuning, *_ = study.run_cell(plan)
    assert pd.read_csv(tuning.file(ROWS_FILE))["category"].value_counts().to_dict() == {"qa": 3, "ie": 1}
    assert study.find_cell_state(plan) == "done"


@pytest.fixture
def ward_file(instruction_file):
    """Write the rows under names of categories that the study does not know."""
    names = {"qa": "oncology", "ie": "cardiology", "gen": "qa", "other": "intensive-care"}
    rows = [row | {"category": names[row["category"]]} for row in read_json_lines(instruction_file)]
    path = instruction_file.with_name("wards.jsonl")
    path.write_text(dump_rows(rows))
    return path


def test_an_empty_lattice_takes_any_categories_from_the_rows(parameters, ward_file):
    study = Study.from_parameters(parameters | {"instructions": str(ward_file), "lattice": ""})
    assert study.grid_settings.lattice_categories == ("qa", "cardiology", "intensive-care", "oncology")
    assert len(study.grid_settings.lattice_cells) == 16
    [cell] = study.answer_cells_of_all_seeds(["oncology+cardiology"])
    assert pd.read_csv(cell.tuning.file(ROWS_FILE))["category"].value_counts().to_dict() == {
        "cardiology": 2,
        "oncology": 2,
    }


def test_a_cell_of_a_category_that_the_rows_lack_is_refused_before_any_runs(parameters, ward_file):
    study = Study.from_parameters(parameters | {"instructions": str(ward_file)})
    with pytest.raises(StudyError, match=r"\(qa, cardiology, intensive-care, oncology\), but 'ie' was found"):
        study.plan_grid()
    study = Study.from_parameters(parameters | {"instructions": str(ward_file), "held_out_share": 0.4})
    with pytest.raises(StudyError, match="An empty `lattice` takes those of the rows"):
        study.check_held_out_rows()


def test_a_cell_is_missing_then_tuned_then_done_and_looking_it_up_computes_nothing(parameters, runs):
    study = Study.from_parameters(parameters)
    plan, base = CellPlan("qa+ie", 4, 1), CellPlan("base")
    assert study.find_cell_state(plan) == study.find_cell_state(base) == "missing"
    assert not runs.exists()  # rows of a file of one's own are held out by share, here none
    tune(dataclasses.replace(study.tuning_settings, categories="qa+ie"), study.training_file)
    assert study.find_cell_state(plan) == "tuned"
    study.run_cell(plan)
    assert study.find_cell_state(plan) == "done"
    assert study.find_cell_state(base) == "missing"


def test_an_additive_pair_is_tuned_on_the_rows_of_both_singles(parameters):
    study = Study.from_parameters(parameters | {"budget": "additive"})
    rows = {
        cell.name: set(pd.read_csv(cell.tuning.file(ROWS_FILE))["id"])
        for cell in study.answer_cells_of_all_seeds(["qa", "ie", "qa+ie"])
    }
    assert rows["qa+ie"] == rows["qa"] | rows["ie"]
    assert len(rows["qa+ie"]) == 8


def test_items_of_several_seeds_hold_the_base_model_under_each(parameters):
    items = Study.from_parameters(parameters | {"n_seeds": 2}).collect_scores_of_all_seeds(["base", "qa"])
    assert items.groupby(["cell", "seed"]).size().to_dict() == {
        ("base", 1): 6,
        ("base", 2): 6,
        ("qa", 1): 6,
        ("qa", 2): 6,
    }
    base = items[items["cell"] == "base"]
    assert base[base["seed"] == 1]["score"].tolist() == base[base["seed"] == 2]["score"].tolist()


def test_general_rows_come_from_their_own_file(parameters, instruction_file):
    general = instruction_file.with_name("general.jsonl")
    general.write_text(instruction_file.read_text().replace("fever", "weather"))
    study = Study.from_parameters(parameters | {"controls": "general", "general": str(general)})
    [cell] = study.answer_cells_of_all_seeds(["general"])
    assert (cell.name, cell.seed) == ("general", 1)
    assert pd.read_csv(cell.tuning.file(ROWS_FILE))["instruction"].str.contains("weather").all()
    with pytest.raises(StudyError, match="`general` must name a JSONL file"):
        Study.from_parameters(
            parameters | {"controls": "general", "general": "none.jsonl"}
        ).answer_cells_of_all_seeds(["general"])


def test_the_defaults_of_the_grid_are_valid():
    build_settings(GridSettings, {}).check_names()


def test_rows_by_category_of_a_cell_are_columns_of_the_mixture_law():
    names = ("qa", "ie", "gen")
    assert list_row_columns("qa+gen", 5, names) == {"n_qa": 3, "n_ie": 0, "n_gen": 2}
    assert list_row_columns("qa:1+gen:4", 5, names) == {"n_qa": 1, "n_ie": 0, "n_gen": 4}
    assert list_row_columns("base", 0, names) == {"n_qa": 0, "n_ie": 0, "n_gen": 0}
    for control in ("all", "shuffled", "qa~shuffled", "general"):
        with pytest.raises(StudyError, match=f"the control '{control}'"):
            list_row_columns(control, 5, names)


def test_an_empty_lattice_without_a_file_is_refused():
    with pytest.raises(StudyError, match=r"such as lattice=qa\+ie\+gen\+other"):
        Study.from_parameters({"lattice": ""})


@pytest.mark.parametrize(
    "given", [{"data": 5}, {"instructions": None}, {"data": "toy\0"}, {"instructions": "x" * 2000}]
)
def test_a_name_of_a_file_that_can_be_none_is_refused(given):
    with pytest.raises(StudyError, match=f"`{next(iter(given))}` must "):
        Study.from_parameters(given | {"lattice": ""})
