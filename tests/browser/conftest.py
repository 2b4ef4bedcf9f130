"""A real browser on the pages, with JavaScript and without."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, Playwright, sync_playwright

from tests.storefront.conftest import provider, provider_process

__all__ = ["provider", "provider_process"]

SYSTEM_BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--disable-background-networking"]


def find_browser(playwright: Playwright) -> str:
    """A Chromium of the system, else Playwright's. Fails with the cure, for a skipped test proves nothing."""
    for name in SYSTEM_BROWSERS:
        path = shutil.which(name)
        if path:
            return path
    own = playwright.chromium.executable_path
    if Path(own).exists():
        return own
    pytest.fail(
        "The browser tests need Chromium, and none was found. Install one: `apt-get install chromium`, or "
        "`.venv/bin/playwright install chromium`. To leave them out for once: pytest -m 'not browser'.",
        pytrace=False,
    )


@pytest.fixture(scope="module")
def browser(django_db_setup: None) -> Iterator[Browser]:
    """One browser per module, begun after the database and ended before other tests.

    While it is open, Playwright's event loop runs in this thread, and Django takes every query for one made
    inside a coroutine; it is told that it is not.
    """
    with pytest.MonkeyPatch.context() as environment, sync_playwright() as playwright:
        environment.setenv("DJANGO_ALLOW_ASYNC_UNSAFE", "1")
        opened = playwright.chromium.launch(executable_path=find_browser(playwright), args=FLAGS)
        yield opened
        opened.close()


class Visit:
    """One visitor's page, and everything that went wrong behind it."""

    def __init__(self, page: Page, base: str) -> None:
        self.page = page
        self.base = base
        self.complaints: list[str] = []
        page.on("console", lambda message: self._complain(message.type, message.text))
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on("request", lambda request: self._watch(request.url))

    def open(self, path: str) -> None:
        self.page.goto(self.base + path)

    def _complain(self, kind: str, text: str) -> None:
        # The browser itself reports a page that came with a 4xx; that is no complaint about the page.
        if kind in ("error", "warning") and "the server responded with a status of" not in text:
            self.complaints.append(text)

    def _watch(self, url: str) -> None:
        if not url.startswith((self.base, "data:")):
            self.complaints.append(f"asked a third party: {url}")


@pytest.fixture(params=[True, False], ids=["with JavaScript", "without JavaScript"])
def visit(browser: Browser, live_server: Any, request: pytest.FixtureRequest) -> Iterator[Visit]:
    context = browser.new_context(java_script_enabled=request.param, viewport={"width": 1280, "height": 900})
    context.set_default_timeout(15_000)
    visitor = Visit(context.new_page(), live_server.url)
    yield visitor
    context.close()
    assert not visitor.complaints
