"""The built book as a reader's browser sees it, without a network."""

import gzip
import re
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit

import pytest
from bs4 import BeautifulSoup

from helpers.paths import BOOK, ROOT

pytestmark = pytest.mark.slow
HTML = ROOT / "_build" / "html"
PAGES = sorted(
    str(path.relative_to(HTML))
    for path in HTML.rglob("*.html")
    if "_static" not in path.parts and path.name != "index.html"
)
BUDGET = 3e6  # bytes of a page
SMALLEST_TYPE = 9.95  # pixels: ten, save for rounding
WITHOUT_TEXT = {"genindex.html", "search.html"}  # made by Sphinx, with no source to describe

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


@each_page
def test_type_in_figures_is_at_least_ten_pixels_high_on_a_phone(book, open_page, name):
    page = open_page(book / name, width=390)
    widths = page.evaluate(
        "Object.fromEntries([...document.querySelectorAll('figure[id^=fig-]')].map((figure) => "
        "[figure.id, figure.querySelector('img').getBoundingClientRect().width]))"
    )
    smallest = {label: width * read_type(label) for label, width in widths.items()}
    assert {label: size for label, size in smallest.items() if size < SMALLEST_TYPE} == {}


def read_type(label):
    """Return the size of the smallest type of a figure as a part of its width, from its SVG."""
    svg = (BOOK / "figures" / f"{label.removeprefix('fig-').replace('-', '_')}.svg").read_text()
    sizes = re.findall(r"font(?:-size)?: (?:[a-z0-9]+ )*?([\d.]+)px", svg)
    return min(map(float, sizes)) / float(re.search(r'viewBox="0 0 ([\d.]+)', svg)[1])


@each_page
def test_a_page_describes_itself_and_has_the_icon_and_one_title(book, name):
    page = read_page(book / name)
    if name not in WITHOUT_TEXT:
        assert 20 < len(page.find("meta", attrs={"name": "description"})["content"]) <= 200
    assert ((book / name).parent / page.find("link", rel="icon")["href"]).resolve().is_file()
    parts = page.title.text.split(" — ")
    assert len(parts) == len(set(parts))


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("place", ["glossary.html#term-", "references.html#id"])
def test_a_term_and_a_reference_say_what_they_stand_for_on_hover_and_focus(book, open_page, place, theme):
    page = open_page(book / "data.html", theme=theme)
    link = page.locator(f'.bd-article a[href^="{place}"]').first
    said = link.get_attribute("data-bs-original-title")
    for act in (link.hover, link.focus):
        act()
        tip = page.locator(".tooltip.show")
        tip.wait_for(timeout=3000)
        assert tip.inner_text() == said
        assert len(said) > 30
        page.mouse.move(0, 0)
        link.blur()
        tip.wait_for(state="detached", timeout=3000)


def test_an_error_in_an_item_can_be_reported_where_the_repository_is_known(planted_page, open_page):
    page = open_page(planted_page)
    row = page.locator("table.dataTable tbody tr").first
    link = row.locator("a.report")
    link.wait_for()
    item = row.locator("td[data-label=item]").inner_text().removesuffix("report an error").strip()
    address = urlsplit(link.get_attribute("href"))
    assert (address.netloc, address.path) == ("github.com", "/some-one/a-study/issues/new")
    assert parse_qs(address.query)["title"][0].strip() == f"Item {item}:"


def test_a_report_is_offered_only_where_it_can_be_sent(book, open_page):
    page = open_page(book / "02_instruction_synthesis.html")
    page.wait_for_selector("div.dt-container")
    can_be_sent = page.locator("a.btn-source-issues-button").count() > 0
    assert (page.locator("a.report").count() > 0) == can_be_sent


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
