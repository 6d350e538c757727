"""A Sphinx extension for the list of references: each is named as the text cites it, by authors and year."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

from pybtex.plugin import register_plugin
from pybtex.style.formatting.unsrt import Style
from pybtex.style.labels import BaseLabelStyle

if TYPE_CHECKING:
    from pybtex.database import Entry
    from sphinx.application import Sphinx


class AuthorYearLabels(BaseLabelStyle):
    """Labels such as 'Tran et al., 2024'."""

    def format_labels(self, entries: Iterable[Entry]) -> Iterator[str]:
        """Yield the label of each entry."""
        for entry in entries:
            names = [
                " ".join((*person.prelast_names, *person.last_names)) for person in entry.persons["author"]
            ]
            authors = " and ".join(names) if len(names) < 3 else f"{names[0]} et al."
            yield f"{authors}, {entry.fields['year']}"


class AuthorYearStyle(Style):
    """Pybtex's plain style, with labels of authors and year, in their order."""

    default_sorting_style = "author_year_title"
    default_label_style = AuthorYearLabels


def setup(_app: Sphinx) -> dict[str, Any]:
    """Register with pybtex."""
    register_plugin("pybtex.style.formatting", "author_year", AuthorYearStyle)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
