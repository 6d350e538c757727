"""The student edition keeps the exercises, drops the solutions, and still runs."""

import ast
import builtins

import nbformat
import papermill
import pytest

from helpers.book.runner import list_notebooks, read_parameters
from helpers.book.student import SOLUTION, write_edition, write_plainly
from helpers.paths import ROOT


@pytest.fixture(scope="module")
def edition(tmp_path_factory):
    """Write the edition; return pairs of notebooks by name: as it is in git, and for students."""
    written = write_edition(tmp_path_factory.mktemp("student"))
    return {
        path.stem: (nbformat.read(source, 4), nbformat.read(path, 4), path)
        for source, path in zip(list_notebooks(), written, strict=True)
    }


each_notebook = pytest.mark.parametrize("name", [path.stem for path in list_notebooks()])


@each_notebook
def test_no_solution_is_left_and_nothing_else_is_gone(edition, name):
    source, student, _ = edition[name]
    solutions = [cell.source for cell in source.cells if SOLUTION in cell.metadata.get("tags", [])]
    assert solutions
    left = {cell.source for cell in student.cells}
    assert not left & set(solutions)
    assert not any("solution-start" in text or "solution-end" in text for text in left)
    assert [cell.id for cell in source.cells if SOLUTION not in cell.metadata.get("tags", [])] == [
        cell.id for cell in student.cells if not cell.id.endswith(("-answer", "-caption"))
    ]


@each_notebook
def test_every_exercise_is_followed_by_an_empty_cell(edition, name):
    source, student, _ = edition[name]
    titles = [
        cell.source.splitlines()[0].split("} ", 1)[1] for cell in source.cells if "{exercise}" in cell.source
    ]
    places = [place for place, cell in enumerate(student.cells) if cell.id.endswith("-answer")]
    assert [student.cells[place - 1].source.splitlines()[0] for place in places] == [
        f"### {title}" for title in titles
    ]
    assert all(student.cells[place].source == "# Your answer" for place in places)


@each_notebook
def test_a_student_needs_no_directive_and_no_role_of_the_book(edition, name):
    texts = [cell.source for cell in edition[name][1].cells if cell.cell_type == "markdown"]
    assert not any("```{" in text or "}`" in text or ")=\n" in text for text in texts)


@each_notebook
def test_what_is_left_uses_no_name_that_only_a_solution_made(edition, name):
    code = [
        cell.source.rstrip(";")
        for cell in edition[name][1].cells
        if cell.cell_type == "code" and "setup" not in cell.metadata.get("tags", [])
    ]
    tree = ast.parse("\n".join(code))
    nodes = list(ast.walk(tree))
    made = {
        alias.asname or alias.name
        for node in nodes
        if isinstance(node, ast.Import | ast.ImportFrom)
        for alias in node.names
    }
    made |= {node.name for node in nodes if isinstance(node, ast.FunctionDef)} | {
        node.arg for node in nodes if isinstance(node, ast.arg)
    }
    made |= {node.id for node in nodes if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)}
    used = {node.id for node in nodes if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load)}
    assert used <= made | set(dir(builtins))


@each_notebook
def test_the_edition_is_valid_and_keeps_its_parameters(edition, name):
    source, student, path = edition[name]
    nbformat.validate(student)
    assert read_parameters(path) == read_parameters(
        next(original for original in list_notebooks() if original.stem == name)
    )
    assert student.metadata == source.metadata


@pytest.mark.slow
def test_the_edition_runs(edition, tmp_path, monkeypatch):
    monkeypatch.chdir(ROOT)
    out = papermill.execute_notebook(
        str(edition["01_seed_curation"][2]), str(tmp_path / "out.ipynb"), {"draw_seed": 5}, progress_bar=False
    )
    assert not any(output.output_type == "error" for cell in out.cells for output in cell.get("outputs", []))


def test_roles_and_directives_become_words():
    text = (
        "(label)=\n# Title\n\n```{admonition} Note\n:class: tip\n\nRead {ref}`nb-x`, {term}`cells "
        "<cell>`, {cite}`a2020b`, {glue:text}`n:d`.\n```"
    )
    assert (
        write_plainly(text, {"nb-x": "[X](x.ipynb)"})
        == "# Title\n\n> **Note**\n>\n> Read [X](x.ipynb), cells, [a2020b], ⟨n⟩."
    )
