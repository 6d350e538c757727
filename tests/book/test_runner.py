"""The runner: refuse before running, publish only what finished."""

import dataclasses
from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_notebook

from helpers.book import parameters, profiles, runner
from helpers.book.parameters import inspect_notebooks, parse_assignments, plan_parameters, read_parameters
from helpers.book.profiles import read_profile
from helpers.book.runner import add_instructions, plan_run, run_notebook
from helpers.errors import StudyError
from helpers.files import write_text
from helpers.jsonl import dump_rows
from helpers.study.study import Study


@pytest.fixture
def toy_notebooks(tmp_path, monkeypatch):
    """Put the runner into a project of its own with one notebook, and return a function that writes its
    cells.
    """
    folders = {name: tmp_path / name for name in ("notebooks", "book")}
    for folder in folders.values():
        folder.mkdir()
    for module in (parameters, runner):
        monkeypatch.setattr(module, "NOTEBOOKS", folders["notebooks"])
    monkeypatch.setattr(runner, "ROOT", tmp_path)

    def write(*sources, tagged=True):
        cells = [new_code_cell(source) for source in sources]
        cells[0].metadata["tags"] = ["parameters"] if tagged else []
        path = folders["notebooks"] / "01_toy.ipynb"
        nbformat.write(
            new_notebook(
                cells=cells,
                metadata={
                    "kernelspec": {"name": "python3", "language": "python", "display_name": "Python 3"}
                },
            ),
            path,
        )
        return path

    return write


def test_a_misspelt_parameter_is_refused_with_the_nearest_name():
    with pytest.raises(StudyError, match="No notebook has a parameter `lora_rnak`. Did you mean `lora_rank`"):
        plan_run("smoke", [], ["lora_rnak=4"])


@pytest.mark.parametrize(
    ("assignment", "message"),
    [
        ("lora_rank=four", "must be int, but 'four'"),
        ("lora_rank=4.5", "must be int, but '4.5'"),
        ("learning_rate=fast", "must be float, but 'fast'"),
        ("n_rows=0", "at least 1"),
        ("learning_rate=nan", "finite"),
        ("lora_dropout=2", "at most 0.9"),
        ("categories=qa+qa", "`categories` must be"),
        ("tasks=medqq", "'medqq' was found"),
        ("n_rows=[1", "must be int"),
        ("n_rows", "name=value"),
    ],
)
def test_a_value_of_the_wrong_type_or_range_is_refused_before_anything_runs(assignment, message, runs):
    with pytest.raises(StudyError, match=message):
        plan_run("smoke", [], [assignment])
    assert not runs.exists()


def test_floats_may_be_written_in_any_usual_form():
    assert plan_parameters("smoke", ["learning_rate=1e-3"])["learning_rate"] == pytest.approx(0.001)
    assert plan_parameters("smoke", ["lora_dropout=0"])["lora_dropout"] == 0.0


def test_text_may_look_like_a_number_or_be_empty():
    assert parse_assignments(["teacher=4", "instructions="]) == {"teacher": "4", "instructions": ""}
    assert plan_parameters("smoke", ["teacher=4"])["teacher"] == "4"


def test_a_default_that_one_notebook_changes_must_be_given_instead():
    declared_by = inspect_notebooks()
    ablation = next(path for path in declared_by if path.name.startswith("04"))
    edited = dataclasses.replace(declared_by[ablation]["n_rows"], default=60)
    declared_by[ablation] = declared_by[ablation] | {"n_rows": edited}
    with pytest.raises(StudyError, match="`n_rows` is 60 in the parameters cell of .*04.* but 48 everywhere"):
        plan_parameters("laptop", [], declared_by)
    assert plan_parameters("laptop", ["n_rows=60"], declared_by)["n_rows"] == 60


def test_a_parameter_that_no_chosen_notebook_feels_is_refused():
    with pytest.raises(StudyError, match="None of the chosen notebooks has a parameter `categories`"):
        plan_run("smoke", ["04"], ["categories=qa"])
    with pytest.raises(StudyError, match="None of the chosen notebooks has a parameter `endpoint`"):
        plan_run("smoke", ["04"], ["endpoint=text"])  # its endpoint is named before the result
    with pytest.raises(StudyError, match="needs held-out rows, but `held_out_share` is 0"):
        plan_run("smoke", [], ["held_out_share=0"])
    for assignment in ("answers=none", "mixtures=qa:4+ie:2"):
        with pytest.raises(StudyError, match="Leave it out, or give it to `study grid`"):
            plan_run("smoke", [], [assignment])
        assert plan_parameters("smoke", [assignment])
    assert plan_run("smoke", ["05"], ["held_out_share=0", "endpoint=choice"])
    assert plan_run("smoke", ["04"], ["n_requests=3"])


@pytest.mark.parametrize(
    ("only", "assignments", "message"),
    [
        ("03", ["tasks=sentence_inference"], "it names sentence_inference alone"),
        ("04", ["tasks=sentence_inference,mednli"], "it names sentence_inference, mednli alone"),
        ("05", ["tasks=mednli", "endpoint=score"], "it names mednli alone"),
        ("05", ["tasks=patient_answer", "endpoint=score", "lattice=qa+ie"], r"categories \(qa, ie\), but"),
        ("05", ["tasks=pronoun_resolution", "endpoint=choice"], r"\(qa, ie, gen\) that have options, but"),
        ("05", ["endpoint=calibrated", "lattice=ie+gen"], r"\(ie, gen\) that have options, but `tasks`"),
        ("04", ["n_held_out=3"], "`n_held_out` must be at least 4 in lesson 4, .* but 3 was found"),
        ("01", ["example_seed=seed-999"], "id of a seed task, seed-001 to seed-080, but 'seed-999'"),
    ],
)
def test_what_would_end_a_lesson_after_its_models_are_tuned_is_refused_before(
    only, assignments, message, runs
):
    with pytest.raises(StudyError, match=message):
        plan_run("smoke", [only], assignments)
    assert not runs.exists()


@pytest.mark.parametrize(
    ("only", "assignments"),
    [
        ("02", ["tasks=sentence_inference"]),
        ("03", ["tasks=sentence_inference,pronoun_resolution"]),
        ("04", ["n_held_out=4"]),
        ("05", ["tasks=sentence_inference"]),  # compared by held-out rows
        ("05", ["n_held_out=2"]),
        ("05", ["endpoint=choice", "tasks=evidence_yesno,pronoun_resolution"]),
        ("01", ["example_seed=seed-080"]),
    ],
)
def test_what_a_lesson_can_compare_is_let_through(only, assignments):
    assert plan_run("smoke", [only], assignments)


def test_no_live_teacher_is_paid_for_rows_that_no_lesson_reads(instruction_file):
    own = [f"instructions={instruction_file}", "teacher=gpt-5.5", "max_cost_tokens=1000"]
    with pytest.raises(StudyError, match=r"would pay the teacher 'gpt-5\.5' .* `teacher=recorded`"):
        plan_run("smoke", ["02", "03"], own)


def test_rows_that_are_too_few_for_a_lesson_are_refused_before_a_model_is_tuned(tmp_path):
    rows = [
        {"id": f"{name}{n}", "category": name, "instruction": f"Ask {name} {n}", "input": "", "output": "yes"}
        for name in ("ward", "notes")
        for n in range(12)
    ]
    (tmp_path / "rows.jsonl").write_text(dump_rows(rows))
    own = [f"instructions={tmp_path / 'rows.jsonl'}", "lattice="]
    with pytest.raises(StudyError, match="Lesson 4 needs 4 or more held-out rows a category, .* has [23]"):
        plan_run("smoke", ["04"], [*own, "held_out_share=0.2"])
    assert plan_run("smoke", ["04"], [*own, "held_out_share=0.5"])
    assert plan_run("smoke", ["05"], [*own, "held_out_share=0.2"])
    with pytest.raises(StudyError, match=r"lattice's categories \(notes, ward\), but `tasks` names none"):
        plan_run("smoke", ["05"], [*own, "endpoint=score"])


def test_a_kernel_that_dies_is_reported_too(toy_notebooks, tmp_path):
    path = toy_notebooks("x: int = 1  # a number", "import os; os._exit(1)")
    with pytest.raises(StudyError, match="the kernel died"):
        run_notebook(path, {}, tmp_path / "book")


def test_an_unknown_profile_lists_the_known_ones():
    with pytest.raises(StudyError, match="laptop, paper, reference, smoke, but 'huge' was found"):
        plan_run("huge", [], [])


def test_an_unknown_notebook_number_is_refused():
    with pytest.raises(StudyError, match="by number"):
        plan_run("smoke", ["09"], [])


@pytest.mark.parametrize("profile", ["smoke", "laptop", "reference", "paper"])
def test_every_profile_is_valid(profile):
    assert plan_parameters(profile, [])


def test_the_paper_profile_marks_each_value_as_the_papers_or_ours():
    text = (profiles.PROFILES / "paper.yaml").read_text()
    assert all(
        "# paper" in line or "# ours" in line
        for line in text.splitlines()
        if line and not line.startswith("#")
    )


def test_each_notebook_gets_its_own_parameters_and_later_ones_the_instruction_file():
    plan = {
        notebook.stem: parameters
        for notebook, parameters in plan_run("smoke", ["02", "04"], ["n_requests=3"])[1]
    }
    assert plan["02_instruction_synthesis"]["n_requests"] == 3
    assert "endpoint" not in plan["02_instruction_synthesis"]
    assert "n_requests" not in plan["04_category_ablation"]
    _, [(_, seeds), (_, parameters)] = plan_run("smoke", ["01", "04"], [])
    study = Study.from_parameters({"n_requests": 3})
    assert add_instructions(parameters, study)["instructions"].endswith("instructions.jsonl")
    assert "instructions" not in add_instructions(seeds, study)


def test_a_models_folder_is_the_one_that_the_user_means_and_not_one_of_the_projects(tmp_path, monkeypatch):
    (tmp_path / "toy").mkdir()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(StudyError, match=f"Give {tmp_path / 'toy'}"):
        plan_run("smoke", ["04"], ["model=toy"])
    _, [(_, parameters)] = plan_run("smoke", ["04"], [f"model={tmp_path / 'toy'}"])
    assert parameters["model"] == str(tmp_path / "toy")
    (tmp_path / "smollm2-135m").mkdir()  # a known model goes before a folder of its name
    _, [(_, parameters)] = plan_run("smoke", ["04"], ["model=smollm2-135m"])
    assert parameters["model"] == "smollm2-135m"


def test_a_live_teacher_is_asked_before_the_kernel_starts(provider):
    limits = {"max_cost_tokens": 10**6, "reply_format": "json", "n_requests": 2}
    given = {"teacher": "toy", "teacher_url": provider.url} | limits
    assert add_instructions(given, Study.from_parameters(given)) == given
    assert sum(provider.sent.values()) == 2


def test_each_parameters_cell_is_read_once(monkeypatch):
    read = []
    monkeypatch.setattr(
        parameters, "read_parameters", lambda notebook: read.append(notebook) or read_parameters(notebook)
    )
    plan_run("smoke", ["02", "04"], [])
    assert read == parameters.list_notebooks()


def test_a_profile_that_is_no_mapping_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(profiles, "PROFILES", tmp_path)
    (tmp_path / "list.yaml").write_text("- a\n")
    (tmp_path / "torn.yaml").write_text("a: [\n")
    with pytest.raises(StudyError, match="must map parameters"):
        read_profile("list")
    with pytest.raises(StudyError, match="not valid YAML"):
        read_profile("torn")


def test_a_notebook_without_a_parameters_cell_is_refused(toy_notebooks):
    with pytest.raises(StudyError, match="no cell tagged `parameters`"):
        read_parameters(toy_notebooks("x: int = 1  # a number", tagged=False))


@pytest.mark.parametrize(
    "text",
    ["", "[]", "4", "<<<<<<< mine", '{"cells": 4}', '{"cells": [[]]}', "[" * 100_000, '{"cells": [{}]}'],
)
def test_a_file_that_is_no_notebook_is_named(toy_notebooks, text):
    path = toy_notebooks("x: int = 1  # a number")
    path.write_text(text)
    with pytest.raises(StudyError, match=r"01_toy\.ipynb cannot be read as a notebook. Restore it"):
        read_parameters(path)


@pytest.mark.parametrize("value", ["4 * 12", "n", "[1"])
def test_a_default_that_is_no_plain_value_is_named(toy_notebooks, value):
    with pytest.raises(StudyError, match=r"`x` must have a plain value, but .* was found .*01_toy\.ipynb"):
        read_parameters(toy_notebooks(f"x: int = {value}  # a number"))


def test_a_finished_notebook_is_published_with_its_parameters_and_no_path_of_the_machine(
    toy_notebooks, tmp_path, monkeypatch
):
    monkeypatch.setenv("STUDY_RUNS", str(tmp_path / "{user}" / "{x"))  # braces, which papermill would fill in
    path = toy_notebooks("x: int = 1  # a number", "print('x is', x)")
    run_notebook(path, {"x": 7}, tmp_path / "book")
    assert (tmp_path / "{user}" / "{x").is_dir()
    published = (tmp_path / "book" / "01_toy.ipynb").read_text()
    assert "x is 7" in published
    assert str(tmp_path) not in published


def test_notebooks_run_in_the_projects_folder_and_are_published_where_the_user_stands(
    toy_notebooks, tmp_path, monkeypatch
):
    path = toy_notebooks(
        "x: int = 1  # a number", "from pathlib import Path; print('in', Path().resolve().name)"
    )
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    run_notebook(path, {}, Path("out"))
    second = path.rename(path.with_name("02_toy.ipynb"))
    run_notebook(second, {}, Path("out"))
    for name in ("01_toy.ipynb", "02_toy.ipynb"):
        assert f"in {tmp_path.name}" in (elsewhere / "out" / name).read_text()


def test_a_notebook_that_fails_is_reported_in_short_and_leaves_the_published_one(toy_notebooks, tmp_path):
    path = toy_notebooks("x: int = 1  # a number", "raise ValueError(f'x is {x}')")
    (tmp_path / "book" / "01_toy.ipynb").write_text("of an earlier run")
    with pytest.raises(StudyError) as error:
        run_notebook(path, {"x": 7}, tmp_path / "book")
    report = str(error.value)
    assert "01_toy.ipynb" in report
    assert "ValueError: x is 7" in report
    assert "x=7" in report
    assert len(report.splitlines()) == 5
    assert (tmp_path / "book" / "01_toy.ipynb").read_text() == "of an earlier run"
    partial = report.split("partial copy: ")[1].split(" (not")[0]
    assert "ValueError" in (tmp_path / partial).read_text()


def test_a_second_process_may_have_taken_the_partial_copy_away(toy_notebooks, tmp_path, monkeypatch):
    def write_and_lose(path, text):
        write_text(path, text)
        (runner.runs_folder() / "partial" / path.name).unlink()

    monkeypatch.setattr(runner, "write_text", write_and_lose)
    run_notebook(toy_notebooks("x: int = 1  # a number"), {}, tmp_path / "book")
    assert (tmp_path / "book" / "01_toy.ipynb").is_file()
