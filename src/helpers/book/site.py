"""A Sphinx extension for what a site has beside its pages: definitions on hover, descriptions, the version,
the book as one PDF where it was printed, and, where the repository is known, an address, a picture for links
to the pages, and a sitemap. It also has pages written again whose values have changed.
"""

from __future__ import annotations

import re
import sys
from html import escape
from importlib.metadata import version
from pathlib import Path
from textwrap import shorten
from typing import TYPE_CHECKING, Any
from urllib.parse import urljoin, urlsplit

if TYPE_CHECKING:
    from docutils.nodes import document
    from sphinx.application import Sphinx
    from sphinx.config import Config
    from sphinx.environment import BuildEnvironment

PICTURE = "reference_transfer"  # a figure of the first page
GLUED = re.compile(r"\{glue:\w+\}`([\w/]+)\.ipynb::")
UNFINISHED = ".unfinished"  # lies among the pages while they are written
MINUS, PERCENT = re.compile(r"(?<![\w.])-(?=[\d.])"), re.compile(r"(\d)%")


def find_showing(
    _app: Sphinx, env: BuildEnvironment, added: set[str], changed: set[str], _removed: set[str]
) -> set[str]:
    """Return the pages that show values of notebooks that have changed: they are written again too."""
    sources = {page: Path(env.doc2path(page)).read_text(encoding="utf-8") for page in env.found_docs}
    return {page for page, text in sources.items() if {*GLUED.findall(text)} & (added | changed)}


def check_pages(_app: Sphinx, env: BuildEnvironment, *_changes: set[str]) -> set[str]:
    """End the build with one message if a page of the contents has no file, before anything is written: the
    others would lack its values and figures.

    Raises:
        SystemExit: as said; Jupyter Book hides any other error below tracebacks.
    """
    listed = {page.removesuffix(".md").removesuffix(".ipynb") for page in env.external_site_map}
    if missing := sorted(listed - env.found_docs):
        sys.exit(
            f"error: The pages need executed notebooks and figures, but {', '.join(missing)} have no file."
            " Run `study run` and `study figures` first; `make book` does both."
        )
    return set()


def redo_after_kill(
    app: Sphinx, env: BuildEnvironment, _added: set[str], _changed: set[str], _removed: set[str]
) -> set[str]:
    """Return all pages if the last build did not end: a page may be half written, or show old values although
    Sphinx has read the new ones.
    """
    mark = Path(app.outdir, UNFINISHED)
    again = env.found_docs if mark.exists() else set()
    mark.touch()
    return set(again)


def tell_end(app: Sphinx, failure: Exception | None) -> None:
    """Note that the pages were written to the last."""
    if not failure:
        Path(app.outdir, UNFINISHED).unlink(missing_ok=True)


def set_address(app: Sphinx, config: Config) -> None:
    """Name the book above its contents on every page, say the version in the footer, and set the address of
    the pages, where it is known.
    """
    options = config.html_theme_options
    options["extra_footer"] = f"Version {version('bioinstruct-study')}. {options.get('extra_footer', '')}"
    options["logo"] = {"text": config.html_title} | (options.get("logo") or {})
    known = options.get("use_repository_button")  # else the address is Jupyter Book's own
    config.html_baseurl = find_address(options["repository_url"]) if known else ""
    picture = Path("figures", f"{PICTURE}.png")
    if config.html_baseurl and (Path(app.srcdir) / picture).is_file():
        config.html_extra_path.append(str(picture))
    if printed := find_pdf(app):
        config.html_extra_path.append(str(printed))


def find_pdf(app: Sphinx) -> Path | None:
    """Return the book as one PDF, if it was printed after the notebooks were run last."""
    printed = Path(app.outdir).with_name("book.pdf")
    runs = [path.stat().st_mtime for path in Path(app.srcdir).glob("*.ipynb")]
    return printed if printed.is_file() and printed.stat().st_mtime > max(runs, default=0) else None


def find_address(repository: str) -> str:
    """Return the address at which GitHub publishes a repository's pages; empty for other hosts."""
    location = urlsplit(repository)
    owner, _, name = location.path.strip("/").partition("/")
    return f"https://{owner}.github.io/{name}/" if location.hostname == "github.com" and name else ""


def read_definitions(env: BuildEnvironment) -> dict[str, str]:
    """Return the definition of each term of the glossary by the anchor that links to it lead to."""
    from docutils import nodes

    terms = {location for (kind, _), location in env.domaindata["std"]["objects"].items() if kind == "term"}
    return {
        anchor: " ".join(item.children[-1].astext().split())
        for page in {page for page, _ in terms}
        for item in env.get_doctree(page).findall(nodes.definition_list_item)
        for term in item.findall(nodes.term)
        for anchor in term["ids"]
    }


def print_numbers(_app: Sphinx, doctree: document, _page: str) -> None:
    """Give the values of results that stand in prose a true minus, and a space before a percent sign."""
    from docutils import nodes

    for value in doctree.findall(
        lambda node: "pasted-text" in getattr(node, "attributes", {}).get("classes", [])
    ):
        for text in list(value.findall(nodes.Text)):
            printed = PERCENT.sub(r"\1 %", MINUS.sub("−", text.astext()))
            text.parent.replace(text, nodes.Text(printed))


def explain_terms(app: Sphinx, doctree: document, _page: str) -> None:
    """Give each link to a term its definition as a title, which the page shows on hover and on focus."""
    from docutils import nodes

    definitions = read_definitions(app.env)
    for link in doctree.findall(nodes.reference):
        anchor = link.get("refid") or link.get("refuri", "").partition("#")[2]
        if link.get("internal") and anchor in definitions:
            link["reftitle"] = definitions[anchor]


def describe_page(
    app: Sphinx, page: str, _template: str, context: dict[str, Any], doctree: document | None
) -> None:
    """Describe a page by its first paragraph to search engines and to whoever shows a link to it; name the
    first page by the book's title once, not twice, and offer the PDF there.
    """
    from docutils import nodes

    if page == app.config.root_doc:
        context["docstitle"] = ""
        if app.builder.name == "html" and (printed := find_pdf(app)):
            context["body"] += f'<p><a href="{printed.name}">This book as one PDF</a></p>'
    if doctree is None:
        return
    first = next(doctree.findall(nodes.paragraph), None)
    title = app.env.titles[page].astext()
    description = shorten(first.astext(), 200, placeholder=" ...") if first else title
    facts = {"description": description, "og:description": description, "og:title": title}
    facts |= {"og:type": "website", "og:site_name": app.config.html_title}
    if address := app.config.html_baseurl:
        facts["og:url"] = urljoin(address, app.builder.get_target_uri(page))
        if any(Path(extra).stem == PICTURE for extra in app.config.html_extra_path):
            facts["og:image"] = urljoin(address, f"{PICTURE}.png")
    names = {name: "property" if name.startswith("og:") else "name" for name in facts}
    context["metatags"] += "".join(
        f'<meta {names[name]}="{name}" content="{escape(text)}">\n' for name, text in facts.items()
    )


def write_sitemap(app: Sphinx, failure: Exception | None) -> None:
    """List the pages at their address for those who index them."""
    if failure or app.builder.name != "html" or not app.config.html_baseurl:
        return
    pages = [urljoin(app.config.html_baseurl, f"{page}.html") for page in sorted(app.env.found_docs)]
    listed = "".join(f"<url><loc>{escape(page)}</loc></url>\n" for page in pages)
    head = '<?xml version="1.0" encoding="utf-8"?>\n'
    head += '<urlset xmlns="http://www.sitemaps.org/schemas/sitemap/0.9">\n'
    Path(app.outdir, "sitemap.xml").write_text(f"{head}{listed}</urlset>\n", encoding="utf-8")


def setup(app: Sphinx) -> dict[str, Any]:
    """Register with Sphinx."""
    app.connect("config-inited", set_address, priority=900)
    app.connect("env-get-outdated", check_pages)
    app.connect("env-get-outdated", find_showing)
    app.connect("env-get-outdated", redo_after_kill)
    app.connect("doctree-resolved", print_numbers)
    app.connect("doctree-resolved", explain_terms)
    app.connect("html-page-context", describe_page)
    app.connect("build-finished", write_sitemap)
    app.connect("build-finished", tell_end)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
