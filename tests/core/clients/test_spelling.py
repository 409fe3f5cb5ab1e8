from __future__ import annotations

import pytest

from claude_relay.core.clients import spelling
from claude_relay.core.times import seconds_of

NOW = 1_800_000_000.0


def test_a_line_holds_no_key() -> None:
    assert spelling.line("  moved to research ") == "moved to research"
    for text in ("a\nb", "x" * 501, f"rk-{'0' * 48}", "sk-ant-api03-abcdefghijklmnopqrstuvwxyz0123456789"):
        with pytest.raises(ValueError, match=r"is one line|looks like a key"):
            spelling.line(text)


def test_a_network() -> None:
    assert spelling.network("10.0.0.5") == "10.0.0.5/32"
    assert spelling.network(" 10.0.0.7/24") == "10.0.0.0/24"
    with pytest.raises(ValueError, match="is no address"):
        spelling.network("10.0.0")


def test_a_tier() -> None:
    assert [spelling.tier(text, ("admin", "public")) for text in ("Admin", "usual", "")] == ["admin", "", ""]
    with pytest.raises(ValueError, match="is none of admin, public, usual"):
        spelling.tier("gold", ("admin", "public"))


def test_a_moment_is_a_date_or_a_length_of_time() -> None:
    assert seconds_of(spelling.moment("30d", NOW)) == NOW + 30 * 86400
    assert spelling.moment("2030-01-01T00:00:00Z", NOW) == "2030-01-01T00:00:00.000Z"
    for text, why in (("soon", "neither a date"), ("2001-01-01", "over already"), ("99999999999d", "too far away")):
        with pytest.raises(ValueError, match=why):
            spelling.moment(text, NOW)
