"""Chromium for pages on disk. Skipped, with the reason, where there is no driver or no browser."""

import shutil
from pathlib import Path

import pytest

BROWSERS = ("chromium", "chromium-browser", "google-chrome")


@pytest.fixture(scope="session")
def browser():
    """Start Chromium without a window."""
    sync_api = pytest.importorskip(
        "playwright.sync_api", reason="playwright is not installed: pip install --editable '.[browser]'"
    )
    found = next(filter(None, map(shutil.which, BROWSERS)), None)
    if found is None:
        pytest.skip(f"no browser is installed: one of {', '.join(BROWSERS)}")
    with sync_api.sync_playwright() as driver:
        chromium = driver.chromium.launch(executable_path=found, args=["--no-sandbox"])
        yield chromium
        chromium.close()


@pytest.fixture
def open_page(browser):
    """Return a function that opens a page of the disk in a fresh context and notes what went wrong and what
    was loaded.
    """
    contexts = []

    def open_one(path: Path, width: int = 1300, theme: str = "light", query: str = ""):
        contexts.append(browser.new_context(viewport={"width": width, "height": 900}))
        page = contexts[-1].new_page()
        page.errors, page.loaded = [], []
        page.add_init_script(
            f"localStorage.setItem('mode', '{theme}'); localStorage.setItem('theme', '{theme}')"
        )
        page.on(
            "console", lambda message: page.errors.append(message.text) if message.type == "error" else None
        )
        page.on("pageerror", lambda error: page.errors.append(str(error)))
        page.on("requestfailed", lambda request: page.errors.append(f"not loaded: {request.url}"))
        page.on("request", lambda request: page.loaded.append(request.url))
        page.route(lambda url: not url.startswith(("file:", "data:", "blob:")), lambda route: route.abort())
        page.goto(path.as_uri() + query, wait_until="load")
        page.wait_for_timeout(200)  # tables and buttons are made after loading
        return page

    yield open_one
    for context in contexts:
        context.close()
