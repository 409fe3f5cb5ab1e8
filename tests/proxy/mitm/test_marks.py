"""Marks of flows that mitmweb shows as they are."""

from __future__ import annotations

from mitmproxy.test import tflow
from mitmproxy.tools.web import app

from claude_relay.proxy.mitm import marks
from claude_relay.proxy.mitm.marks import APART


def shown(mark: str) -> str:
    flow = tflow.tflow()
    flow.marked = mark
    return str(app.flow_to_json(flow)["marked"])


def test_a_text_is_shown_and_so_is_the_emoji_before_it() -> None:
    marks.install()
    try:
        assert shown(":repeat: k3 ×4") == f"🔁 k3 ×4{APART}"
        assert shown("claude-sonnet-5 k1") == f"claude-sonnet-5 k1{APART}"
        assert (shown(":x:"), shown("unknown"), shown("")) == ("❌", "🔴", "")
    finally:
        marks.remove()
    assert shown(":repeat: k3 ×4") == "🔴"
