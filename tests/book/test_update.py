"""What is published stays as it is while nothing that it was made from changes, and no longer."""

import os
import shutil
import subprocess
import sys
from contextlib import nullcontext

import nbformat
import pytest
from filelock import FileLock, Timeout
from nbformat.v4 import new_code_cell, new_notebook
from typer.testing import CliRunner

from helpers.book import build_stamps, figure_files, gallery, update
from helpers.book.build_stamps import BuildStamp, stamp_notebook
from helpers.book.update import LESSON_WORK, share_lessons, update_figures, update_notebook
from helpers.cli import app
from helpers.store import LOCK, load_only
from helpers.study.sharing import KINDS_OF_WORK
from helpers.study.study import Study

READS_A_RESULT = "from helpers.store import run_stage; run_stage('toy', {}, {}, 1, lambda folder: {'n': x})"


def write_notebook(path, *sources):
    cells = [new_code_cell(source) for source in sources]
    cells[0].metadata["tags"] = ["parameters"]
    kernel = {"kernelspec": {"name": "python3", "language": "python", "display_name": "Python 3"}}
    nbformat.write(new_notebook(cells=cells, metadata=kernel), path)
    return path


@pytest.fixture
def published(tmp_path):
    """Publish a notebook that reads a file and a stored result; return what `update_notebook` was given."""
    (tmp_path / "rows.txt").write_text("a row")
    notebook = write_notebook(
        tmp_path / "01_toy.ipynb", "x: int = 1  # a number\ngeneral = ''", READS_A_RESULT
    )
    given = (
        notebook,
        {"x": 7, "general": str(tmp_path / "rows.txt")},
        Study.from_parameters({}),
        tmp_path / "book",
    )
    assert update_notebook(*given)
    return given


def test_a_notebook_is_run_again_where_anything_that_it_was_made_from_differs_and_only_there(
    published, runs, monkeypatch
):
    notebook, parameters, study, book = published
    before = (book / notebook.name).stat()
    assert not update_notebook(*published)
    assert (book / notebook.name).stat() == before
    is_current = lambda **others: stamp_notebook(notebook, parameters | others, study, book).is_current()  # noqa: E731
    assert is_current()
    assert not is_current(x=8)
    [result] = (runs / "toy").iterdir()
    for path in (notebook, book / notebook.name, result / "manifest.json", notebook.with_name("rows.txt")):
        before = path.read_bytes()
        path.write_bytes(before + b"\n")
        assert not is_current(), path.name
        path.write_bytes(before)
        assert is_current()
    monkeypatch.setattr(build_stamps, "identify_code", lambda: "another")
    assert not is_current()
    monkeypatch.undo()
    monkeypatch.setenv("STUDY_RUNS", str(runs))
    shutil.rmtree(result)
    assert not is_current()


def test_the_model_counts_where_a_notebook_reads_instructions(toy_model, tmp_path):
    notebook = write_notebook(tmp_path / "03_toy.ipynb", "x = 1")
    folder = shutil.copytree(toy_model, tmp_path / "model")
    study = Study.from_parameters({"model": str(folder)})
    stamp = lambda given: stamp_notebook(notebook, given, study, tmp_path)  # noqa: E731
    with_model, without = stamp({"instructions": ""}), stamp({})
    (folder / "chat_template.jinja").write_text("{{ messages }}")
    assert stamp({"instructions": ""}) != with_model
    assert stamp({}) == without


def test_a_torn_mark_holds_nothing(tmp_path):
    (tmp_path / "page").write_text("a page")
    stamp = BuildStamp(tmp_path / ".page", "source")
    stamp.write([tmp_path / "page"])
    assert stamp.is_current()
    for text in ("", "{", "[]", '{"source": "source", "files": [{}], "results": {}}'):
        (tmp_path / ".page").write_text(text)
        assert not stamp.is_current()


def test_figures_of_which_nothing_has_changed_are_left_as_they_are(tmp_path, monkeypatch):
    monkeypatch.setattr(gallery, "GALLERY", {"seed_shares": gallery.GALLERY["seed_shares"]})
    study = Study.from_parameters({})
    assert update_figures({}, study, tmp_path) == ["seed_shares"]
    assert update_figures({}, study, tmp_path) == []
    assert update_figures({"n_rows": 4}, study, tmp_path) == ["seed_shares"]
    (tmp_path / "gallery.md").unlink()
    assert update_figures({"n_rows": 4}, study, tmp_path) == ["seed_shares"]
    assert (tmp_path / "gallery.md").is_file()


def test_two_processes_draw_into_one_folder_one_after_the_other(tmp_path, monkeypatch):
    """Else the stamp of one could speak for files of the other."""
    monkeypatch.setattr(gallery, "GALLERY", {"seed_shares": gallery.GALLERY["seed_shares"]})
    save = figure_files.save_figures

    def save_figures(find_study, folder):
        with pytest.raises(Timeout):
            FileLock(folder / LOCK).acquire(blocking=False)
        return save(find_study, folder)

    monkeypatch.setattr(figure_files, "save_figures", save_figures)
    folder = tmp_path / "book" / "figures"
    assert update_figures({}, Study.from_parameters({}), folder) == ["seed_shares"]
    assert update_figures({}, Study.from_parameters({}), folder) == []


def test_two_runs_publish_into_one_book_one_after_the_other(tmp_path, monkeypatch):
    """Else notebooks of one would stand among the other's, and a stamp of one speak for the other's copy."""
    book, held = tmp_path / "book", []

    def update_notebook(notebook, parameters, study, folder):
        with pytest.raises(Timeout):
            FileLock(folder / LOCK).acquire(blocking=False)
        held.append(notebook.stem)
        return False

    monkeypatch.setattr(update, "update_notebook", update_notebook)
    result = CliRunner().invoke(app, ["run", "--profile", "smoke", "--book", str(book)])
    assert result.exit_code == 0, result.output
    assert len(held) == 6
    FileLock(book / LOCK).acquire(blocking=False)


@pytest.mark.slow  # a process of the real command line
def test_the_second_run_into_a_book_says_that_it_waits(tmp_path):
    (tmp_path / "book").mkdir()
    command = "from helpers.cli import main; main()"
    options = ["run", "--profile", "smoke", "--only", "06", "--book", str(tmp_path / "book")]
    with FileLock(tmp_path / "book" / LOCK):
        waiting = subprocess.Popen(
            [sys.executable, "-c", command, *options],
            env=os.environ | {"STUDY_PROGRESS": ""},
            stderr=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        said = waiting.stderr.readline()
        assert waiting.poll() is None
        waiting.kill()
    waiting.communicate()
    assert said == f"Another process makes {tmp_path / 'book'}: waiting for it.\n"
    assert not list((tmp_path / "book").glob("*.ipynb"))


@pytest.fixture
def lesson_parameters(toy_model, instruction_file):
    chosen = {"model": toy_model, "instructions": str(instruction_file), "n_rows": 4, "batch_size": 4}
    chosen |= {"tasks": "evidence_yesno", "n_held_out": 2, "n_loss_items": 2, "held_out_share": 0.4}
    return chosen | {"lattice": "qa+ie", "controls": "qa~shuffled", "categories": "qa", "n_items": 2}


@pytest.mark.parametrize("more", [{}, {"endpoint": "choice", "sizes": "2"}, {"endpoint": "score"}])
def test_the_work_of_a_lesson_is_all_that_it_makes_of_the_cells(lesson_parameters, more):
    study = Study.from_parameters(lesson_parameters | more)
    for list_work in LESSON_WORK.values():
        for kind, plan in list_work(study):
            KINDS_OF_WORK[kind].make(study, plan)
    study = Study.from_parameters(lesson_parameters | more)
    names = [*study.grid_settings.lattice_cells, *study.grid_settings.control_cells]
    with load_only():
        study.answer_cells_of_one_seed(["base", "qa"])  # lesson 3
        study.collect_losses(["base", "qa", "ie", "qa~shuffled"])  # lesson 4
        study.answer_cells_of_all_seeds(["base", "qa", "ie"])
        assert len(study.endpoint_items)  # lesson 5
        assert list(study.collect_tunings(names)) == names[1:]
        study.collect_endpoint_by_size()


@pytest.fixture
def shared(monkeypatch):
    """Keep the work that is to be shared."""
    kept = []
    monkeypatch.setattr(update, "share_work", lambda work: kept.extend(work) or nullcontext())
    return kept


def test_each_lesson_that_is_not_up_to_date_has_its_own_study(lesson_parameters, shared, tmp_path):
    study = Study.from_parameters(lesson_parameters)
    plan = [
        (tmp_path / "01_toy.ipynb", {}),
        (tmp_path / "03_toy.ipynb", lesson_parameters | {"choice_scoring": "letter"}),
        (tmp_path / "04_toy.ipynb", lesson_parameters),
    ]
    for notebook, _ in plan:
        write_notebook(notebook, "x: int = 1  # a number")
    with share_lessons(plan, study, tmp_path / "book"):
        pass
    assert [own.evaluation_settings.choice_scoring for own, _ in shared] == ["letter", "text"]
    assert [len(cells) for _, cells in shared] == [2, 7]


def test_what_cannot_be_looked_up_is_left_to_the_notebook(lesson_parameters, shared, tmp_path):
    study = Study.from_parameters(lesson_parameters)
    notebook = write_notebook(tmp_path / "03_toy.ipynb", "x: int = 1  # a number")
    with share_lessons([(notebook, lesson_parameters | {"tasks": "nothing"})], study, tmp_path / "book"):
        assert not shared


def test_no_live_teacher_is_asked_for_work_to_share(shared, tmp_path):
    study = Study.from_parameters({"teacher": "m", "teacher_url": "http://127.0.0.1:9/v1"})
    with share_lessons([(tmp_path / "03_toy.ipynb", {"instructions": ""})], study, tmp_path / "book"):
        assert not shared
