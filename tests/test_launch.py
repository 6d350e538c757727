"""The pages offer to launch a notebook where their repository is known, and only there."""

import nbformat
import pytest
from bs4 import BeautifulSoup
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from helpers.book.runner import list_notebooks
from helpers.paths import ROOT

NAME = list_notebooks()[0].stem


@pytest.fixture
def find_links(tmp_path, build_pages):
    """Return a function that builds the page of a notebook for a repository and returns its links and its
    footer.
    """

    def build(repository):
        (tmp_path / "book").mkdir()
        kernel = {"kernelspec": {"name": "python3", "language": "python", "display_name": "Python 3"}}
        cells = [new_markdown_cell("# A notebook"), new_code_cell("1 + 1")]
        nbformat.write(new_notebook(cells=cells, metadata=kernel), tmp_path / "book" / f"{NAME}.ipynb")
        page = build_pages(tmp_path, NAME, repository) / f"{NAME}.html"
        soup = BeautifulSoup(page.read_text(), "html.parser")
        return [link["href"] for link in soup.find_all("a", href=True)], soup.find(
            "footer", class_="bd-footer-content"
        ).text

    return build


def test_published_pages_launch_the_notebook_as_it_stands_in_the_repository(find_links):
    links, _ = find_links("https://github.com/some-one/a-study")
    assert (
        f"https://mybinder.org/v2/gh/some-one/a-study/main?urlpath=lab/tree/notebooks/{NAME}.ipynb" in links
    )
    assert (
        f"https://colab.research.google.com/github/some-one/a-study/blob/main/notebooks/{NAME}.ipynb" in links
    )
    assert "https://github.com/some-one/a-study" in links
    assert (ROOT / "notebooks" / f"{NAME}.ipynb").is_file()


def test_pages_without_a_repository_offer_their_file_and_no_dead_link(find_links):
    links, footer = find_links("")
    assert not [link for link in links if "mybinder" in link or "colab" in link]
    assert f"_sources/{NAME}.ipynb" in links
    assert "Not for clinical use" in footer
