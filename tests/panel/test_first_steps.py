"""The first visit: three steps, and a light that turns green with the first request."""

from __future__ import annotations

import time
from typing import Any

from .ledgers import attempt, request, write
from .stage import Panel


def test_three_steps_lead_to_the_first_request(visit: Any, panel: Panel) -> None:
    with visit.expect_response("**/api/events*"):
        visit.goto("/")
    visit.get_by_role("heading", name="Three steps to the first request").wait_for()
    assert "ANTHROPIC_BASE_URL=http" in visit.locator("#line-there").inner_text()
    now = time.time()
    write(panel.database, [request("first", now)], [attempt("first", 1, now)])
    visit.get_by_role("heading", name="It works.").wait_for()
    assert visit.get_by_role("img", name="1 attempt: anthropic/k1").count() == 1
    visit.get_by_role("link", name="To the overview").click()
    visit.get_by_role("heading", name="Newest requests").wait_for()
    assert visit.get_by_role("heading", name="It works.").count() == 0
