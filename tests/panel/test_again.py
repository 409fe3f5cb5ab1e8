"""A recorded request from its page: once more, and at several targets."""

from __future__ import annotations

from typing import Any

from wire.upstream import FakeUpstream

from .stage import Panel
from .test_playground import HELLO, relay, upstream

__all__ = ["relay", "upstream"]


def test_a_request_is_sent_again_from_its_page(visit: Any, panel: Panel, upstream: FakeUpstream) -> None:
    first = panel.post("/api/playground", {"target": "anthropic", "request": HELLO}).headers["x-relay-request"]
    visit.goto(f"/requests/{first}")
    visit.get_by_role("button", name="Send again").click()
    visit.get_by_role("dialog").get_by_role("button", name="Send again").click()
    visit.get_by_text("replay", exact=True).wait_for()
    assert first not in visit.url
    visit.goto(f"/requests/{first}")
    visit.get_by_role("button", name="Duel").click()
    visit.get_by_role("textbox", name="Targets").fill("anthropic\nother")
    visit.get_by_role("button", name="Begin").click()
    visit.get_by_role("link", name="other", exact=True).wait_for()
    assert visit.get_by_role("row").filter(has_text="200").count() >= 2
