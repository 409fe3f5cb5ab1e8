"""Every page there is: in both themes, on a phone and on a screen, by WCAG's rules, without scripts, and how much it weighs."""

from __future__ import annotations

import gzip
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from fastapi.routing import APIRoute

from claude_relay.panel.pages import routers
from claude_relay.panel.pages.shell import STATIC

from .stage import Panel

LARGEST = 100_000
"""Bytes of a page, compressed, with what it loads."""
HEAVY = ("/docs",)
"""Pages of somebody else's files."""
OWN_SCRIPTS = 40_000
TAGS = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
SPECIAL = {"/login", "/welcome", "/preferences"}
"""Which have tests of their own, or lead elsewhere."""


def paths() -> list[str]:
    routes = [route for router in routers() for route in router.routes]
    found = {route.path for route in routes if isinstance(route, APIRoute) and "GET" in route.methods}
    return sorted(path for path in found - SPECIAL if "{" not in path)


def test_there_are_pages() -> None:
    assert {"/", "/docs"} <= set(paths())


@pytest.mark.parametrize("path", paths())
def test_a_page(visit: Any, panel: Panel, path: str) -> None:
    wrong: list[str] = []
    if path in HEAVY:
        visit.goto(path)
    for scheme in ("light", "dark"):
        visit.emulate_media(color_scheme=scheme)
        for width in (360, 1280):
            visit.set_viewport_size({"width": width, "height": 900})
            if path in HEAVY:  # it takes long to draw itself, and that once is enough
                visit.locator(".opblock-tag").first.wait_for()
                continue
            visit.goto(path)
            place = f"{path} {scheme} {width}"
            if visit.evaluate("document.documentElement.scrollWidth") > width:
                wrong.append(f"{place}: it is wider than the screen")
            assert visit.locator("h1").count() == 1, place
            found = Axe().run(visit, options={"runOnly": {"type": "tag", "values": TAGS}}).response["violations"]
            wrong += [
                f"{place}: {one['id']}: {one['nodes'][0]['html'][:150]} {one['nodes'][0].get('failureSummary', '')[:300]}"
                for one in found
            ]
    assert wrong == []


@pytest.mark.parametrize("path", paths())
def test_a_page_can_be_read_without_scripts_and_in_chinese(panel: Panel, path: str) -> None:
    answer = panel.ask("GET", path, headers={"Accept": "text/html", "Accept-Language": "zh-CN"})
    assert answer.status == 200
    assert '<html lang="zh"' in answer.text
    assert "<h1" in answer.text
    for forbidden in ("style=", " onclick", "<style", "javascript:"):
        assert forbidden not in answer.text


@pytest.mark.parametrize("path", [path for path in paths() if path not in HEAVY])
def test_what_a_page_weighs(panel: Panel, path: str) -> None:
    page = panel.ask("GET", path, headers={"Accept": "text/html", "Accept-Encoding": "gzip"})
    assert page.headers.get("content-encoding") == "gzip"
    text = gzip.decompress(page.body).decode()
    loaded = [part.split('"')[0] for part in text.split('"/static/')[1:]]
    sizes = [len(panel.get(f"/static/{name}", **{"Accept-Encoding": "gzip"}).body) for name in dict.fromkeys(loaded)]
    assert len(page.body) + sum(sizes) + own_scripts_compressed() < LARGEST


def own_scripts_compressed() -> int:
    return sum(len(gzip.compress(file.read_bytes())) for file in STATIC.rglob("*.js"))


def test_our_own_scripts_are_small() -> None:
    assert sum(file.stat().st_size for file in STATIC.rglob("*.js")) <= OWN_SCRIPTS
