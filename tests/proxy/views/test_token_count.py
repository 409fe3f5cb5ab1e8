"""Counts of tokens."""

from __future__ import annotations

from claude_relay.proxy.views.page import page
from claude_relay.proxy.views.seen import Seen
from claude_relay.proxy.views.token_count import show


def test_a_count() -> None:
    found = show(b'{"input_tokens": 2095}', Seen(story="k1 · m"))
    assert found is not None
    assert page(*found) == "# count of tokens, 22 B\ninput_tokens: 2095\nstory: k1 · m\n"
    assert show(b"2095", Seen()) is None
