"""The student edition: the notebooks without their solutions, in plain Markdown that any notebook program
shows.

The cells of a solution bear the tag `solution`. Directives and roles of the book become plain text, and a
number that the book takes from a result becomes a blank with its name, to be read off the reader's own run.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from helpers.book.notebook import describe_run_time
from helpers.book.runner import list_notebooks
from helpers.store import write_text

if TYPE_CHECKING:
    from nbformat import NotebookNode

SOLUTION = "solution"
BLANKS = (
    "\n\nThis is the student edition. A name in angle brackets, ⟨like_this⟩, is a number that your own "
    "run gives: read it off the cells above or below."
)
HIDDEN = {"remove-cell", "hide-input"}
LABEL = re.compile(r"^\(([\w-]+)\)=\n+", re.MULTILINE)
TITLE = re.compile(r"^# (.+)$", re.MULTILINE)
ROLE = re.compile(r"\{([\w:]+)\}`([^`]+)`")
DIRECTIVE = re.compile(r"^(`{3,})\{([\w-]+)\} ?([^\n]*)\n(?::[^\n]*\n)*(.*?)^\1$", re.MULTILINE | re.DOTALL)


def write_edition(folder: Path) -> list[Path]:
    """Write the student edition of every notebook into a folder; returns the files."""
    import nbformat

    notebooks = {path: nbformat.read(path, as_version=4) for path in list_notebooks()}
    links = dict(link_notebook(path, notebook) for path, notebook in notebooks.items())
    for path, notebook in notebooks.items():
        times = {
            "run_time": describe_run_time(path.name[:2]),
            "smoke_time": describe_run_time(path.name[:2], "smoke"),
        }
        write_text(folder / path.name, nbformat.writes(make_edition(notebook, links | times)) + "\n")
    return [folder / path.name for path in notebooks]


def link_notebook(path: Path, notebook: NotebookNode) -> tuple[str, str]:
    """Return the label of a notebook, and a Markdown link to it."""
    opening = notebook.cells[0].source
    return LABEL.search(opening)[1], f"[{TITLE.search(opening)[1]}]({path.name})"


def make_edition(notebook: NotebookNode, known: Mapping[str, str]) -> NotebookNode:
    """Return a notebook without solutions; an empty cell follows each exercise, a caption each figure, and
    cells that only serve the book are folded.

    Args:
        notebook: as it is in `notebooks/`; it is left as it is.
        known: what stands for labels of notebooks and names of results that are known beforehand.
    """
    from copy import deepcopy

    edition = deepcopy(notebook)
    edition.cells = []
    for cell in deepcopy(notebook.cells):
        tags = set(cell.metadata.get("tags", []))
        if SOLUTION not in tags:
            edition.cells += [cell, *_follow(cell, known)]
            if cell.cell_type == "markdown":
                cell.source = write_plainly(cell.source, known)
            elif tags & HIDDEN:
                cell.metadata["jupyter"] = {"source_hidden": True}
            cell.metadata.pop("mystnb", None)
    edition.cells[0].source += BLANKS
    return edition


def _follow(cell: NotebookNode, known: Mapping[str, str]) -> Iterator[NotebookNode]:
    """Yield what comes after a cell in the student edition only."""
    from nbformat.v4 import new_code_cell, new_markdown_cell

    if cell.cell_type == "markdown" and "{exercise}" in cell.source:
        yield new_code_cell("# Your answer", id=f"{cell.id}-answer")
    if figure := cell.metadata.get("mystnb", {}).get("figure"):
        yield new_markdown_cell(
            f"Figure *{name_figure(figure['name'])}*. {write_plainly(figure['caption'], known)}",
            id=f"{cell.id}-caption",
        )


def write_plainly(text: str, known: Mapping[str, str]) -> str:
    """Return the book's Markdown as plain Markdown: labels dropped, directives as headings and quotes, roles
    as words.
    """
    text = DIRECTIVE.sub(lambda found: _write_directive(found[2], found[3], found[4]), LABEL.sub("", text))
    return ROLE.sub(lambda found: _write_role(found[1], found[2], known), text)


def name_figure(label: str) -> str:
    """Return the name of a figure without what all labels of figures begin with."""
    return label.removeprefix("fig-")


def _write_directive(name: str, title: str, body: str) -> str:
    if name == "exercise":
        return f"### {title}\n\n{body.strip()}"
    return "\n".join(f"> {line}".rstrip() for line in (f"**{title}**", "", *body.strip().splitlines()))


def _write_role(name: str, content: str, known: Mapping[str, str]) -> str:
    word, _, target = content.removesuffix(">").partition(" <")
    value = content.split(":", maxsplit=1)[0]
    plain = {
        "glue:text": known.get(value, f"⟨{value}⟩"),
        "ref": known.get(target or word, word),
        "doc": f"the book's page *{word}*",
        "numref": f"figure *{name_figure(word)}*",
    }
    return plain.get(name, f"[{word}]" if name.startswith("cite") else word)
