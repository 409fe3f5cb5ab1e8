"""What needs somebody, on the first page."""

from __future__ import annotations

import time
from typing import Any

from claude_relay.core.notices import Kind, Notice
from claude_relay.store.notices import NoticeBook

from .ledgers import request, write
from .stage import Panel


def test_a_notice_is_put_off_where_it_is_shown(visit: Any, panel: Panel) -> None:
    now = time.time()
    write(panel.database, [request(f"{n}", now - n) for n in range(6)])
    NoticeBook(panel.database).put(Notice(Kind.KEY_OUT, "anthropic/k7", "k7 has no credit left", now), now)
    visit.goto("/")
    visit.get_by_text("k7 has no credit left").wait_for()
    visit.get_by_role("button", name="Snooze").click()
    visit.get_by_text("k7 has no credit left").wait_for(state="detached")
    assert panel.get("/api/notices?state=snoozed").json["data"][0]["text"] == "k7 has no credit left"
