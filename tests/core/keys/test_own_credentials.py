"""Credentials of clients, as they are remembered; what requests make of them: tests/core/retry/test_own_credential."""

from claude_relay.core.exchange import Cause, Verdict
from claude_relay.core.keys.own_credentials import MOST, MOST_HEARD, SHARED, OwnCredentials
from claude_relay.core.keys.replication import absorb, collect

OPUS = "claude-opus-4-5"
MINE = f"{SHARED}mine"
LIMITED = Verdict("rate_limited", Cause.KEY, cooldown_until=60.0)


def test_not_all_are_remembered():
    known = OwnCredentials("a")
    for n in range(3 * MOST):
        known.of(str(n), first=True)
    assert len(known) == MOST


def test_the_oldest_go_and_those_in_use_stay():
    known = OwnCredentials("a")
    mine = known.of("mine", first=True)
    mine.failed(LIMITED, OPUS, 0.0, lambda: 0.0, probe=False)
    for n in range(3 * MOST):
        known.of(str(n), first=True)
        assert not known.of("mine", first=False).is_ready(OPUS, 1.0)
    assert known.of("mine", first=True).is_ready(OPUS, 61.0)
    assert known.of("0", first=True).is_ready(OPUS, 1.0)


def test_one_says_nothing_of_another():
    known = OwnCredentials("a")
    known.of("mine", first=True).failed(LIMITED, OPUS, 0.0, lambda: 0.0, probe=False)
    assert known.of("yours", first=True).is_ready(OPUS, 1.0)
    assert not known.of("mine", first=True).is_ready(OPUS, 1.0)


def told(one: OwnCredentials, other: OwnCredentials, now: float = 0.0) -> None:
    """What one relay knows goes to another one."""
    absorb({}, None, collect({}, None, now, [one]), now, [other])


def test_another_relay_hears_before_the_credential_comes_there():
    one, other = OwnCredentials("a"), OwnCredentials("a")
    one.of(MINE, first=True).failed(LIMITED, OPUS, 0.0, lambda: 0.0, probe=False)
    told(one, other)
    assert not other.of(MINE, first=True).is_ready(OPUS, 1.0)
    assert other.of(MINE, first=True).is_ready(OPUS, 61.0)
    assert other.of(f"{SHARED}yours", first=True).is_ready(OPUS, 1.0)


def test_what_is_of_one_process_or_of_another_provider_is_not_heard():
    one, other, elsewhere = OwnCredentials("a"), OwnCredentials("a"), OwnCredentials("b")
    for mark in ("mine", MINE):
        one.of(mark, first=True).failed(LIMITED, OPUS, 0.0, lambda: 0.0, probe=False)
    found = collect({}, None, 0.0, [one])
    assert [row["key_id"] for row in found.cooldowns] == [MINE]
    absorb({}, None, found, 0.0, [other, elsewhere])
    assert other.of("mine", first=True).is_ready(OPUS, 1.0)
    assert elsewhere.of(MINE, first=True).is_ready(OPUS, 1.0)


def test_one_looks_again_and_the_other_waits():
    one, other = OwnCredentials("a"), OwnCredentials("a")
    long = Verdict("rate_limited", Cause.KEY, cooldown_until=100.0)
    one.of(MINE, first=True).failed(long, OPUS, 0.0, lambda: 0.0, probe=False)
    told(one, other)
    assert one.of(MINE, first=True).started(OPUS, 101.0)
    told(one, other, 101.0)
    assert not other.of(MINE, first=True).is_ready(OPUS, 101.0)
    one.of(MINE, first=True).succeeded(OPUS, {}, 102.0, probe=True, today=102.0)
    told(one, other, 102.0)
    assert other.of(MINE, first=True).is_ready(OPUS, 102.0)
    assert not other.of(MINE, first=True).started(OPUS, 102.0), "it is back, and no probe"


def test_a_window_that_a_good_answer_used_up():
    one, other = OwnCredentials("a"), OwnCredentials("a")
    unified = "anthropic-ratelimit-unified-"
    headers = {f"{unified}5h-utilization": "1.0", f"{unified}5h-reset": "1600", f"{unified}5h-status": "allowed"}
    one.of(MINE, first=True).succeeded(OPUS, headers, 1000.0, probe=False, today=1000.0)
    told(one, other, 1000.0)
    assert not other.of(MINE, first=True).is_ready(OPUS, 1599.0)
    assert other.of(MINE, first=True).is_ready(OPUS, 1600.0)


def test_not_all_that_others_say_is_kept():
    one, other = OwnCredentials("a"), OwnCredentials("a")
    for number in range(2 * MOST_HEARD):
        one.of(f"{SHARED}{number}", first=True).failed(LIMITED, OPUS, 0.0, lambda: 0.0, probe=False)
    told(one, other)
    assert other.of(f"{SHARED}0", first=True).is_ready(OPUS, 1.0)
    assert not other.of(f"{SHARED}{2 * MOST_HEARD - 1}", first=True).is_ready(OPUS, 1.0)
