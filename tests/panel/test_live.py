"""A page that stays open: what it says when the panel is away or the session is over, and what it shows afterwards."""

from __future__ import annotations

import time
from typing import Any

from .ledgers import attempt, request, write
from .stage import PASSWORD, Panel


def test_what_came_while_the_panel_was_away_is_shown_when_it_is_back(visit: Any, panel: Panel) -> None:
    write(panel.database, [request(f"old{n}", time.time() - n) for n in range(6)])
    ways = iter(["away"])
    visit.route("**/api/events*", lambda route: route.abort() if next(ways, "") else route.continue_())
    with visit.expect_event("requestfailed"):
        visit.goto("/requests")
    now = time.time()
    write(
        panel.database, [request("meanwhile", now, requested_model="claude-meanwhile")], [attempt("meanwhile", 1, now)]
    )
    visit.get_by_text("claude-meanwhile").wait_for()
    visit.complaints[:] = [text for text in visit.complaints if "ERR_FAILED" not in text]


def test_a_page_whose_session_is_over_says_so(visit: Any, panel: Panel) -> None:
    visit.context.clear_cookies()
    visit.goto("/login?next=/requests")
    visit.get_by_label("Name").fill("admin")
    visit.get_by_label("Password").fill(PASSWORD)
    held: list[Any] = []
    visit.route("**/api/events*", lambda route: held.append(route))
    with visit.expect_request("**/api/events*"):
        visit.get_by_role("button", name="Sign in").click()
    while not held:  # the request is known before it is asked which way it goes
        visit.wait_for_timeout(20)
    visit.evaluate(
        "fetch('/api/logout', {method: 'POST', headers: {'X-CSRF-Token': document.querySelector('meta[name=csrf]').content}})"
    )
    visit.context.clear_cookies()
    held[0].continue_()
    visit.get_by_text("You are signed out.").wait_for()
    visit.locator(".toast").get_by_role("link", name="Sign in").click()
    visit.wait_for_url("**/login?next=%2Frequests")
