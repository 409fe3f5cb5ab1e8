"""What processes tell each other, without a database between them."""

import math

import pytest

from claude_relay.core.exchange import Cause, Key, Verdict
from claude_relay.core.keys.pool import HOUR, RECHECK, Pool, Pools
from claude_relay.core.keys.replication import SLICE, Shared, absorb, absorbing, clamped, collect, shifted
from claude_relay.core.keys.sessions import Sessions
from claude_relay.core.retry.verdicts import MEANINGS

OPUS = "claude-opus-4-5"
KEY = Key("p", "k1", "secret", "id1")


class Process:
    """Pools and sessions of one relay."""

    def __init__(self):
        self.pool = Pool("p", [KEY])
        self.pools = Pools([self.pool])
        self.sessions = Sessions(ttl=1000.0)

    def tell(self, other, now):
        absorb(other.pools, other.sessions, collect(self.pools, self.sessions, now), now)

    def fail(self, name, until, now=0.0):
        self.pool.apply(Verdict(name, Cause.KEY, until, name, MEANINGS[name].cooldown), KEY, OPUS, now)


@pytest.fixture
def two():
    return Process(), Process()


@pytest.mark.parametrize(
    ("verdict", "until", "look"), [("rate_limited", 5 * HOUR, HOUR), ("unauthorized", math.inf, RECHECK)]
)
def test_a_key_that_recovered_early_is_noticed_by_all(two, verdict, until, look):
    one, other = two
    one.fail(verdict, until)
    one.tell(other, 0.0)
    for process in two:
        assert process.pool.choose(OPUS, look - 1) is None
        assert process.pool.choose(OPUS, look) is KEY, "one request looks, long before the end"
    assert one.pool.started(KEY, OPUS, look)
    one.tell(other, look)
    assert other.pool.choose(OPUS, look) is None, "and no other process does"
    one.pool.succeeded(KEY, OPUS, {}, look + 1, probe=True)
    one.pool.finished(KEY)
    one.tell(other, look + 1)
    assert [process.pool.state(look + 1).keys[0].status for process in two] == ["ready", "ready"]


def test_a_look_in_vain_is_known_to_all(two):
    one, other = two
    one.fail("rate_limited", 5 * HOUR)
    one.tell(other, 0.0)
    probe = one.pool.started(KEY, OPUS, HOUR)
    one.tell(other, HOUR)
    one.pool.apply(
        Verdict("rate_limited", Cause.KEY, 5 * HOUR, "", MEANINGS["rate_limited"].cooldown),
        KEY,
        OPUS,
        HOUR + 2,
        probe=probe,
    )
    one.tell(other, HOUR + 2)
    assert [process.pool.choose(OPUS, 2 * HOUR) for process in two] == [None, None]
    assert other.pool.choose(OPUS, 2 * HOUR + 2) is KEY


def test_many_bindings_are_taken_over_in_slices_after_all_cooldowns(two):
    one, other = two
    one.fail("rate_limited", 500.0)
    for number in range(2 * SLICE + 1):
        one.sessions.bind(f"s{number}", "p", "id1", 1.0)
    steps, seen = absorbing(other.pools, other.sessions, collect(one.pools, one.sessions, 1.0), 1.0), []
    for _ in steps:
        seen.append(len(other.sessions))
        assert other.pool.choose(OPUS, 1.0) is None
    assert seen == [SLICE, 2 * SLICE, 2 * SLICE + 1]


def test_a_binding_taken_between_two_slices_is_not_lost(two):
    one, other = two
    for number in range(SLICE + 1):
        one.sessions.bind(f"s{number}", "p", "id1", 1.0)
    mine = collect(one.pools, one.sessions, 1.0)
    rows = sorted(mine.sessions, key=lambda row: row["session"] == "s0")  # its row comes in the second slice
    steps = absorbing(other.pools, other.sessions, Shared(sessions=tuple(rows)), 1.0)
    next(steps)
    other.sessions.bind("s0", "p", "id2", 2.0)
    other.sessions.bind("s0", "p", "id3", 2.5)
    assert len(list(steps)) == 1
    assert other.sessions.binding("s0", "p", 3.0).key_id == "id3"


def test_what_was_stored_before_the_clock_was_set_back_counts_from_now_on(two):
    one, other = two
    one.fail("rate_limited", 10_003.0, now=10_000.0)
    one.sessions.bind("s", "p", "id1", 10_000.0)
    one.sessions.used("s", "p", "id1", 10_000.0)
    stored = collect(one.pools, one.sessions, 10_000.0)
    absorb(other.pools, other.sessions, clamped(stored, 2_800.0), 2_800.0)
    assert other.pool.soonest(OPUS, 2_800.0) == 2_803.0
    binding = other.sessions.binding("s", "p", 2_800.0)
    assert (binding.used, binding.warm) == (2_800.0, 3_100.0)
    assert clamped(stored, 10_000.5) == stored


def test_a_lift_from_before_the_clock_was_set_back_still_lifts(two):
    one, other = two
    one.fail("rate_limited", 10_600.0, now=10_000.0)
    one.pool.cooldowns.lift("id1")
    absorb(other.pools, None, clamped(collect(one.pools, None, 10_000.0), 2_800.0), 2_800.0)
    assert other.pool.choose(OPUS, 2_800.0) is KEY


def test_rows_are_stored_in_the_terms_of_the_systems_clock(two):
    one, other = two
    one.fail("rate_limited", 10_060.0, now=10_000.0)
    one.sessions.bind("s", "p", "id1", 10_000.0)
    mine = shifted(collect(one.pools, one.sessions, 10_000.0), -7_200.0)
    absorb(other.pools, other.sessions, mine, 2_801.0)
    assert other.pool.soonest(OPUS, 2_801.0) == 2_860.0
    assert other.sessions.binding("s", "p", 2_801.0).used == 2_800.0
    one.fail("unauthorized", math.inf, now=10_000.0)
    assert shifted(collect(one.pools, None, 10_000.0), -7_200.0).cooldowns[0]["until"] is None
