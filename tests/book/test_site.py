"""What a site has beside its pages: definitions on hover, descriptions, and an address where one is known."""

import os
import shutil

import pytest
from bs4 import BeautifulSoup

from helpers.book.site import find_address

PAGES = {
    "first.md": "# A book\n\nAll about {term}`seeds <seed task>` and {cite}`gebru2021datasheets`.\n",
    "glossary.md": "# Glossary\n\n```{glossary}\nseed task\n  One of *eighty* tasks.\n```\n",
    "references.md": "# References\n\n```{bibliography}\n```\n",
}


@pytest.fixture
def read_pages(tmp_path, build_pages):
    """Return a function that builds three pages for a repository and returns their folder and the first."""

    def build(repository=""):
        (tmp_path / "book").mkdir()
        for name, text in PAGES.items():
            (tmp_path / "book" / name).write_text(text)
        html = build_pages(tmp_path, "first", repository, chapters=["glossary", "references"])
        return html, BeautifulSoup((html / "first.html").read_text(), "html.parser")

    return build


def read_meta(page):
    return {
        tag.get("name") or tag.get("property"): tag["content"] for tag in page.find_all("meta", content=True)
    }


def test_a_page_defines_its_terms_describes_itself_and_names_version_and_date(read_pages):
    html, page = read_pages()
    assert page.find("a", href="glossary.html#term-seed-task")["title"] == "One of eighty tasks."
    assert "Datasheets for datasets" in page.select_one(".bibtex-citation a")["title"]
    listed = BeautifulSoup((html / "references.html").read_text(), "html.parser").select(".citation .label")
    assert [label.text for label in listed] == ["[Gebru et al., 2021]"]
    meta = read_meta(page)
    assert meta["description"] == meta["og:description"] == "All about seeds and [Gebru et al., 2021]."
    assert page.title.text == meta["og:title"] == "A book"
    assert page.select_one("a.navbar-brand").text.strip() == meta["og:site_name"]
    footer = page.find("footer", class_="bd-footer-content").text
    assert "Version 0." in footer
    assert "Last updated on" in footer
    assert page.find("link", rel="icon")["href"] == "_static/favicon.svg"


def test_the_first_page_offers_the_pdf_only_if_it_was_printed_from_these_notebooks(tmp_path, build_pages):
    book, printed = tmp_path / "book", tmp_path / "_build" / "book.pdf"
    book.mkdir()
    (book / "first.md").write_text("# A book\n\nWith a text.\n")
    printed.parent.mkdir(exist_ok=True)
    printed.write_bytes(b"%PDF")
    html = build_pages(tmp_path, "first", "")
    assert 'href="book.pdf"' in (html / "first.html").read_text()
    assert (html / "book.pdf").read_bytes() == b"%PDF"
    (book / "later.ipynb").write_text("{}")
    os.utime(printed, (0, 0))
    shutil.rmtree(book / "_static")  # `build_pages` brings it again
    html = build_pages(tmp_path, "first", "")
    assert "book.pdf" not in (html / "first.html").read_text()


def test_pages_without_a_repository_claim_no_address(read_pages):
    html, page = read_pages()
    assert not {"og:url", "og:image"} & set(read_meta(page))
    assert page.find("link", rel="canonical") is None
    assert not (html / "sitemap.xml").exists()


def test_pages_of_a_repository_know_their_address_and_are_listed(read_pages):
    html, page = read_pages("https://github.com/some-one/a-study")
    address = "https://some-one.github.io/a-study"
    assert read_meta(page)["og:url"] == f"{address}/first.html"
    assert page.find("link", rel="canonical")["href"] == f"{address}/first.html"
    assert f"<loc>{address}/glossary.html</loc>" in (html / "sitemap.xml").read_text()


@pytest.mark.parametrize(
    "repository", ["", "https://gitlab.com/some-one/a-study", "https://github.com/some-one"]
)
def test_only_a_repository_of_github_has_an_address_that_we_know(repository):
    assert find_address(repository) == ""
