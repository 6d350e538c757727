"""Questions and slides as a class sees them."""

import pytest

from helpers.paths import ROOT

pytestmark = pytest.mark.slow
HTML = ROOT / "_build" / "html"
LESSONS = sorted(path.name for path in HTML.glob("[0-9][0-9]_*.html"))


@pytest.fixture
def book():
    """Return the folder of the built book."""
    if not LESSONS:
        pytest.skip("no book is built: make book")
    return HTML


@pytest.mark.parametrize("name", LESSONS or ["01_seed_curation.html"])
def test_an_option_unfolds_by_keyboard_and_says_why(book, open_page, name):
    page = open_page(book / name)
    options = page.locator(".self-check details")
    assert options.count() == 12
    reasons = options.locator("p")
    assert not reasons.first.is_visible()
    options.first.locator("summary").focus()
    page.keyboard.press("Enter")
    assert reasons.first.inner_text().startswith(("Right.", "Wrong."))
    assert not reasons.nth(1).is_visible()


def test_each_slide_fits_the_screen(book, open_page):
    page = open_page(book / "slides.html")
    heights = page.evaluate(
        "[...document.querySelectorAll('#slides > section')].map((slide) => "
        "slide.getBoundingClientRect().height)"
    )
    assert len(heights) >= 6
    assert all(height == pytest.approx(900, abs=2) for height in heights)


def test_the_page_down_key_shows_the_next_slide(book, open_page):
    page = open_page(book / "slides.html")
    seen = []
    for _ in range(3):
        page.keyboard.press("PageDown")
        page.wait_for_timeout(1500)
        places = page.evaluate(
            "[...document.querySelectorAll('#slides > section')].map((slide) => "
            "slide.getBoundingClientRect().top)"
        )
        seen.append([number for number, top in enumerate(places) if abs(top) < 2])
    assert [len(shown) for shown in seen] == [1, 1, 1]
    assert seen[0] < seen[1] < seen[2]
