"""What a site has beside its pages: definitions on hover, descriptions, and an address where one is known."""

import nbformat
import pytest
from bs4 import BeautifulSoup
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from helpers.book.site import find_address

PAGES = {
    "first.md": "# A book\n\nAll about {term}`seeds <seed task>` and {cite}`gebru2021datasheets`.\n",
    "glossary.md": "# Glossary\n\nOf {glue:text}`lesson.ipynb::n_seeds:d`.\n\n"
    "```{glossary}\nseed task\n  One of *eighty* tasks.\n```\n",
    "references.md": "# References\n\n```{bibliography}\n```\n",
}

KERNEL = {"kernelspec": {"name": "python3", "language": "python", "display_name": "Python 3"}}


@pytest.fixture(scope="module")
def build_site(tmp_path_factory, build_pages):
    """Return a function that builds the pages for a repository and returns their folder and the first."""

    def build(repository=""):
        folder = tmp_path_factory.mktemp("site")
        (folder / "book").mkdir()
        for name, text in PAGES.items():
            (folder / "book" / name).write_text(text)
        write_value(folder / "book", "80")
        chapters = ["glossary", "references", "lesson"]
        return build_pages(folder, "first", repository, chapters), folder

    return build


@pytest.fixture(scope="module")
def site(build_site):
    """Build the pages for no repository, once."""
    return build_site()


def write_value(book, value):
    """Write a notebook that makes a value available to the pages."""
    prefix = "application/papermill.record/"
    metadata = {"scrapbook": {"mime_prefix": prefix, "name": "n_seeds"}}
    made = new_output("display_data", data={f"{prefix}text/plain": value}, metadata=metadata)
    cells = [new_markdown_cell("# Lesson"), new_code_cell("n_seeds", outputs=[made])]
    nbformat.write(new_notebook(cells=cells, metadata=KERNEL), book / "lesson.ipynb")


def read_page(html, name="first"):
    return BeautifulSoup((html / f"{name}.html").read_text(), "html.parser")


def read_meta(page):
    return {
        tag.get("name") or tag.get("property"): tag["content"] for tag in page.find_all("meta", content=True)
    }


def test_a_page_defines_its_terms_describes_itself_and_names_version_and_date(site):
    html, page = site[0], read_page(site[0])
    assert page.find("a", href="glossary.html#term-seed-task")["title"] == "One of eighty tasks."
    assert "Datasheets for datasets" in page.select_one(".bibtex-citation a")["title"]
    listed = read_page(html, "references").select(".citation .label")
    assert [label.text for label in listed] == ["[Gebru et al., 2021]"]
    meta = read_meta(page)
    assert meta["description"] == meta["og:description"] == "All about seeds and [Gebru et al., 2021]."
    assert page.title.text == meta["og:title"] == "A book"
    footer = page.find("footer", class_="bd-footer-content").text
    assert "Version 0." in footer
    assert "Last updated on" in footer
    assert page.find("link", rel="icon")["href"] == "_static/favicon.svg"


def test_pages_without_a_repository_claim_no_address(site):
    html, page = site[0], read_page(site[0])
    assert not {"og:url", "og:image"} & set(read_meta(page))
    assert page.find("link", rel="canonical") is None
    assert not (html / "sitemap.xml").exists()


def test_pages_of_a_repository_know_their_address_and_are_listed(build_site):
    html, _ = build_site("https://github.com/some-one/a-study")
    page = read_page(html)
    address = "https://some-one.github.io/a-study"
    assert read_meta(page)["og:url"] == f"{address}/first.html"
    assert page.find("link", rel="canonical")["href"] == f"{address}/first.html"
    assert f"<loc>{address}/glossary.html</loc>" in (html / "sitemap.xml").read_text()


@pytest.mark.parametrize(
    "repository", ["", "https://gitlab.com/some-one/a-study", "https://github.com/some-one"]
)
def test_only_a_repository_of_github_has_an_address_that_we_know(repository):
    assert find_address(repository) == ""


def test_a_page_shows_the_new_value_of_a_notebook_that_alone_has_changed(site, render_pages):
    html, folder = site
    assert "Of 80." in read_page(html, "glossary").text
    references = (html / "references.html").stat()
    write_value(folder / "book", "81")
    render_pages(folder)
    assert "Of 81." in read_page(html, "glossary").text
    assert (html / "references.html").stat() == references
