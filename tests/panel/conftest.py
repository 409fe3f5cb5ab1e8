"""A panel for each module, and a browser for each process that needs one.

A module says in PROVIDERS, a text of relay.yaml, what its panel has. Without Chromium its tests are skipped, but not in CI.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from wire.relay import make_confdir

from .stage import PASSWORD, Panel, running

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
PATIENCE = 15_000
"""Milliseconds that a browser waits for something to appear."""


@pytest.fixture(scope="module")
def panel(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Panel]:
    """Its admin is signed in."""
    with running(tmp_path_factory.mktemp("panel"), getattr(request.module, "RELAY_YAML", "")) as found:
        assert found.sign_in().status == 200
        yield found


@pytest.fixture(scope="session")
def confdir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """mitmproxy's CA, made once, for relays beside a panel."""
    return make_confdir(tmp_path_factory.mktemp("mitmproxy"))


@pytest.fixture(scope="package")
def chromium() -> Iterator[Any]:
    """Not for longer: while it is there, nothing else in this thread can run an event loop."""
    if CHROMIUM is None and os.environ.get("CI", "").lower() not in ("true", "1"):
        pytest.skip("there is no Chromium: apt-get install chromium")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def visit(chromium: Any, panel: Panel) -> Iterator[Any]:
    """A page of the browser, where the admin is signed in; what a page complains of in its console fails the test."""
    context = chromium.new_context(base_url=panel.url, locale="en-US", viewport={"width": 1280, "height": 900})
    context.set_default_timeout(PATIENCE)
    name, _, value = panel.cookie.partition("=")
    context.add_cookies([{"name": name, "value": value, "url": panel.url}])
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
    yield page
    context.close()
    assert [text for text in complaints if "status of 4" not in text] == []


__all__ = ["PASSWORD"]
