"""The student edition: the notebooks without their solutions, in plain Markdown that any notebook program
shows.

The cells of a solution bear the tag `solution`. Directives and roles of the book become plain text: exercises
keep the numbers that they have in the book, citations become authors and year. A number that the book takes
from a result comes from the executed notebooks in `book/`; where these are missing, a blank stands for it.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from helpers.book.parameters import inspect_notebooks, list_notebooks, read_parameters
from helpers.errors import StudyError
from helpers.files import write_text
from helpers.paths import BOOK, shown

if TYPE_CHECKING:
    from nbformat import NotebookNode

SOLUTION = "solution"
BLANK = r"\_\_\_\_"
FILLED = (
    "\n\nThis is the student edition. The numbers in captions come from one run of the book. Yours stand in "
    "the tables and figures, and some will differ."
)
BLANKS = (
    f"\n\nThis is the student edition. A blank, {BLANK}, stands for a number that a run gives: look for "
    "yours in the tables and figures."
)
HIDDEN = {"remove-cell", "remove-input", "hide-input"}
LABEL = re.compile(r"^\(([\w-]+)\)=\n+", re.MULTILINE)
TITLE = re.compile(r"^# (.+)$", re.MULTILINE)
ROLE = re.compile(r"\{([\w:]+)\}`([^`]+)`")
EXERCISE = re.compile(r"^`{3,}\{exercise\}[^\n]*\n:label: ([\w-]+)$", re.MULTILINE)
DIRECTIVE = re.compile(r"^(`{3,})\{([\w-]+)\} ?([^\n]*)\n((?::[^\n]*\n)*)(.*?)^\1$", re.MULTILINE | re.DOTALL)


def write_edition(folder: Path) -> list[Path]:
    """Write the student edition of every notebook into a folder; returns the files."""
    import nbformat

    inspect_notebooks()  # raises where one cannot be read
    notebooks = {path: nbformat.read(path, as_version=4) for path in list_notebooks()}
    known = dict(link_notebook(path, notebook) for path, notebook in notebooks.items())
    known |= number_exercises({path.stem: notebook for path, notebook in notebooks.items()}) | cite_works()
    values = {path: read_values(BOOK / path.name) for path in notebooks}
    check_one_run()
    for path, notebook in notebooks.items():
        edition = make_edition(notebook, known, values[path])
        edition.cells[0].source += FILLED if values[path] else BLANKS
        write_text(folder / path.name, nbformat.writes(edition) + "\n")
    return [folder / path.name for path in notebooks]


def check_one_run() -> None:
    """Raise StudyError where the executed notebooks in the book come from runs with different parameters."""
    import nbformat

    known: dict[str, tuple[Any, str]] = {}
    for path in list_notebooks():
        if not (BOOK / path.name).is_file():
            continue
        executed = nbformat.read(BOOK / path.name, as_version=4)
        given = executed.metadata.get("papermill", {}).get("parameters", {})
        for name, parameter in read_parameters(path).items():
            value = given.get(name, parameter.default)
            other, where = known.setdefault(name, (value, path.name))
            if other != value:
                raise StudyError(
                    f"The notebooks in {shown(BOOK)} come from different runs: `{name}` is {other!r} in "
                    f"{where} and {value!r} in {path.name}. Build the book again, then write the edition."
                )


def has_values() -> bool:
    """Say whether every notebook has an executed copy in the book, from which the numbers come."""
    return all((BOOK / path.name).is_file() for path in list_notebooks())


def read_values(path: Path) -> dict[str, Any]:
    """Return the values that an executed notebook makes available to the book's prose, by name; none where
    there is no such notebook. A value that is neither a number nor a text is left out.

    Raises:
        StudyError: the notebook is damaged.
    """
    import nbformat

    strange = (AttributeError, KeyError, TypeError, ValueError, nbformat.ValidationError)
    if not path.is_file():
        return {}
    try:
        texts = dict(_list_glued(nbformat.read(path, as_version=4)))
    except strange:
        raise StudyError(
            f"{shown(path)} cannot be read as an executed notebook. Delete it, and build the book again."
        ) from None
    values = {}
    for name, text in texts.items():
        with suppress(ValueError, SyntaxError):
            values[name] = ast.literal_eval(text)
    return values


def _list_glued(notebook: NotebookNode) -> Iterator[tuple[str, str]]:
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            if glued := output.get("metadata", {}).get("scrapbook"):
                yield glued["name"], output.data[f"{glued['mime_prefix']}text/plain"]


def number_exercises(notebooks: Mapping[str, NotebookNode]) -> dict[str, str]:
    """Return "Exercise 1" and so on for the label of each exercise, counted in the order of the book."""
    contents = yaml.safe_load((BOOK / "_toc.yml").read_text(encoding="utf-8"))
    pages = [chapter["file"] for part in contents["parts"] for chapter in part["chapters"]]
    labels = [
        label
        for page in pages
        if page in notebooks
        for cell in notebooks[page].cells
        for label in EXERCISE.findall(cell.source)
    ]
    return {label: f"Exercise {number}" for number, label in enumerate(labels, 1)}


def cite_works() -> dict[str, str]:
    """Return authors and year of each work that the book cites, by its key; linked where it has a DOI."""
    from pybtex.database import parse_file

    works = {}
    for key, work in parse_file(str(BOOK / "references.bib")).entries.items():
        names = [" ".join(author.prelast_names + author.last_names) for author in work.persons["author"]]
        who = f"{names[0]} et al." if len(names) > 2 else " and ".join(names)
        text = f"{who}, {work.fields['year']}"
        works[key] = f"[{text}](https://doi.org/{work.fields['doi']})" if "doi" in work.fields else text
    return works


def link_notebook(path: Path, notebook: NotebookNode) -> tuple[str, str]:
    """Return the label of a notebook, and a Markdown link to it."""
    opening = notebook.cells[0].source
    return LABEL.search(opening)[1], f"[{TITLE.search(opening)[1]}]({path.name})"


def make_edition(notebook: NotebookNode, known: Mapping[str, str], values: Mapping[str, Any]) -> NotebookNode:
    """Return a notebook without solutions; an empty cell follows each exercise, a caption each figure, and
    cells that only serve the book are folded.

    Args:
        notebook: as it is in `notebooks/`; it is left as it is.
        known: what stands for labels of notebooks and exercises, and for keys of cited works.
        values: the results by name.
    """
    from copy import deepcopy

    edition = deepcopy(notebook)
    edition.cells = []
    for cell in deepcopy(notebook.cells):
        tags = set(cell.metadata.get("tags", []))
        if SOLUTION not in tags:
            edition.cells += [cell, *_follow(cell, known, values)]
            if cell.cell_type == "markdown":
                cell.source = write_plainly(cell.source, known, values)
            elif tags & HIDDEN:
                cell.metadata["jupyter"] = {"source_hidden": True}
            cell.metadata.pop("mystnb", None)
    return edition


def _follow(
    cell: NotebookNode, known: Mapping[str, str], values: Mapping[str, Any]
) -> Iterator[NotebookNode]:
    """Yield what comes after a cell in the student edition only."""
    from nbformat.v4 import new_code_cell, new_markdown_cell

    if cell.cell_type == "markdown" and "{exercise}" in cell.source:
        yield new_code_cell("# Your answer", id=f"{cell.id}-answer")
    if figure := cell.metadata.get("mystnb", {}).get("figure"):
        yield new_markdown_cell(
            f"Figure *{name_figure(figure['name'])}*. {write_plainly(figure['caption'], known, values)}",
            id=f"{cell.id}-caption",
        )


def write_plainly(text: str, known: Mapping[str, str], values: Mapping[str, Any]) -> str:
    """Return the book's Markdown as plain Markdown: labels dropped, directives as headings and quotes, roles
    as words.
    """
    text = LABEL.sub("", text)
    text = DIRECTIVE.sub(lambda found: _write_directive(*found.groups()[1:], known=known), text)
    text = ROLE.sub(lambda found: _write_role(found[1], found[2], known, values), text)
    return re.sub(r"((?:^|[.?!]) *)the book's page", r"\1The book's page", text, flags=re.MULTILINE)


def name_figure(label: str) -> str:
    """Return the name of a figure without what all labels of figures begin with."""
    return label.removeprefix("fig-")


def _write_directive(name: str, title: str, options: str, body: str, known: Mapping[str, str]) -> str:
    if name == "exercise":
        label = re.search(r"^:label: ([\w-]+)$", options, re.MULTILINE)[1]
        return f"### {known[label]}: {title}\n\n{body.strip()}"
    return "\n".join(f"> {line}".rstrip() for line in (f"**{title}**", "", *body.strip().splitlines()))


def _write_role(name: str, content: str, known: Mapping[str, str], values: Mapping[str, Any]) -> str:
    word, _, target = content.removesuffix(">").partition(" <")
    if name == "glue:text":
        return _write_value(content, values)
    if name.startswith("cite"):
        return known[word] if name == "cite:t" else f"({known[word]})"
    plain = {
        "ref": known.get(target or word, word),
        "doc": f"the book's page *{word}*",
        "numref": f"Figure *{name_figure(word)}*",
    }
    return plain.get(name, word)


def _write_value(content: str, values: Mapping[str, Any]) -> str:
    """Return a result as the book writes it: `name`, or `name:form`."""
    name, _, form = content.partition(":")
    return format(values[name], form) if name in values else BLANK
