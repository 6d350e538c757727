"""The student edition keeps the exercises, drops the solutions, and still runs."""

import ast
import builtins
import json
import re

import nbformat
import papermill
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from helpers.book import student as editions
from helpers.book.parameters import list_notebooks, read_parameters
from helpers.book.student import (
    BLANK,
    SOLUTION,
    cite_works,
    make_edition,
    number_exercises,
    read_values,
    write_edition,
    write_plainly,
)
from helpers.errors import StudyError
from helpers.paths import BOOK, ROOT


@pytest.fixture(scope="module")
def edition(tmp_path_factory):
    """Write the edition; return pairs of notebooks by name: as it is in git, and for students. The book that
    the checkout may hold is left aside.
    """
    book = tmp_path_factory.mktemp("book")
    for name in ("_toc.yml", "references.bib"):
        (book / name).write_text((BOOK / name).read_text())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(editions, "BOOK", book)
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
    headings = [student.cells[place - 1].source.splitlines()[0] for place in places]
    assert [re.sub(r"^### Exercise \d+: ", "", heading) for heading in headings] == titles
    assert all(student.cells[place].source == "# Your answer" for place in places)


@each_notebook
def test_a_student_needs_no_directive_and_no_role_of_the_book(edition, name):
    texts = [cell.source for cell in edition[name][1].cells if cell.cell_type == "markdown"]
    assert not any("```{" in text or "}`" in text or ")=\n" in text or "⟨" in text for text in texts)
    keys = re.findall(r"^@\w+\{(\w+),", (BOOK / "references.bib").read_text(), re.MULTILINE)
    assert len(keys) > 10
    assert not [key for key in keys for text in texts if key in text]


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
    assert used <= made | set(dir(builtins)) | {"display"}  # IPython's own


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


def test_exercises_keep_the_numbers_that_the_book_gives_them(edition):
    headings = {
        name: [
            int(re.match(r"### Exercise (\d+): ", cell.source)[1])
            for cell in student.cells
            if cell.source.startswith("### Exercise ")
        ]
        for name, (_, student, _) in edition.items()
    }
    pages = re.findall(r"- file: (\d\d_\w+)", (BOOK / "_toc.yml").read_text())
    assert set(pages) == set(headings)
    in_order = [number for page in pages for number in headings[page]]
    assert in_order == list(range(1, len(in_order) + 1))


def test_numbers_come_from_the_executed_notebook_and_are_blanks_where_it_has_none(tmp_path):
    path = tmp_path / "01.ipynb"
    assert read_values(path) == {}
    outputs = [glued("n_seeds", "81"), glued("share", "nan"), glued("word", "'ten'")]
    nbformat.write(new_notebook(cells=[new_code_cell(outputs=outputs)]), path)
    values = read_values(path)
    assert values == {"n_seeds": 81, "word": "ten"}
    text = "Of {glue:text}`n_seeds:,`, {glue:text}`share:.1f` and {glue:text}`word:s`."
    lesson = new_notebook(cells=[new_markdown_cell(text)])
    assert make_edition(lesson, {}, values).cells[0].source == rf"Of 81, {BLANK} and ten."


def test_an_edition_says_where_its_numbers_come_from(tmp_path, monkeypatch):
    for name in ("_toc.yml", "references.bib"):
        (tmp_path / name).write_text((BOOK / name).read_text())
    cell = new_code_cell(outputs=[glued("run_time", "'9 seconds'")])
    executed = list_notebooks()[0].name
    nbformat.write(new_notebook(cells=[cell]), tmp_path / executed)
    monkeypatch.setattr(editions, "BOOK", tmp_path)
    openings = {path.name: nbformat.read(path, 4).cells[0].source for path in write_edition(tmp_path / "out")}
    assert {name for name, text in openings.items() if text.endswith(editions.FILLED)} == {executed}
    assert all(text.endswith((editions.FILLED, editions.BLANKS)) for text in openings.values())


def test_an_edition_of_notebooks_of_two_runs_is_refused(tmp_path, monkeypatch):
    for name in ("_toc.yml", "references.bib"):
        (tmp_path / name).write_text((BOOK / name).read_text())
    monkeypatch.setattr(editions, "BOOK", tmp_path)
    for rank in (16, 4):
        for path in list_notebooks():
            given = {"lora_rank": rank} if path.stem.startswith("03") else {}
            metadata = {"papermill": {"parameters": given}}
            nbformat.write(new_notebook(cells=[], metadata=metadata), tmp_path / path.name)
        if rank == 16:  # the default of all others
            assert len(write_edition(tmp_path / "out")) == 6
    with pytest.raises(StudyError, match=r"`lora_rank` is 4 in 03_.* and 16 in 04_"):
        write_edition(tmp_path / "out")


def glued(name, text):
    prefix = "application/papermill.record/"
    metadata = {"scrapbook": {"mime_prefix": prefix, "name": name}}
    return new_output("display_data", data={f"{prefix}text/plain": text}, metadata=metadata)


def test_works_are_cited_by_authors_and_year():
    works = cite_works()
    assert works["tran2024bioinstruct"] == "[Tran et al., 2024](https://doi.org/10.1093/jamia/ocae122)"
    assert works["brown2017grim"].startswith("[Brown and Heathers, 2017]")
    assert works["shapley1953value"].startswith(("Shapley, 1953", "[Shapley, 1953]"))


def test_exercises_are_counted_over_pages_in_the_order_of_the_contents():
    notebooks = {path.stem: nbformat.read(path, 4) for path in list_notebooks()}
    numbers = number_exercises(notebooks)
    assert numbers["ex-published-runs"] == "Exercise 1"
    assert len(set(numbers.values())) == len(numbers)


def test_roles_and_directives_become_words():
    text = (
        "(label)=\n# Title\n\n```{admonition} Note\n:class: tip\n\nRead {ref}`nb-x`, {term}`cells "
        "<cell>`, {cite}`a2020b`, {glue:text}`n:.1f`, {glue:text}`m`; {ref}`one <ex-y>`.\n```"
    )
    known = {"nb-x": "[X](x.ipynb)", "a2020b": "Abel, 2020", "ex-y": "Exercise 3"}
    assert (
        write_plainly(text, known, {"n": 1.25})
        == "# Title\n\n> **Note**\n>\n> Read [X](x.ipynb), cells, (Abel, 2020), 1.2, "
        + rf"{BLANK}; Exercise 3."
    )
    assert write_plainly("Stop. {doc}`data` tells, and {doc}`limits`.", {}, {}) == (
        "Stop. The book's page *data* tells, and the book's page *limits*."
    )
    assert write_plainly("````{exercise} How?\n:label: ex-y\n\nSo.\n````", known, {}) == (
        "### Exercise 3: How?\n\nSo."
    )


def write_executed(path, data, scrapbook):
    output = {"output_type": "display_data", "data": data, "metadata": {"scrapbook": scrapbook}}
    cell = nbformat.v4.new_code_cell(outputs=[output])
    path.write_text(json.dumps(nbformat.v4.new_notebook(cells=[cell])))


GLUED = {"name": "n", "mime_prefix": "glued/"}


@pytest.mark.parametrize(
    ("text", "known"), [("1.5", {"n": 1.5}), ("<Run at 0x7f>", {}), ("1 +", {}), ("nan", {})]
)
def test_a_glued_value_that_is_no_number_and_no_text_is_left_out(text, known, tmp_path):
    write_executed(tmp_path / "01.ipynb", {"glued/text/plain": text}, GLUED)
    assert read_values(tmp_path / "01.ipynb") == known


@pytest.mark.parametrize("text", ["", '{"cells": [', "[]", "null", '{"nbformat": 4, "metadata": {}}'])
def test_a_damaged_notebook_of_the_book_is_named(text, tmp_path):
    (tmp_path / "01.ipynb").write_text(text)
    with pytest.raises(StudyError, match=r"01\.ipynb cannot be read as an executed notebook"):
        read_values(tmp_path / "01.ipynb")


@pytest.mark.parametrize(("data", "scrapbook"), [({}, GLUED), ({"x": "1"}, {"name": "n"}), ({}, "n")])
def test_a_notebook_of_the_book_with_strange_values_is_named(data, scrapbook, tmp_path):
    write_executed(tmp_path / "01.ipynb", data, scrapbook)
    with pytest.raises(StudyError, match=r"01\.ipynb cannot be read as an executed notebook"):
        read_values(tmp_path / "01.ipynb")
