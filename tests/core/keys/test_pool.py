"""Pools: who may be chosen, and what verdicts do."""

import math
from collections import Counter
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from claude_relay.core.exchange import Attempt, Cause, Endpoint, Facts, Failure, Key, KeyLimits, Outcome, Verdict
from claude_relay.core.keys.pool import RECHECK, Pool, Pools
from claude_relay.core.keys.selection import STRATEGIES
from claude_relay.core.retry.verdicts import MEANINGS, judge

OPUS, SONNET, OLD_OPUS = "claude-opus-4-5", "claude-sonnet-4-5", "claude-opus-4-1"
HOUR = 3600.0


def key(number, **more):
    return Key("p", f"k{number}", f"secret-{number}", f"id{number}", **more)


def pool_of(number, **more):
    return Pool("p", [key(n) for n in range(1, number + 1)], **more)


def verdict(name, until=None, now=0.0):
    cooldowns = MEANINGS[name].cooldown != "none"
    return Verdict(
        name,
        MEANINGS[name].cause,
        (now if until is None else until) if cooldowns else None,
        name,
        MEANINGS[name].cooldown,
    )


def out():
    return verdict("unauthorized", math.inf)


def apply(pool, number, name, now=0.0, until=None, model=OPUS, probe=False):
    pool.apply(verdict(name, until, now), pool.keys[number - 1], model, now, probe=probe)


def chosen(pool, now=0.0, model=OPUS, **more):
    found = pool.choose(model, now, **more)
    return found.alias if found else None


def test_headroom_is_the_default():
    assert pool_of(1).strategy == "headroom"


def test_keys_take_turns():
    pool = pool_of(3, strategy="round-robin")
    assert [chosen(pool) for _ in range(4)] == ["k1", "k2", "k3", "k1"]
    assert chosen(pool, exclude=frozenset({"id2"})) == "k3"
    assert chosen(pool, exclude=frozenset({"id1", "id2", "id3"})) is None


def test_a_key_in_cooldown_is_not_chosen_until_its_end():
    pool = pool_of(2)
    apply(pool, 1, "rate_limited", until=10.0)
    assert {chosen(pool, 9.9) for _ in range(4)} == {"k2"}
    assert {chosen(pool, 10.0) for _ in range(4)} == {"k1", "k2"}
    assert {chosen(pool, 9.9) for _ in range(4)} == {"k2"}, "the clock may be set back"


def test_pairs_with_a_model_and_with_a_family():
    pool = pool_of(1)
    apply(pool, 1, "model_denied")
    assert (chosen(pool), chosen(pool, model=OLD_OPUS)) == (None, "k1")
    apply(pool, 1, "family_limited", until=50.0)
    assert (chosen(pool, model=OLD_OPUS), chosen(pool, model=SONNET)) == (None, "k1")


@pytest.mark.parametrize(
    "name",
    [name for name, meaning in MEANINGS.items() if meaning.cause not in {Cause.KEY, Cause.KEY_MODEL, Cause.KEY_FAMILY}],
)
def test_who_is_not_the_cause_has_no_cooldown(name):
    pool = pool_of(1)
    apply(pool, 1, name)
    assert chosen(pool) == "k1"
    assert not pool.cooldowns.known()


def test_cooldowns_that_nobody_stated_grow():
    pool, now, ends = pool_of(1), 0.0, []
    for _ in range(4):
        apply(pool, 1, "forbidden", now)
        ends.append(pool.soonest(OPUS, now) - now)
        now += ends[-1]
    assert ends == [1, 2, 4, 8]
    pool.succeeded(pool.keys[0], OPUS, {}, now)
    apply(pool, 1, "forbidden", now)
    assert pool.soonest(OPUS, now) - now == 1


def test_no_credit_cools_down_from_an_hour_to_a_day_and_is_probed():
    pool, now, lengths = pool_of(1), 0.0, []
    for _ in range(7):
        apply(pool, 1, "no_credit", now, probe=bool(lengths))
        lengths.append((pool.soonest(OPUS, now) - now) / HOUR)
        now = pool.soonest(OPUS, now)
        assert pool.started(pool.keys[0], OPUS, now)
        pool.finished(pool.keys[0])
    assert lengths == [1, 2, 4, 8, 16, 24, 24]


def test_unauthorized_is_out_but_looked_at_every_six_hours():
    pool = pool_of(1)
    pool.apply(out(), pool.keys[0], OPUS, 0.0)
    assert chosen(pool, RECHECK - 1) is None
    assert pool.soonest(OPUS, 1.0) is None
    assert chosen(pool, RECHECK) == "k1"
    assert pool.started(pool.keys[0], OPUS, RECHECK)
    assert chosen(pool, RECHECK) is None
    pool.apply(out(), pool.keys[0], OPUS, RECHECK, probe=True)
    pool.finished(pool.keys[0])
    assert chosen(pool, RECHECK * 2 - 1) is None
    assert pool.started(pool.keys[0], OPUS, RECHECK * 2)
    pool.succeeded(pool.keys[0], OPUS, {}, RECHECK * 2, probe=True)
    assert pool.state(RECHECK * 2).ready == 1


def test_disabled_is_out_until_lifted_by_hand():
    pool = pool_of(1)
    apply(pool, 1, "key_disabled", until=math.inf)
    assert chosen(pool, 1e12) is None
    pool.cooldowns.lift("id1")
    assert chosen(pool, 1.0) == "k1"


def test_a_half_open_key_takes_one_request_at_a_time():
    pool = pool_of(1)
    apply(pool, 1, "rate_limited", until=100.0)
    assert pool.started(pool.choose(OPUS, 100.0), OPUS, 100.0)
    assert chosen(pool, 100.0) is None
    assert pool.soonest(OPUS, 100.0) == 101.0
    pool.abandoned(pool.keys[0], OPUS, probe=True)
    assert chosen(pool, 100.0) == "k1"


def test_half_open_keys_come_last_for_who_has_probed():
    pool = pool_of(3)
    for number in (1, 2):
        apply(pool, number, "rate_limited", until=100.0)
    assert {chosen(pool, 100.0, probe=False) for _ in range(3)} == {"k3"}
    assert {chosen(pool, 100.0) for _ in range(3)} == {"k1", "k2", "k3"}
    assert chosen(pool, 100.0, probe=False, exclude=frozenset({"id3"})) in {"k1", "k2"}


def test_soonest():
    pool = pool_of(3)
    assert pool.soonest(OPUS, 0.0) == 0.0
    apply(pool, 1, "rate_limited", until=30.0)
    apply(pool, 2, "forbidden")
    pool.apply(out(), pool.keys[2], OPUS, 0.0)
    assert pool.soonest(OPUS, 0.0) == 1.0
    assert pool.soonest(OPUS, 0.0, stated=True) == 30.0
    assert pool.soonest(OPUS, 0.0, frozenset({"id1", "id2"})) is None
    assert Pool("p", []).soonest(OPUS, 0.0) is None


def failed_alone(pool, number, now):
    pool.failed_alone(verdict("timeout"), pool.keys[number - 1], now)


def test_a_key_suffers_for_the_route_after_several_requests_that_others_served():
    pool = pool_of(2)
    first, second = pool.keys
    for now in range(10):
        apply(pool, 1, "timeout", float(now))
        apply(pool, 2, "timeout", float(now))
    assert pool.state(9.0).ready == 2, "a failure by itself says nothing of a key"
    for now in (10.0, 10.1, 10.2):
        assert pool.is_ready(first, OPUS, now)
        failed_alone(pool, 1, now)
        pool.succeeded(second, OPUS, {}, now)
    assert chosen(pool, 10.5) == chosen(pool, 10.5) == "k2"
    assert pool.is_ready(first, OPUS, 11.2)
    failed_alone(pool, 1, 11.2)
    assert not pool.is_ready(first, OPUS, 13.1), "it grows"


def test_several_of_n():
    pool = pool_of(2)
    first = pool.keys[0]
    for now, failed in enumerate([True, True, False, False, True, False, True]):
        if failed:
            failed_alone(pool, 1, float(now))
        else:
            pool.succeeded(first, OPUS, {}, float(now))
    assert pool.is_ready(first, OPUS, 6.0)
    failed_alone(pool, 1, 7.0)
    assert not pool.is_ready(first, OPUS, 7.0)


def test_a_provider_is_well_for_a_minute_after_another_key_was_answered():
    pool = pool_of(3)
    first, second, third = pool.keys
    assert not pool.is_well(0.0, first)
    pool.succeeded(first, OPUS, {}, 0.0)
    assert not pool.is_well(0.0, first)
    assert pool.is_well(60.0, second)
    assert not pool.is_well(60.1, second)
    pool.succeeded(second, OPUS, {}, 10.0)
    pool.succeeded(second, OPUS, {}, 20.0)
    assert pool.is_well(60.0, second), "the first one was"
    assert not pool.is_well(61.0, second)
    assert pool.is_well(61.0, third)


def test_tiers_before_strategy():
    pool = Pool("p", [key(1, tier="public"), key(2), key(3, tier="admin"), key(4, tier="admin")], strategy="random")
    assert {chosen(pool, random=lambda r=r: r) for r in (0.0, 0.4, 0.9)} == {"k3", "k4"}
    assert chosen(pool, exclude=frozenset({"id3", "id4"})) == "k2"
    assert chosen(pool, exclude=frozenset({"id2", "id3", "id4"})) == "k1"


def test_headroom_reads_the_headers_of_answers():
    pool = pool_of(2, strategy="headroom")
    headers = {
        "anthropic-ratelimit-requests-limit": "50",
        "anthropic-ratelimit-requests-remaining": "5",
        "anthropic-ratelimit-requests-reset": "1970-01-01T00:01:00Z",
    }
    pool.succeeded(pool.keys[0], OPUS, headers, 0.0)
    assert {chosen(pool, 1.0) for _ in range(3)} == {"k2"}
    assert pool.state(30.0).keys[0].headroom == 0.55, "half of the way to the reset, half of the rest is back"
    assert {chosen(pool, 60.0) for _ in range(3)} == {"k1", "k2"}, "the limit has been reset since"


def test_replace_keeps_what_is_known_of_the_same_keys():
    pool = pool_of(3, strategy="least-used")
    apply(pool, 1, "rate_limited", until=50.0)
    apply(pool, 3, "rate_limited", until=50.0)
    for _ in range(5):
        pool.started(pool.keys[1], OPUS, 0.0)
    pool.started(pool.keys[2], OPUS, 0.0)
    gone = pool.keys[2]
    pool.replace([key(4), key(2), key(1)], strategy="priority", passthrough=False)
    assert [k.alias for k in pool.keys] == ["k4", "k2", "k1"]
    assert (pool.strategy, pool.passthrough) == ("priority", False)
    assert not pool.is_ready(pool.keys[2], OPUS, 1.0)
    assert pool.cooldowns.known() == {"id1"}
    assert [pool.busy(k) for k in pool.keys] == [0, 5, 0]
    assert pool.used(pool.keys[0]) == 0
    pool.apply(out(), gone, OPUS, 1.0)
    pool.finished(gone)
    pool.succeeded(gone, OPUS, {}, 1.0)
    assert pool.cooldowns.known() == {"id1"}


def test_a_new_key_is_not_flooded_by_least_used():
    pool = pool_of(1, strategy="least-used")
    for _ in range(100):
        pool.started(pool.keys[0], OPUS, 0.0)
    pool.replace([*pool.keys, key(2)])
    assert pool.used(pool.keys[1]) == 100


def test_the_same_key_twice_is_one():
    assert len(Pool("p", [key(1), key(1)]).keys) == 1


def test_finished_never_goes_below_nothing():
    pool = pool_of(1)
    pool.finished(pool.keys[0])
    pool.started(pool.keys[0], OPUS, 0.0)
    assert pool.busy(pool.keys[0]) == 1


def test_pools():
    pools = Pools([pool_of(1)])
    assert (list(pools), len(pools)) == (["p"], 1)
    pools["p"].started(pools["p"].keys[0], OPUS, 0.0)
    pools.finished(Attempt(1, "p", pools["p"].keys[0], OPUS))
    pools.finished(Attempt(1, "p", None, OPUS))
    pools.finished(Attempt(1, "gone", key(1), OPUS))
    assert pools["p"].busy(pools["p"].keys[0]) == 0


def test_a_report_counts_and_says_why():
    pool = pool_of(4)
    apply(pool, 1, "rate_limited", until=100.0)
    pool.apply(out(), pool.keys[1], OPUS, 0.0)
    apply(pool, 3, "family_limited", until=50.0)
    state = pool.state(1.0)
    assert (state.total, state.ready, state.in_cooldown, state.out) == (4, 2, 1, 1)
    assert [k.status for k in state.keys] == ["cooldown", "out", "ready", "ready"]
    assert state.keys[0].until == 100.0
    assert "family:opus: family_limited" in state.keys[2].reason
    assert pool.state(100.0).keys[0].status == "probing"
    assert "secret" not in repr(state)


@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("tier", ["", "admin"])
def test_a_choice_is_among_those_of_use_only(strategy, tier):
    """Of twelve keys four rest, four are full and two are excluded."""
    full = KeyLimits(concurrent=1)
    keys = [key(n, limits=full if n % 3 == 1 else None, tier=tier if n % 2 else "", weight=n) for n in range(12)]
    pool, random = Pool("p", keys, strategy=strategy), Random(1).random
    for n in range(0, 12, 3):
        pool.apply(verdict("rate_limited", 90.0), keys[n], OPUS, 0.0)
        pool.started(keys[n + 1], OPUS, 0.0)
    found = {pool.choose(OPUS, 1.0, frozenset({"id2", "id5", "gone"}), random).id for _ in range(50)}
    assert found <= ({"id11"} if tier else {"id8", "id11"})
    assert found == {"id8"} if (strategy, tier) == ("priority", "") else "id11" in found


def test_weights_hold_when_keys_are_left_out():
    keys = [key(n, weight=weight) for n, weight in enumerate([50.0, 1.0, 3.0, 50.0])]
    pool, random = Pool("p", keys, strategy="weighted"), Random(1).random
    apply(pool, 1, "rate_limited", until=90.0)
    found = Counter(pool.choose(OPUS, 1.0, frozenset({"id3"}), random).id for _ in range(2000))
    assert found.keys() == {"id1", "id2"}
    assert found["id2"] / found["id1"] == pytest.approx(3.0, rel=0.2)
    assert {pool.choose(OPUS, 90.0, frozenset({"id1", "id2"}), random).id for _ in range(50)} == {"id0", "id3"}


def test_a_choice_does_not_remember_every_model_a_client_invents():
    pool = pool_of(1)
    for number in range(1000):
        pool.choose(f"model-{number}", 0.0)
    assert len(pool._ready) <= 64


OUTCOMES = [
    Outcome(200), Outcome(401), Outcome(402), Outcome(403), Outcome(404, body=b'{"error":{"message":"model: x"}}'), Outcome(429),
    Outcome(429, {"retry-after": "5"}), Outcome(429, {"retry-after": "300"}), Outcome(500), Outcome(None, failure=Failure.RESET),
]  # fmt: skip
happenings = st.lists(
    st.tuples(st.sampled_from(OUTCOMES), st.sampled_from([OPUS, SONNET]), st.floats(0, 30000)), max_size=40
)


@given(happenings, st.sampled_from(["round-robin", "priority", "headroom", "least-busy"]))
def test_no_key_in_cooldown_is_ever_chosen(happenings, strategy):
    pool, now, ends = pool_of(3, strategy=strategy), 0.0, {}
    for outcome, model, passed in happenings:
        now += passed
        found = pool.choose(model, now)
        if found is None:
            continue
        assert now >= ends.get((found.id, ""), 0.0), "the key rests"
        assert now >= ends.get((found.id, model), 0.0), "the pair rests"
        probe = pool.started(found, model, now)
        said = judge(outcome, Facts(Endpoint.MESSAGES, model=model), now=now)
        if said.name == "ok":
            pool.succeeded(found, model, {}, now, probe=probe)
        else:
            pool.apply(said, found, model, now, probe=probe)
        pool.finished(found)
        if said.cooldown_until is not None:
            end = now + RECHECK if said.cooldown_until == math.inf else max(said.cooldown_until, now + 1.0)
            ends[found.id, model if said.cause is Cause.KEY_MODEL else ""] = end
    assert all(pool.busy(k) == 0 for k in pool.keys)
    assert not pool.cooldowns._probes


def test_who_has_room_is_never_told_of_keys_that_are_gone():
    one = KeyLimits(concurrent=1)
    before, after = ([Key("p", n, "", n, limits=one) for n in names] for names in ("abc", "def"))
    pool = Pool("p", before)
    for keys in (before, after):
        pool.replace(keys)
        pool.started(keys[0], "m", 1.0)
        assert {pool.choose("m", 1.0, random=Random(n).random) for n in range(20)} <= set(keys[1:])
