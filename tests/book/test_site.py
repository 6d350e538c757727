"""What a site has beside its pages: definitions on hover, descriptions, and, where its repository is known,
an address and links that launch a notebook.
"""

import os
import shutil

import nbformat
import pytest
from bs4 import BeautifulSoup
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from helpers.book.parameters import list_notebooks
from helpers.book.site import UNFINISHED, find_address
from helpers.paths import ROOT

NAME = list_notebooks()[0].stem
PAGES = {
    "first.md": "# A book\n\nAll about {term}`seeds <seed task>` and {cite}`gebru2021datasheets`.\n",
    "glossary.md": f"# Glossary\n\nOf {{glue:text}}`{NAME}.ipynb::n_seed_tasks:d`.\n\n"
    "```{glossary}\nseed task\n  One of *eighty* tasks.\n```\n",
    "references.md": "# References\n\n```{bibliography}\n```\n",
}

KERNEL = {"kernelspec": {"name": "python3", "language": "python", "display_name": "Python 3"}}


@pytest.fixture(scope="module")
def build_site(tmp_path_factory, build_pages):
    """Return a function that builds the pages for a repository and returns their folder and the one of their
    sources.
    """

    def build(repository=""):
        folder = tmp_path_factory.mktemp("site")
        (folder / "book").mkdir()
        for name, text in PAGES.items():
            (folder / "book" / name).write_text(text)
        write_value(folder / "book", "80")
        chapters = ["glossary", "references", NAME]
        return build_pages(folder, "first", repository, chapters), folder

    return build


@pytest.fixture(scope="module")
def site(build_site):
    """Build the pages for no repository, once; return their folder and the one of their sources."""
    return build_site()


@pytest.fixture(scope="module")
def published_site(build_site):
    """Build the pages for a repository, once; return the folder of the pages."""
    return build_site("https://github.com/some-one/a-study")[0]


def write_value(book, value):
    """Write a notebook that makes a value available to the pages."""
    prefix = "application/papermill.record/"
    metadata = {"scrapbook": {"mime_prefix": prefix, "name": "n_seed_tasks"}}
    made = new_output("display_data", data={f"{prefix}text/plain": value}, metadata=metadata)
    cells = [new_markdown_cell("# Lesson"), new_code_cell("n_seed_tasks", outputs=[made])]
    nbformat.write(new_notebook(cells=cells, metadata=KERNEL), book / f"{NAME}.ipynb")


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


def test_the_pdf_is_no_picture_for_links_to_the_pages(tmp_path, build_pages):
    (tmp_path / "book").mkdir()
    (tmp_path / "book" / "first.md").write_text("# A book\n\nWith a text.\n")
    (tmp_path / "_build").mkdir()
    (tmp_path / "_build" / "book.pdf").write_bytes(b"%PDF")
    html = build_pages(tmp_path, "first", "https://github.com/some-one/a-study")
    assert "og:url" in read_meta(read_page(html))
    assert "og:image" not in read_meta(read_page(html))


def test_pages_without_a_repository_claim_no_address(site):
    html, page = site[0], read_page(site[0])
    assert not {"og:url", "og:image"} & set(read_meta(page))
    assert page.find("link", rel="canonical") is None
    assert not (html / "sitemap.xml").exists()


def test_pages_of_a_repository_know_their_address_and_are_listed(published_site):
    html, page = published_site, read_page(published_site)
    address = "https://some-one.github.io/a-study"
    assert read_meta(page)["og:url"] == f"{address}/first.html"
    assert page.find("link", rel="canonical")["href"] == f"{address}/first.html"
    assert f"<loc>{address}/glossary.html</loc>" in (html / "sitemap.xml").read_text()


def list_links(html):
    return [link["href"] for link in read_page(html, NAME).find_all("a", href=True)]


def test_published_pages_launch_the_notebook_as_it_stands_in_the_repository(published_site):
    links = list_links(published_site)
    assert (
        f"https://mybinder.org/v2/gh/some-one/a-study/main?urlpath=lab/tree/notebooks/{NAME}.ipynb" in links
    )
    assert (
        f"https://colab.research.google.com/github/some-one/a-study/blob/main/notebooks/{NAME}.ipynb" in links
    )
    assert "https://github.com/some-one/a-study" in links
    assert (ROOT / "notebooks" / f"{NAME}.ipynb").is_file()


def test_pages_without_a_repository_offer_their_file_and_no_dead_link(site):
    links = list_links(site[0])
    assert not [link for link in links if "mybinder" in link or "colab" in link]
    assert f"_sources/{NAME}.ipynb" in links
    footer = read_page(site[0], NAME).find("footer", class_="bd-footer-content").text
    assert "Not for clinical use" in footer


@pytest.mark.parametrize(
    "repository", ["", "https://gitlab.com/some-one/a-study", "https://github.com/some-one"]
)
def test_only_a_repository_of_github_has_an_address_that_we_know(repository):
    assert find_address(repository) == ""


def test_a_book_that_lacks_a_page_is_refused_before_anything_is_written(tmp_path, build_pages):
    (tmp_path / "book").mkdir()
    (tmp_path / "book" / "first.md").write_text("# A book\n\nWith a text.\n")
    with pytest.raises(AssertionError, match=f"but {NAME} have no file. Run `study run`"):
        build_pages(tmp_path, "first", chapters=[NAME])
    assert not list((tmp_path / "_build").rglob("first.html"))


def test_a_page_shows_the_new_value_of_a_notebook_that_alone_has_changed(site, render_pages):
    html, folder = site
    assert "Of 80." in read_page(html, "glossary").text
    references = (html / "references.html").stat()
    write_value(folder / "book", "81")
    render_pages(folder)
    assert "Of 81." in read_page(html, "glossary").text
    assert (html / "references.html").stat() == references


def test_pages_of_a_build_that_was_killed_are_written_again(site, render_pages):
    """Sphinx keeps what it has read before it writes, and takes any page newer than its source as whole."""
    html, folder = site
    half, old = html / "first.html", html / "glossary.html"
    whole, outdated = half.read_bytes(), old.read_bytes()
    write_value(folder / "book", "82")
    render_pages(folder)
    assert not (html / UNFINISHED).exists()
    half.write_bytes(whole[:3000])
    old.write_bytes(outdated)
    (html / UNFINISHED).touch()
    render_pages(folder)
    assert half.read_bytes() == whole
    assert "Of 82." in read_page(html, "glossary").text
    assert not (html / UNFINISHED).exists()
