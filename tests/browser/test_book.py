"""The built book as a reader's browser sees it, without a network."""

import gzip
import re
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
from bs4 import BeautifulSoup

from helpers.paths import ROOT

pytestmark = pytest.mark.slow
HTML = ROOT / "_build" / "html"
PAGES = sorted(
    str(path.relative_to(HTML))
    for path in HTML.rglob("*.html")
    if "_static" not in path.parts and path.name != "index.html"
)
BUDGET = 3e6  # bytes of a page

each_page = pytest.mark.parametrize("name", PAGES or ["intro.html"])


@pytest.fixture
def book():
    """Return the folder of the built book."""
    if not PAGES:
        pytest.skip("no book is built: make book")
    return HTML


def read_page(path):
    return BeautifulSoup(path.read_text(encoding="utf-8"), "html.parser")


@each_page
def test_a_page_opens_without_errors_or_network_and_within_its_budget(book, open_page, name):
    page = open_page(book / name)
    assert page.errors == []
    assert [url for url in page.loaded if not url.startswith(("file:", "data:", "blob:"))] == []
    files = {Path(unquote(urlsplit(url).path)) for url in page.loaded if url.startswith("file:")}
    assert (
        sum(file.stat().st_size for file in files if "_static" not in file.parts) < BUDGET
    )  # its own, as it lies on disk
    assert sum(weigh(file) for file in files) < BUDGET  # with all that the pages share, as it travels


def weigh(path):
    """Return the bytes that a server sends for a file: text goes compressed."""
    return path.stat().st_size if path.suffix in (".png", ".woff2") else len(gzip.compress(path.read_bytes()))


@each_page
def test_images_are_shown(book, open_page, name):
    page = open_page(book / name)
    assert (
        page.evaluate(
            "[...document.images].filter((image) => image.complete && !image.naturalWidth).map((image) => "
            "image.src)"
        )
        == []
    )


@each_page
def test_internal_links_lead_somewhere(book, name):
    links = {
        link["href"]
        for link in read_page(book / name).find_all("a", href=True)
        if not urlsplit(link["href"]).scheme
    }
    for link in links:
        target = urlsplit(link)
        file = ((book / name).parent / unquote(target.path)).resolve() if target.path else book / name
        assert file.is_file(), link
        if target.fragment:
            assert read_page(file).find(id=unquote(target.fragment)), link


@each_page
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_no_serious_barrier_is_found(book, open_page, name, theme):
    axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe()
    found = axe.run(open_page(book / name, theme=theme), options={"preload": False}).response["violations"]
    barriers = {
        rule["id"]: [node["html"][:200] for node in rule["nodes"]][:5]
        for rule in found
        if rule["impact"] in ("serious", "critical")
    }
    assert barriers == {}


@each_page
def test_nothing_overflows_a_phone(book, open_page, name):
    assert open_page(book / name, width=390).evaluate("document.documentElement.scrollWidth") <= 390


def test_the_first_page_can_be_read_within_a_second(book, open_page):
    page = open_page(book / "intro.html")
    assert page.evaluate("performance.getEntriesByType('navigation')[0].domContentLoadedEventEnd") < 1000


def test_search_finds_the_page_of_a_word(book, open_page):
    page = open_page(book / "search.html", query="?q=McNemar")
    page.wait_for_selector("#search-results li a")
    assert any(
        "03_lora_training" in link.get_attribute("href")
        for link in page.query_selector_all("#search-results li a")
    )


def test_a_solution_unfolds(book, open_page):
    page = open_page(book / "01_seed_curation.html")
    solution = page.locator(".solution.dropdown, .solution .dropdown, details").first
    hidden = solution.locator("p, pre").last
    assert not hidden.is_visible()
    solution.locator("summary, button, .admonition-title").first.click()
    hidden.wait_for(state="visible", timeout=2000)


def test_a_searchable_table_narrows_down_and_turns_its_pages(book, open_page):
    page = open_page(book / "02_instruction_synthesis.html")
    table = page.locator("div.dt-container")
    info = table.locator(".dt-info")
    every = int(re.search(r"of ([\d,]+) ", info.inner_text())[1].replace(",", ""))
    table.locator("input[type=search]").fill("not novel")
    page.wait_for_timeout(500)
    assert 0 < int(re.search(r"of ([\d,]+) ", info.inner_text())[1].replace(",", "")) < every
    first = table.locator("tbody tr").first.inner_text()
    table.locator(".dt-paging-button.next").click()
    assert table.locator("tbody tr").first.inner_text() != first


def test_nothing_that_a_model_wrote_runs(planted_page, open_page):
    page = open_page(planted_page)
    assert page.errors == []
    assert page.evaluate("window.planted !== 1")
    assert "<script>window.planted = 1</script>" in page.locator("table.dataTable").inner_text()
