"""Which turn a turn goes on from, why it missed the cache, and what that cost."""

from __future__ import annotations

import doctest
import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from claude_relay.core.accounting import cache_misses
from claude_relay.core.accounting.cache_misses import (
    LEAST,
    LOOKBACK,
    TURNS,
    WORDS,
    Conversations,
    Miss,
    Turn,
    as_if_read,
    explained,
    tokens_missed,
)
from claude_relay.core.accounting.tokens import Usage
from claude_relay.core.bodies.prompts import read_prompt

AT = 1_795_000_000.0
WROTE = Usage(
    input_tokens=5, output_tokens=9, cache_read_tokens=0, cache_write_5m_tokens=20_000, cache_write_1h_tokens=0
)
HIT = Usage(
    input_tokens=5, output_tokens=9, cache_read_tokens=20_000, cache_write_5m_tokens=500, cache_write_1h_tokens=0
)
ANEW = replace(WROTE, cache_write_5m_tokens=20_500)


def messages(count: int, changed: int | None = None, kind: str = "m") -> list[dict[str, Any]]:
    """So many, one of them another one."""
    texts = [f"{kind}{n}" if n != changed else "changed" for n in range(count)]
    return [{"role": "user" if n % 2 == 0 else "assistant", "content": text} for n, text in enumerate(texts)]


def turn(said: list[dict[str, Any]], *, ttl: str = "5m", mark: bool = True, body: Any = None, **more: Any) -> Turn:
    control = {"cache_control": {"type": "ephemeral", "ttl": ttl}} if mark else {}
    whole = {"tools": [{"name": "t"}], "system": "be good", "messages": said} | control | (body or {})
    prompt = read_prompt(json.dumps(whole).encode())
    assert prompt is not None
    return Turn(**{"prompt": prompt, "provider": "p", "key": "k", "model": "m", "betas": frozenset(), "at": AT} | more)


def second(after: Turn, now: Turn, usage: Usage = ANEW) -> Miss | None:
    known = Conversations()
    assert known.follow("s", after, WROTE) is None
    return known.follow("s", now, usage)


def test_a_turn_that_reads_what_was_cached_misses_nothing() -> None:
    assert second(turn(messages(1)), turn(messages(3)), HIT) is None


LONG = {"body": {"system": [{"type": "text", "text": "x", "cache_control": {"type": "ephemeral", "ttl": "1h"}}]}}


@pytest.mark.parametrize(
    ("cause", "before", "now"),
    [
        ("tools[1]", {}, {"body": {"tools": [{"name": "t"}, {"name": "u"}]}}),
        ("system[0]", {}, {"body": {"system": "be bad"}}),
        ("thinking", {}, {"body": {"thinking": {"type": "enabled"}}}),
        ("model", {}, {"model": "n"}),
        ("beta header", {}, {"betas": frozenset({"new-2026"})}),
        ("key", {}, {"key": "l", "model": "n"}),
        ("provider", {}, {"provider": "q", "key": "l"}),
        ("ttl 5m", {}, {"at": AT + 300, "key": "l"}),
        ("unknown", {}, {"at": AT + 299}),
        ("unknown", {"ttl": "1h"}, {"at": AT + 301}),
        ("ttl 1h", {"ttl": "1h"}, {"at": AT + 3600}),
        ("ttl 5m", LONG, {**LONG, "at": AT + 301}),
        ("key", LONG, {**LONG, "at": AT + 301, "key": "l"}),
        ("ttl 1h", LONG, {**LONG, "at": AT + 3601, "key": "l"}),
        ("cache_control", {}, {"mark": False}),
    ],
)
def test_why(cause: str, before: dict[str, Any], now: dict[str, Any]) -> None:
    assert second(turn(messages(3), **before), turn(messages(5), **now)) == Miss(cause, 20_000)


def test_a_changed_message() -> None:
    assert second(turn(messages(3)), turn(messages(5, changed=2))) == Miss("messages[2].content[0]", 20_000)
    assert second(turn(messages(1)), turn(messages(3, changed=0))) == Miss("messages[0].content[0]", 20_000)


@pytest.mark.parametrize(("more", "cause"), [(LOOKBACK - 1, "unknown"), (LOOKBACK, "lookback")])
def test_marks_too_far_from_what_was_cached(more: int, cause: str) -> None:
    missed = second(turn(messages(1)), turn(messages(1 + more)))
    assert missed is not None
    assert missed.cause == cause


def test_a_provider_without_marks_has_neither_lifetimes_nor_a_lookback() -> None:
    before, now = turn(messages(1)), turn(messages(50), at=AT + 9999)
    plain = (replace(one, prompt=one.prompt.without_marks()) for one in (before, now))
    assert second(*plain) == Miss("unknown", 20_000)


def test_a_retry_goes_on_from_the_same_turn() -> None:
    assert second(turn(messages(3)), turn(messages(3), key="l")) == Miss("key", 20_000)


@pytest.mark.parametrize(
    "other",
    [
        turn(messages(1, kind="title"), body={"system": "write a title"}),
        turn(messages(9, kind="other"), body={"system": "you are another agent"}),
        turn(messages(3, changed=2)),
        turn(messages(1)),
    ],
    ids=["another question", "another conversation", "a side branch", "gone back"],
)
def test_what_is_no_next_turn(other: Turn) -> None:
    assert second(turn(messages(3)), other) is None


def test_a_side_branch_does_not_hide_the_turn_it_branched_off_from() -> None:
    known = Conversations()
    known.follow("s", turn(messages(3)), WROTE)
    assert known.follow("s", turn([*messages(4), {"role": "user", "content": "suggest"}]), HIT) is None
    assert known.follow("s", turn(messages(5)), HIT) is None
    assert known.follow("s", turn(messages(7), key="l"), ANEW) == Miss("key", 20_500)


def test_sessions_are_apart() -> None:
    known = Conversations()
    known.follow("s", turn(messages(1)), WROTE)
    assert known.follow("t", turn(messages(3), key="l"), ANEW) is None
    assert known.follow("s", turn(messages(3), key="l"), ANEW) == Miss("key", 20_000)


def test_what_is_not_cached_is_not_remembered() -> None:
    known = Conversations()
    known.follow("s", turn(messages(1)), Usage(input_tokens=9, cache_read_tokens=0))
    assert "s" not in known


def test_what_server_tools_read_again_and_again_is_nothing_to_compare_with() -> None:
    known = Conversations()
    known.follow("s", turn(messages(1)), replace(HIT, cache_read_tokens=90_000, server_tool_requests=3))
    assert "s" not in known


def test_little_is_no_miss() -> None:
    assert second(turn(messages(1)), turn(messages(3)), replace(HIT, cache_read_tokens=20_001 - LEAST)) is None


def test_memory_is_bounded() -> None:
    known = Conversations(sessions=3, blocks=40)
    for n in range(5):
        for length in range(1, 2 * TURNS + 2, 2):
            known.follow(n, turn(messages(length)), WROTE)
    kept = sum(len(one.prompt.hashes) for turns in known._turns.values() for one in turns)
    assert known.blocks == kept <= 40
    assert 1 <= len(known) <= 3
    assert 4 in known
    assert all(len(turns) <= TURNS for turns in known._turns.values())


def test_a_prompt_that_became_shorter_missed_no_more_than_it_is() -> None:
    assert tokens_missed(100_000, Usage(input_tokens=10, cache_read_tokens=5_000, cache_write_5m_tokens=7_000)) == 7_010


COUNTS = st.none() | st.integers(0, 10**6)


@given(COUNTS, COUNTS, COUNTS, COUNTS, st.integers(0, 10**7))
def test_no_token_comes_or_goes(
    fresh: int | None, read: int | None, short: int | None, long: int | None, cached: int
) -> None:
    usage = Usage(fresh, 7, read, short, long)
    missed = tokens_missed(cached, usage)
    found = as_if_read(usage, missed)
    assert sum(n or 0 for n in found.columns().values()) == sum(n or 0 for n in usage.columns().values())
    assert (found.cache_read_tokens or 0) == (read or 0) + missed
    assert min(n for n in found.columns().values() if n is not None) >= 0


def test_what_lives_longer_stands_first() -> None:
    usage = Usage(10, 1, 0, 20, 30)
    assert as_if_read(usage, 35) == Usage(10, 1, 35, 15, 0)
    assert as_if_read(usage, 55) == Usage(5, 1, 55, 0, 0)


def test_every_cause_has_words() -> None:
    assert explained("tools[3]") == "tools[3] changed"
    assert explained("tools[3]", fully=True) == "tools[3] changed; all that follows it is lost with it"
    assert explained("thinking", fully=True) == "thinking changed; all messages are lost with it"
    assert explained("key", fully=True) == explained("key")
    assert all(explained(cause) == text for cause, text in WORDS.items())


def test_examples() -> None:
    assert doctest.testmod(cache_misses).failed == 0
