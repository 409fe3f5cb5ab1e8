from __future__ import annotations

from claude_relay.core.clients.limits import loosened, parse


def test_what_is_loosened() -> None:
    before = [parse(text) for text in ("$20/day", "60 requests/minute", "4 concurrent per session")]
    after = [parse(text) for text in ("$10/day", "90 requests/minute", "4 concurrent", "$1/day model claude-opus-*")]
    assert [str(limit) for limit in loosened(before, after)] == ["60 requests/minute", "4 concurrent per session"]
    assert loosened(before, [*before, parse("$1/total")]) == ()
    assert loosened([], before) == ()
