"""Losses of the grid's cells: measured, written as tables without text, read back the same."""

import dataclasses
import json

import pandas as pd
import pytest
from exports import export_losses

from helpers.analysis.contrasts import contrast
from helpers.errors import StudyError
from helpers.files import sha256_file
from helpers.jsonl import dump_rows
from helpers.study import tables
from helpers.study.endpoints import keep_held_out, keep_tasks, loss_to_log_likelihood
from helpers.study.losses import KEYS, load_losses
from helpers.study.losses import _merge as merge_items
from helpers.study.study import Study


@pytest.fixture
def study(toy_model, instruction_file):
    parameters = {
        "model": toy_model,
        "instructions": str(instruction_file),
        "n_rows": 4,
        "batch_size": 4,
        "tasks": "evidence_yesno,patient_answer",
        "n_held_out": 3,
        "n_loss_items": 2,
        "held_out_share": 0.4,
        "n_seeds": 2,
        "controls": "",
        "answers": "none",
    }
    return Study.from_parameters(parameters)


def test_held_out_rows_are_never_tuned_on(study):
    training, held_out = (
        set(path.read_text().splitlines()) for path in (study.training_file, study.held_out_file)
    )
    assert not training & held_out
    assert len(training | held_out) == 40
    assert len(held_out) == 16


def test_losses_cover_held_out_rows_and_tasks_of_every_cell_and_seed(study):
    table = study.collect_losses(["base", "qa"])
    counts = table.groupby(["cell", "seed"]).size()
    assert counts.index.tolist() == [("base", 1), ("base", 2), ("qa", 1), ("qa", 2)]
    assert counts.nunique() == 1
    assert set(table["task"]) == {
        "held_out_qa",
        "held_out_ie",
        "held_out_gen",
        "evidence_yesno",
        "patient_answer",
    }
    base = table[table["cell"] == "base"]
    assert base[base["seed"] == 1]["text"].tolist() == base[base["seed"] == 2]["text"].tolist()


def test_an_endpoint_measures_what_it_needs_and_no_more(study, runs, toy_model, instruction_file):
    items = study.collect_endpoint(["base"])
    assert set(items["task"]) == {"held_out_qa", "held_out_ie", "held_out_gen"}
    assert not (runs / "answer_loss").exists()
    given = {"model": toy_model, "instructions": str(instruction_file), "held_out_share": 0.0}
    with pytest.raises(StudyError, match="needs held-out rows"):
        Study.from_parameters(given).collect_endpoint(["base"])


def test_tasks_stay_where_the_lattice_has_names_of_its_own(toy_model, instruction_file):
    named = instruction_file.read_text()
    for name, own in (("qa", "oncology"), ("ie", "cardiology"), ("gen", "notes")):
        named = named.replace(f'"category": "{name}"', f'"category": "{own}"')
    instruction_file.write_text(named)
    given = {"model": toy_model, "instructions": str(instruction_file), "tasks": "evidence_yesno"}
    given |= {"held_out_share": 0.4, "n_held_out": 3, "n_loss_items": 2}
    own = Study.from_parameters(given | {"lattice": "oncology+notes"}).collect_losses(["base"])
    assert set(own["task"]) == {"held_out_oncology", "held_out_notes", "evidence_yesno"}


def refuse_few(toy_model, tmp_path, runs, outputs, **others):
    """Compare cells on rows of which those of `gen` have some outputs; return what is said, and what ran."""
    rows = [
        {
            "id": f"{name}-{n}",
            "category": name,
            "instruction": f"Name drug {n} of {name}",
            "output": f"drug {n}",
        }
        for name in ("qa", "ie")
        for n in range(12)
    ]
    rows += [
        {"id": f"gen-{n}", "category": "gen", "instruction": f"Write {n}", "output": output}
        for n, output in enumerate(outputs)
    ]
    (tmp_path / "rows.jsonl").write_text(dump_rows(rows))
    given = {
        "model": toy_model,
        "instructions": str(tmp_path / "rows.jsonl"),
        "held_out_share": 0.5,
        "n_rows": 2,
    }
    with pytest.raises(StudyError, match="2 or more items a task, but 'held_out_gen' has") as told:
        Study.from_parameters(given | others).collect_endpoint(["base", "qa"])
    return str(told.value), {path.name for path in runs.iterdir()}


def test_a_category_with_too_few_held_out_rows_is_refused_before_a_model_is_loaded(toy_model, tmp_path, runs):
    said, stages = refuse_few(toy_model, tmp_path, runs, ["yes"])
    assert "has 0" in said or "has 1" in said
    assert stages == {"split"}


def test_held_out_rows_that_are_too_long_are_missed_before_any_model_is_tuned(toy_model, tmp_path, runs):
    said, stages = refuse_few(toy_model, tmp_path, runs, ["cough " * 200] * 12, max_tokens=200)
    assert "raise `held_out_share` or `max_tokens`" in said
    assert "held_out" in stages
    assert "tuning" not in stages


def test_tables_without_text_give_the_same_losses_back_and_grow_cell_by_cell(study, tmp_path):
    plans = study.plan_cells(["base", "qa", "ie"])
    folder = tmp_path / "tables"
    export_losses(study, plans[:2], folder)
    export_losses(study, plans, folder)
    found = load_losses(folder).collect(["base", "qa", "ie"], 4)
    keys = ["cell", "seed", "task", "item"]
    pd.testing.assert_frame_equal(
        found.sort_values(keys, ignore_index=True),
        study.collect_losses(["base", "qa", "ie"]).sort_values(keys, ignore_index=True)[found.columns],
        atol=1e-4,
        check_dtype=False,
    )
    assert not any("Say how" in path.read_text() for path in folder.iterdir())
    with pytest.raises(StudyError, match="No training seed has all of"):
        load_losses(folder).collect(["base", "gen"], 4)
    (folder / "text.csv").write_text("task,item\n")
    with pytest.raises(StudyError, match="not the table that its manifest names"):
        load_losses(folder)


def test_other_losses_of_a_cell_that_is_there_are_refused(study, tmp_path):
    """Such as those of another kind of device: the folder would hold cells of both."""
    plans = study.plan_cells(["base"])
    export_losses(study, plans, tmp_path)
    words = pd.read_csv(tmp_path / "text.csv").assign(base=lambda table: 1.05 * table["base"])
    words.to_csv(tmp_path / "text.csv", index=False)
    manifest = tables.parse_manifest(tmp_path)
    manifest["files"]["text.csv"] = sha256_file(tmp_path / "text.csv")
    (tmp_path / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(StudyError, match=r"text\.csv holds other losses of the same cells"):
        export_losses(study, plans, tmp_path)


def test_cells_computed_with_other_products_are_not_joined(study, tmp_path, monkeypatch):
    """A processor that rounds the factors gives other losses, also where no cell is there twice."""
    export_losses(study, study.plan_cells(["base"]), tmp_path)
    own = tables.describe_format("float32")
    monkeypatch.setattr(tables, "describe_format", lambda _: own | {"products": "others"})
    with pytest.raises(StudyError, match="holds cells of another study: their number formats of the"):
        export_losses(study, study.plan_cells(["qa"]), tmp_path)
    monkeypatch.undo()
    older = json.loads((tmp_path / "manifest.json").read_text())
    del older["device"]
    (tmp_path / "manifest.json").write_text(json.dumps(older))
    with pytest.raises(StudyError, match="was written by an older version"):
        export_losses(study, study.plan_cells(["base"]), tmp_path)


def test_an_export_into_tables_of_a_test_file_that_has_changed_is_refused_and_leaves_them_whole(
    study, tmp_path
):
    file, folder = tmp_path / "data" / "evidence_yesno.jsonl", tmp_path / "tables"
    file.parent.mkdir()
    evaluation = dataclasses.replace(study.evaluation_settings, tasks="evidence_yesno")
    study = dataclasses.replace(study, evaluation_settings=evaluation, data=str(file.parent))
    for context in ("A fever.", "A cough."):
        rows = [
            {"id": f"own-{n}", "split": "test", "context": context, "question": f"Is it {n}?"}
            | {"options": ["yes", "no"], "answer": n % 2}
            for n in range(4)
        ]
        file.write_text("".join(json.dumps(row) + "\n" for row in rows))
        if context == "A fever.":
            export_losses(study, study.plan_cells(["base"]), folder)
            before = {path.name: path.read_bytes() for path in folder.iterdir()}
    with pytest.raises(StudyError, match="holds cells of another study: their tests differ"):
        export_losses(study, study.plan_cells(["base"]), folder)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def test_cells_of_rows_of_another_domain_are_not_joined_with_those_of_other_rows(study, tmp_path):
    folder, rows = tmp_path / "tables", tmp_path / "rows.jsonl"
    export_losses(study, study.plan_cells(["base"]), folder)

    def use_rows(answer):
        kept = [{"instruction": f"Name town {n}", "output": f"{answer} {n}"} for n in range(8)]
        rows.write_text("".join(json.dumps(row) + "\n" for row in kept))
        grid = dataclasses.replace(study.grid_settings, controls="general", general=str(rows))
        return dataclasses.replace(study, grid_settings=grid)

    first = use_rows("Rome")
    export_losses(first, first.plan_cells(["base"]), folder)
    export_losses(first, first.plan_cells(["general"]), folder)
    export_losses(study, study.plan_cells(["base"]), folder)  # without such cells: what is known stays
    second = use_rows("Paris")
    export_losses(second, second.plan_cells(["base"]), folder)
    with pytest.raises(StudyError, match="holds cells `general` of other rows"):
        export_losses(second, second.plan_cells(["general"]), folder)


def test_a_study_without_choice_tasks_exports_again(study, tmp_path):
    evaluation = dataclasses.replace(study.evaluation_settings, tasks="patient_answer")
    study = dataclasses.replace(study, evaluation_settings=evaluation)
    for _ in range(2):
        export_losses(study, study.plan_cells(["base"]), tmp_path)
    assert load_losses(tmp_path).losses["choice"].empty


def test_a_folder_of_tables_of_an_older_version_is_refused_and_stays(study, tmp_path):
    export_losses(study, study.plan_cells(["base"]), tmp_path)
    manifest = tmp_path / "manifest.json"
    manifest.write_text(manifest.read_text().replace("text.csv", "words.csv"))
    before = manifest.read_text()
    with pytest.raises(StudyError, match=r"older version \(words\.csv\)"):
        export_losses(study, study.plan_cells(["base"]), tmp_path)
    assert manifest.read_text() == before


def test_cells_of_another_study_are_refused(study, tmp_path, toy_model, instruction_file):
    export_losses(study, study.plan_cells(["base"]), tmp_path)
    other = Study.from_parameters(
        {
            "model": toy_model,
            "instructions": str(instruction_file),
            "learning_rate": 0.1,
            "held_out_share": 0.4,
        }
    )
    with pytest.raises(StudyError, match="their settings differ"):
        export_losses(other, other.plan_cells(["base"]), tmp_path)


LOSSES = pd.DataFrame(
    {
        "cell": ["base", "base", "qa", "qa"],
        "task": "held_out_qa",
        "category": "qa",
        "item": ["a", "b", "a", "b"],
        "text": [4.0, 9.0, 2.0, 9.0],
        "end": [2.0, 1.0, 0.0, 1.0],
        "n_text_tokens": [2, 9, 2, 9],
        "n_text_bytes": [8, 36, 8, 36],
        "choice": [0.5, None, 0.1, None],
        "calibrated": [0.4, None, 0.2, None],
    }
)


@pytest.mark.parametrize(
    ("endpoint", "weighting", "gain"),
    [
        ("loss", "rows", (2 - 2 / 3) / 2),
        ("loss", "tokens", (16 - 12) / 13),
        ("text", "rows", (2 - 1) / 2),
        ("end", "rows", 2 / 2),
        ("choice", "rows", 0.5 - 0.1),
        ("calibrated", "rows", 0.4 - 0.2),
    ],
)
def test_a_gain_is_a_fall_of_the_endpoint_by_hand(endpoint, weighting, gain):
    table = loss_to_log_likelihood(LOSSES, endpoint, weighting)
    means = table.groupby("cell")["score"].mean()
    assert means["qa"] - means["base"] == pytest.approx(gain)


def test_the_two_kinds_of_items_are_told_apart():
    assert len(keep_held_out(LOSSES)) == 4
    assert keep_tasks(LOSSES).empty


def test_an_endpoint_that_no_item_has_or_that_is_unknown_is_refused():
    with pytest.raises(StudyError, match="No item has the endpoint 'choice'"):
        loss_to_log_likelihood(LOSSES.assign(choice=float("nan")), "choice")
    with pytest.raises(StudyError, match="`endpoint` must be a loss"):
        loss_to_log_likelihood(LOSSES, "score")


def test_averages_by_rows_and_by_tokens_are_kept_apart():
    by_rows, by_tokens = (
        loss_to_log_likelihood(LOSSES, weighting=weighting).groupby("cell")["score"].mean()["base"]
        for weighting in ("rows", "tokens")
    )
    assert -by_rows == pytest.approx((2 + 1) / 2)
    assert -by_tokens == pytest.approx(16 / 13)


def test_the_gain_of_a_cell_is_a_contrast_like_any_other():
    items = loss_to_log_likelihood(
        pd.concat([LOSSES, LOSSES.assign(item=lambda t: t["item"] + "2")]).assign(seed=1)
    )
    assert contrast(items, {"qa": 1, "base": -1})["estimate"] == pytest.approx(2 / 3)


def test_names_that_could_be_numbers_or_missing_values_stay_names(toy_model, tmp_path):
    names = ("NA", "1e5", "null")
    rows = [
        {"id": f"{n}e{place}", "category": name, "instruction": f"Name drug {n}", "output": f"drug {n}"}
        for place, name in enumerate(names)
        for n in range(8)
    ]
    rows += [{"id": name, "category": "NA", "instruction": f"Say {name}", "output": name} for name in names]
    (tmp_path / "rows.jsonl").write_text(dump_rows(rows))
    parameters = {
        "model": toy_model,
        "instructions": str(tmp_path / "rows.jsonl"),
        "lattice": "+".join(names),
    }
    parameters |= {"n_rows": 3, "tasks": "evidence_yesno", "n_loss_items": 2, "held_out_share": 0.4}
    study = Study.from_parameters(parameters | {"answers": "none", "controls": ""})
    held_out = [json.loads(line) for line in study.held_out_file.read_text().splitlines()]
    table = study.collect_losses(["base", "NA"])
    measured = keep_held_out(table[table["cell"] == "NA"])
    assert sorted(measured["item"]) == sorted(row["id"] for row in held_out)
    assert set(measured["task"]) == {f"held_out_{name}" for name in names}
    export_losses(study, study.plan_cells(["base", "NA", "1e5"]), tmp_path / "tables")
    export_losses(study, study.plan_cells(["null"]), tmp_path / "tables")
    tables = load_losses(tmp_path / "tables")
    assert list(tables.cells["cell"]) == ["base", "NA", "1e5", "null"]
    read = keep_held_out(tables.collect(["NA"], 3))
    assert sorted(read["item"]) == sorted(measured["item"])
    assert set(read["category"]) == set(names)


def test_losses_of_other_texts_under_the_same_ids_are_refused(tmp_path):
    known = pd.DataFrame(
        {"task": "medqa", "item": ["a"], "category": "qa", "n_text_tokens": 4, "n_text_bytes": 20}
    )
    path = tmp_path / "items.csv"
    path.write_text(merge_items(path, known.set_index(KEYS), whole=True))
    assert merge_items(path, known.set_index(KEYS), whole=True) == path.read_text()
    with pytest.raises(StudyError, match="holds other items"):
        merge_items(tmp_path / "items.csv", known.assign(n_text_tokens=5).set_index(KEYS), whole=True)
