"""A browser as people use one.

    with chromium_or_skip() as browser, visiting(browser, panel) as page:
        page.goto("/keys")

Somebody has signed in; what a page complains of in its console is an error. Where RELAY_TEST_PICTURES names a folder, as in CI, what each
test saw last is kept there: `picture`.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from waiting import PATIENCE

from .stage import Panel

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
PICTURES = os.environ.get("RELAY_TEST_PICTURES")


@contextmanager
def chromium_or_skip() -> Iterator[Any]:
    """While it is there, nothing else in this thread can run an event loop."""
    if CHROMIUM is None and os.environ.get("CI", "").lower() not in ("true", "1"):
        pytest.skip("there is no Chromium: apt-get install chromium")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@contextmanager
def visiting(browser: Any, panel: Panel, name: str = "") -> Iterator[Any]:
    """A page where the admin is signed in. `name`: of its picture; none: nothing is kept."""
    context = browser.new_context(base_url=panel.url, locale="en-US", viewport={"width": 1280, "height": 900})
    context.set_default_timeout(PATIENCE * 1000)
    cookie, _, value = panel.cookie.partition("=")
    context.add_cookies([{"name": cookie, "value": value, "url": panel.url}])
    page = context.new_page()
    complaints: list[str] = []
    page.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.complaints = complaints
    goto = page.goto

    def patient(path: str, **options: Any) -> Any:
        """A page does nothing before its modules have begun, and a test is quicker than people are."""
        answer = goto(path, **options)
        page.locator("[data-module]:not([data-begun])").first.wait_for(state="detached")
        return answer

    page.goto = patient
    try:
        yield page
    finally:
        if name:
            picture(page, name)
        context.close()
    assert [text for text in complaints if "status of 4" not in text] == []


def picture(page: Any, name: str) -> None:
    """Kept beside what else a run leaves, if anybody wants it."""
    if PICTURES:
        with suppress(Exception):  # a page that is closed already
            page.screenshot(
                path=Path(PICTURES, re.sub(r"[^\w.-]+", "-", name).strip("-") + ".png"), timeout=PATIENCE * 1000
            )
