"""A grid's scores as committed tables, and back."""

import json
import re
import shutil

import pandas as pd
import pytest
from exports import export_losses, export_scores

from helpers.analysis.reference_losses import SMOLLM2
from helpers.analysis.source_comparison import REFERENCE_FOLDERS, SCORE_GEMMA
from helpers.errors import StudyError
from helpers.evaluation.prepared_tasks import prepare_tasks
from helpers.models.wheels import name_for_readers
from helpers.paths import BOOK, ROOT
from helpers.study import scores, tables
from helpers.study.scores import (
    CELLS,
    SCORES,
    load_scores,
    merge_table,
    read_table_with_integers,
)
from helpers.study.study import Study
from helpers.study.tables import MANIFEST


@pytest.fixture(scope="module")
def made(toy_model, shared_instruction_file, tmp_path_factory):
    """Make the grid of two seeds once; return its parameters and its store."""
    tasks = "evidence_yesno,medication_status,patient_answer"
    values = {
        "model": toy_model,
        "instructions": str(shared_instruction_file),
        "held_out_share": 0.0,
        "n_rows": 4,
        "batch_size": 4,
        "n_items": 2,
        "tasks": tasks,
        "learning_rate": 1e-2,
    }
    values |= {"controls": "", "lattice": "qa+ie"}
    store = tmp_path_factory.mktemp("reference") / "runs"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("STUDY_RUNS", str(store))
        study = Study.from_parameters(values | {"n_seeds": 2})
        study.collect_scores_of_all_seeds(study.grid_settings.lattice_cells)
    return values, store


@pytest.fixture
def parameters(made, runs):
    """Give a test its own copy of the store; return the parameters of the grid that it holds."""
    values, store = made
    shutil.copytree(store, runs)
    return values


def test_the_tables_give_back_the_grid_item_by_item(parameters, tmp_path):
    study = Study.from_parameters(parameters | {"n_seeds": 2})
    export_scores(study, study.plan_grid(), tmp_path)
    found, made = (
        load_scores(tmp_path).items,
        study.collect_scores_of_all_seeds(study.grid_settings.lattice_cells),
    )
    keys = ["cell", "seed", "task", "item"]
    both = made.merge(found, on=keys, how="outer", suffixes=("", "_found"), validate="one_to_one")
    assert len(both) == len(made) == len(found)
    assert both["score_found"].to_numpy() == pytest.approx(both["score"].to_numpy(), abs=5e-5)
    assert (both["category"] == both["category_found"]).all()


@pytest.mark.parametrize("n_written", [0, 1, 2])
def test_an_export_that_was_killed_is_found_out_and_ends_as_one_that_was_not(
    parameters, tmp_path, monkeypatch, n_written
):
    study = Study.from_parameters(parameters)
    other = Study.from_parameters(parameters | {"n_rows": 5})
    killed, whole, left = tmp_path / "killed", tmp_path / "whole", [None] * (1 + n_written)
    write = tables.write_text

    def write_or_die(path, text):
        if not left:
            raise KeyboardInterrupt
        left.pop()
        write(path, text)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(tables, "write_text", write_or_die)
        export_scores(study, study.plan_grid(), killed)
    with pytest.raises(StudyError, match="was cut off before it wrote .* Run it again"):
        load_scores(killed)
    with pytest.raises(StudyError, match="another study"):
        export_scores(other, other.plan_grid(), killed)
    for folder in (killed, whole):
        export_scores(study, study.plan_grid(), folder)
    assert [(killed / name).read_bytes() for name in (SCORES, CELLS)] == [
        (whole / name).read_bytes() for name in (SCORES, CELLS)
    ]
    assert load_scores(killed).manifest["files"] == load_scores(whole).manifest["files"]


@pytest.mark.parametrize("text", ["", "[]", "{", "[" * 100_000, '{"files": []}'])
def test_a_damaged_manifest_of_tables_is_named(parameters, tmp_path, text):
    (tmp_path / MANIFEST).write_text(text)
    study = Study.from_parameters(parameters)
    for use in (load_scores, lambda folder: export_scores(study, study.plan_grid(), folder)):
        with pytest.raises(StudyError, match=r"manifest\.json cannot be read"):
            use(tmp_path)
    assert (tmp_path / MANIFEST).read_text() == text


def test_no_text_of_a_test_item_or_an_answer_is_in_the_tables(parameters, tmp_path):
    study = Study.from_parameters(parameters)
    export_scores(study, study.plan_grid(), tmp_path)
    text = "".join(path.read_text() for path in tmp_path.iterdir() if path.is_file())
    answers = study.collect_scores_of_all_seeds(study.grid_settings.lattice_cells)["response"].dropna()
    assert all(answer not in text for answer in answers if len(answer) > 20)
    assert set(pd.read_csv(tmp_path / SCORES).columns[:2]) == {"task", "item"}


def test_the_manifest_says_how_often_the_commonest_answer_is_right(parameters, tmp_path):
    study = Study.from_parameters(parameters | {"tasks": "evidence_yesno,patient_answer", "n_items": 8})
    export_scores(study, [plan for plan in study.plan_grid() if plan.id == "base"], tmp_path)
    tests = json.loads((tmp_path / MANIFEST).read_text())["tests"]
    (prepared,) = (
        prepared
        for prepared in prepare_tasks(study.evaluation_settings)
        if prepared.task.name == "evidence_yesno"
    )
    right = [item.options[item.answer] for item in prepared.items]
    assert tests["evidence_yesno"]["commonest"] == max(right.count("yes"), right.count("no")) / 8
    assert "commonest" not in tests["patient_answer"]


def test_a_grid_grows_over_several_exports_and_a_seed_counts_once_it_is_whole(parameters, tmp_path):
    study = Study.from_parameters(parameters | {"n_seeds": 2})
    first, second = (
        [plan for plan in study.plan_grid() if plan.seed != 2],
        [plan for plan in study.plan_grid() if plan.seed == 2],
    )
    export_scores(study, [*first, second[0]], tmp_path)
    before = (tmp_path / SCORES).read_text()
    assert set(load_scores(tmp_path).items["seed"]) == {1}
    export_scores(study, second, tmp_path)
    assert set(load_scores(tmp_path).items["seed"]) == {1, 2}
    rows = zip(before.splitlines(), (tmp_path / SCORES).read_text().splitlines(), strict=True)
    assert all(new.startswith(old) for old, new in rows)


def test_ids_of_items_stay_as_they_are(tmp_path):
    for cell in ("base", "qa-n4-s1"):
        table = pd.DataFrame(
            {cell: [0.5, 1.0]},
            index=pd.MultiIndex.from_tuples([("medqa", "0592"), ("medqa", "1")], names=["task", "item"]),
        )
        (tmp_path / SCORES).write_text(merge_table(tmp_path / SCORES, table, ["task", "item"]))
    found = read_table_with_integers(tmp_path / SCORES)
    assert found["item"].tolist() == ["0592", "1"]
    assert found["qa-n4-s1"].tolist() == [0.5, 1.0]


def test_an_export_of_a_cell_with_other_numbers_is_refused_and_leaves_the_tables_whole(
    parameters, tmp_path, monkeypatch
):
    study = Study.from_parameters(parameters)
    folder, plans = tmp_path / "tables", [plan for plan in study.plan_grid() if plan.id == "base"]
    export_scores(study, plans, folder)
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    collect = scores.collect_items
    monkeypatch.setattr(scores, "collect_items", lambda cells: collect(cells).assign(score=0.123))
    with pytest.raises(StudyError, match="other numbers of the same cells"):
        export_scores(study, plans, folder)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def test_cells_of_another_size_are_left_out_and_half_a_lattice_is_refused(parameters, tmp_path):
    study = Study.from_parameters(parameters | {"sizes": "3"})
    export_scores(study, study.plan_grid(), tmp_path / "all")
    assert not load_scores(tmp_path / "all").items.duplicated(["cell", "seed", "task", "item"]).any()
    export_scores(study, study.plan_grid()[:2], tmp_path / "half")
    with pytest.raises(StudyError, match="No training seed has all of base, qa, ie, qa\\+ie"):
        load_scores(tmp_path / "half")


def test_every_row_carries_the_id_of_its_cell(parameters, tmp_path):
    study = Study.from_parameters(parameters | {"sizes": "3", "n_seeds": 2, "controls": "all"})
    export_scores(study, study.plan_grid(), tmp_path)
    found = load_scores(tmp_path)
    assert set(found.items["cell_id"]) == {
        plan.id
        for plan in study.plan_grid()
        if plan.name in study.grid_settings.lattice_cells and plan.n_rows in (0, 4)
    }
    scores = read_table_with_integers(tmp_path / SCORES).set_index(["task", "item"])
    for cell_id, rows in found.items.groupby("cell_id"):
        assert (
            rows["score"].tolist()
            == scores.loc[[*zip(rows["task"], rows["item"], strict=True)], cell_id].tolist()
        )


def test_cells_of_another_study_do_not_mix(parameters, tmp_path):
    study = Study.from_parameters(parameters)
    export_scores(study, study.plan_grid()[:1], tmp_path)
    other = Study.from_parameters(parameters | {"learning_rate": 1e-3})
    with pytest.raises(StudyError, match="their settings differ"):
        export_scores(other, other.plan_grid()[:1], tmp_path)


def test_an_altered_table_is_refused(parameters, tmp_path):
    study = Study.from_parameters(parameters)
    export_scores(study, study.plan_grid(), tmp_path)
    (tmp_path / CELLS).write_text((tmp_path / CELLS).read_text().replace("qa", "ie"))
    with pytest.raises(StudyError, match="is not the table"):
        load_scores(tmp_path)
    with pytest.raises(StudyError, match=r"is not the table .* or export into another folder"):
        export_scores(study, study.plan_grid()[:1], tmp_path)  # it would give the altered one a digest


@pytest.mark.parametrize("export", [export_scores, export_losses])
def test_tables_that_no_export_wrote_take_no_cells(parameters, tmp_path, export):
    folder = tmp_path / "tables"
    folder.mkdir()
    (folder / CELLS).write_text("name,age\nsomebody,50\n")
    study = Study.from_parameters(parameters)
    with pytest.raises(StudyError, match=r"cells\.csv is no table of an export"):
        export(study, study.plan_grid()[:1], folder)
    assert [path.name for path in folder.iterdir()] == [CELLS]


def test_pages_name_the_models_of_the_two_reference_runs_as_the_tables_do():
    tables = {"score": REFERENCE_FOLDERS[SCORE_GEMMA], "loss": scores.REFERENCE_FOLDER / SMOLLM2 / "losses"}
    texts = [page.read_text(encoding="utf-8") for page in (ROOT / "README.md", *BOOK.glob("*.md"))]
    named = re.findall(r"reference run by (score|loss)\*? \(([^,)]+)", "\n".join(texts))
    assert {run for run, _ in named} == set(tables)
    for run, name in named:
        settings = json.loads((tables[run] / MANIFEST).read_text(encoding="utf-8"))["settings"]
        assert name == name_for_readers(settings["tuning"]["model"])
