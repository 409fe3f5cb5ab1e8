"""What stands on an answer's page beside what its body says."""

from __future__ import annotations

from claude_relay.proxy.views.page import page
from claude_relay.proxy.views.seen import Seen


def facts(seen: Seen) -> str:
    return page("t", seen.facts()).removeprefix("# t\n")


def test_nothing_is_known() -> None:
    assert Seen().facts() == {}


def test_what_the_relay_says_of_it() -> None:
    noted = {
        "key": "anthropic/k1",
        "cost_usd": "0.012300",
        "request": "req_relay_1",
        "client": ["y"],
        "session": "s" * 300,
    }
    seen = Seen(answer=True, story="k1 · m · 2 tries · req_relay_1", noted=noted, first_byte=0.3149, whole=2.0)
    assert facts(seen) == (
        "story: k1 · m · 2 tries\n"
        "relay: {request: req_relay_1, key: anthropic/k1, cost: 0.012300 USD}\n"
        "times: {first byte: 0.31 s, whole: 2.00 s}\n"
    )


def test_a_story_has_bounds() -> None:
    assert len(facts(Seen(story="x " * 100_000))) < 3000
