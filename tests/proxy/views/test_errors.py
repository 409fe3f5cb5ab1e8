"""Errors of providers and of the relay."""

from __future__ import annotations

import json

from claude_relay.cli.fake import messages as fake
from claude_relay.proxy.views.errors import show
from claude_relay.proxy.views.page import page
from claude_relay.proxy.views.seen import Seen

SEEN = Seen("/v1/messages", answer=True, status=429, story="attempt 1 · anthropic/k1 · rate_limited")


def shown(body: object) -> str:
    found = show(json.dumps(body).encode(), SEEN)
    assert found is not None
    return page(*found).partition("\n")[2]


def test_an_error_of_claude() -> None:
    assert shown(fake.error("rate_limit_error", "Slow down: it is enough")).startswith(
        'status: 429\ntype: rate_limit_error\nmessage: "Slow down: it is enough"\nstory: attempt 1 · anthropic/k1 · rate_limited\nbody:\n'
    )


def test_errors_of_others() -> None:
    assert "code: insufficient_quota\nmessage: Pay\n" in shown(
        {"error": {"message": "Pay", "code": "insufficient_quota"}}
    )
    assert "type: RESOURCE_EXHAUSTED\n" in shown(
        [{"error": {"code": 429, "status": "RESOURCE_EXHAUSTED", "message": "Pay"}}]
    )


def test_no_error_that_can_be_read() -> None:
    assert show(b"<html>", SEEN) is None
    assert show(b"3", SEEN) is None
