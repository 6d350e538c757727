"""A Sphinx extension for the book on one page, which the PDF is printed from."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sphinx.application import Sphinx


def share_nodes(app: Sphinx) -> None:
    """Let the builder of one page write every node that the builder of pages can.

    Sphinx looks for a node's functions under the builder's name, and under its format only if nobody used the
    name; sphinx-exercise does use it, so the folded cells of MyST-NB would be unknown.
    """
    handlers = app.registry.translation_handlers
    handlers["singlehtml"] = handlers.get("html", {}) | handlers.get("singlehtml", {})


def setup(app: Sphinx) -> dict[str, Any]:
    """Register with Sphinx."""
    app.connect("config-inited", lambda app, _: share_nodes(app), priority=999)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
