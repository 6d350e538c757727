"""The page of the book that shows every figure with its files."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from helpers.book.gallery import GALLERY
from helpers.paths import NOTEBOOKS
from helpers.store import write_text

HEAD = """(figure-gallery)=
# The figures

Every figure of the notebooks, drawn from the stored results of this run. Each comes as SVG for the web, as
PNG for slides, and with its table; {doc}`/reproduce` tells how to draw one from a table of your own.

::::{grid} 1 2 2 2
:gutter: 3

"""
CARD = """:::{{grid-item-card}} {title}
:img-top: {name}.svg
:img-alt: {alt}
:shadow: none

{{numref}}`{label}` in {{doc}}`/{notebook}`

{{download}}`SVG <{name}.svg>` {{download}}`PNG <{name}.png>` {{download}}`CSV <{name}.csv>`
:::

"""


def write_gallery(names: Iterable[str], folder: Path) -> None:
    """Write the page that shows the figures of a folder, `gallery.md`, beside them.

    Args:
        names: figures of the gallery that the folder holds as `<name>.svg`, `.png` and `.csv`.
        folder: the folder, in the book's.
    """
    alternatives = read_alternatives()
    cards = []
    for name in names:
        label = label_figure(name)
        facts = {
            "title": name.replace("_", " ").capitalize(),
            "alt": alternatives[label],
            "label": label,
            "notebook": GALLERY[name].notebook,
        }
        cards.append(CARD.format(name=name, **facts))
    write_text(folder / "gallery.md", HEAD + "".join(cards) + "::::\n")


def label_figure(name: str) -> str:
    """Return the label under which the book knows a figure of the gallery."""
    return "fig-" + name.replace("_", "-")


def read_alternatives() -> dict[str, str]:
    """Return the alternative text of each figure of the notebooks by its label."""
    import nbformat

    cells = [
        cell
        for path in sorted(NOTEBOOKS.glob("*.ipynb"))
        for cell in nbformat.read(path, as_version=4).cells
        if "mystnb" in cell.metadata
    ]
    return {
        cell.metadata["mystnb"]["figure"]["name"]: cell.metadata["mystnb"]["image"]["alt"] for cell in cells
    }
