"""What a key may carry: its own limits, the ramp, what other processes carry."""

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from claude_relay.core.exchange import Accepted, Attempt, Endpoint, Facts, Key, KeyLimits, Outcome, Refused, Wait
from claude_relay.core.keys.load import MINUTE, POLL, RAMP_TOP, KeyLoad, Load, Minute
from claude_relay.core.keys.pool import Pool
from core.world import DENIED, DOWN, LIMITED, OK, OPUS, World, limited


def key(number, **limits):
    return Key("a", f"k{number}", "secret", f"a-{number}", limits=KeyLimits(**limits) if limits else None)


def pool_of(*keys, **more):
    return Pool("a", keys, **more)


def chosen(pool, now=0.0, **more):
    found = pool.choose(OPUS, now, **more)
    return found and found.alias


def start(pool, now=0.0):
    found = pool.choose(OPUS, now)
    pool.started(found, OPUS, now)
    return found


# --- at once ---


def test_no_more_requests_at_once_than_the_key_allows():
    pool = pool_of(key(1, concurrent=2))
    start(pool)
    last = start(pool)
    assert chosen(pool) is None
    assert not pool.is_ready(last, OPUS, 0.0)
    assert not pool.is_in_cooldown(last, OPUS, 0.0)
    assert pool.soonest(OPUS, 0.0, stated=True) == POLL
    pool.finished(last)
    assert chosen(pool) == "k1"
    assert pool.soonest(OPUS, 0.0) == 0.0


def test_other_keys_take_over_tier_by_tier():
    keys = [Key("a", "k1", "", "a-1", "admin", limits=KeyLimits(concurrent=1)), Key("a", "k2", "", "a-2", "public")]
    pool = pool_of(*keys)
    assert [start(pool).alias for _ in range(3)] == ["k1", "k2", "k2"]


def test_a_report_says_who_is_full_and_why():
    pool = pool_of(key(1, concurrent=1), key(2, requests_per_minute=1), key(3))
    start(pool), start(pool)
    state = pool.state(1.0)
    assert [k.status for k in state.keys] == ["full", "full", "ready"]
    assert (state.total, state.ready, state.full) == (3, 1, 2)
    assert state.keys[0].reason == "all 1 places taken"
    assert "this minute" in state.keys[1].reason


def test_a_request_waits_for_a_place_and_then_hears_when_to_come_again():
    world = World(a=[key(1, concurrent=1)])
    steps = world.begin()
    next(steps)
    refusal = world.ask(lambda attempt: OK)
    assert isinstance(refusal, Refused)
    assert (refusal.error.status, refusal.error.retry_after) == (429, 1.0)
    assert "k1 full" in refusal.error.message
    assert world.waited <= world.retry.max_wait
    steps.close()
    assert isinstance(world.ask([OK]), Accepted)


def test_a_limit_that_changes_counts_from_the_next_choice():
    pool = pool_of(key(1, concurrent=1, requests_per_minute=1))
    start(pool)
    pool.replace([key(1, concurrent=2, requests_per_minute=2)])
    start(pool)
    assert chosen(pool) is None
    pool.replace([key(1)])
    assert chosen(pool) == "k1"
    pool.replace([key(1, concurrent=2)])
    assert chosen(pool) is None
    pool.finished(pool.keys[0])
    assert chosen(pool) == "k1"


# --- in a minute ---


def test_requests_of_a_minute():
    pool = pool_of(key(1, requests_per_minute=2))
    pool.finished(start(pool, 0.0))
    pool.finished(start(pool, 10.0))
    assert chosen(pool, 59.9) is None
    assert pool.soonest(OPUS, 10.0, stated=True) == MINUTE
    assert chosen(pool, 60.0) == "k1"
    pool.finished(start(pool, 60.0))
    assert chosen(pool, 69.9) is None
    assert chosen(pool, 70.0) == "k1"


def test_tokens_of_a_minute():
    pool = pool_of(key(1, tokens_per_minute=1000))
    pool.spent(pool.keys[0], 600, 0.0)
    assert chosen(pool, 1.0) == "k1"
    pool.spent(pool.keys[0], 400, 1.0)
    assert chosen(pool, 59.9) is None
    assert chosen(pool, 60.0) == "k1"
    pool.spent(pool.keys[0], 5000, 60.0)
    assert pool.soonest(OPUS, 61.0) == 60.0 + MINUTE


def test_a_request_waits_for_a_minute_that_ends_soon_enough():
    world = World(a=[key(1, requests_per_minute=1)])
    assert isinstance(world.ask([OK]), Accepted)
    world.now += 40
    assert isinstance(world.ask([OK]), Accepted)
    assert world.waited == pytest.approx(20.125)
    refusal = world.ask([OK])
    assert refusal.error.retry_after == pytest.approx(MINUTE, abs=1)


def test_a_clock_that_is_set_back_opens_no_gap():
    pool = pool_of(key(1, requests_per_minute=1))
    start(pool, 10_000.0)
    assert chosen(pool, 5_000.0) == "k1"
    start(pool, 5_000.0)
    assert chosen(pool, 5_059.0) is None
    assert chosen(pool, 5_060.0) == "k1"


@example(1, [0.0, 29.0, 39.31260510780065, 0.0])  # the end of that minute is 60.00000000000001 s away
@given(st.integers(1, 5), st.lists(st.floats(0, 40), max_size=60))
def test_never_more_than_the_limit_in_any_minute(limit, gaps):
    pool, now, starts = pool_of(key(1, requests_per_minute=limit)), 0.0, []
    for gap in gaps:
        now += gap
        if chosen(pool, now):
            pool.finished(start(pool, now))
            starts.append(now)
        else:
            assert now < pool.soonest(OPUS, now) <= now + MINUTE
    for first in starts:
        assert sum(first <= when < first + MINUTE for when in starts) <= limit


@given(st.integers(1, 50), st.lists(st.tuples(st.floats(0, 50), st.integers(1, 30)), max_size=40))
def test_the_time_when_a_minute_opens_is_true(limit, spendings):
    minute, now = Minute(limit), 0.0
    for passed, amount in spendings:
        now += passed
        minute.add(amount, now)
    opens = minute.opens(now, 0)
    between = (now + opens) / 2
    assert minute.opens(between, 0) == opens
    assert minute.opens(opens, 0) == opens
    assert minute.at(opens + 1e-6) < limit


# --- the ramp ---


def test_a_new_key_gets_one_request_at_a_time_at_first():
    pool = pool_of(key(1), key(2), strategy="least-busy")
    for _ in range(6):
        start(pool)
    pool.replace([key(1), key(2), key(3)])
    assert [start(pool).alias for _ in range(3)].count("k3") == 1
    pool.succeeded(pool.keys[2], OPUS, {}, 0.0)
    assert [start(pool).alias for _ in range(3)].count("k3") == 1
    for _ in range(RAMP_TOP):
        pool.succeeded(pool.keys[2], OPUS, {}, 0.0)
    assert [start(pool).alias for _ in range(3)].count("k3") == 3


def test_a_key_that_is_back_gets_one_at_a_time_whatever_the_strategy():
    world = World(a=3)
    pool = world.pools["a"]
    pool.replace(pool.keys, strategy="priority")
    world.cool_down("a", 1, limited(30))
    world.now += 30
    assert [start(pool, world.now).alias for _ in range(4)] == ["k1", "k2", "k2", "k2"]
    pool.succeeded(pool.keys[0], OPUS, {}, world.now)
    assert [start(pool, world.now).alias for _ in range(2)] == ["k1", "k2"]


def test_answers_from_before_the_cooldown_do_not_climb_the_ramp():
    world = World(a=2)
    pool = world.pools["a"]
    world.cool_down("a", 1, limited(30))
    for _ in range(RAMP_TOP):
        pool.succeeded(pool.keys[0], OPUS, {}, world.now)
    assert pool.load.ramping == {"a-1": 1}


def test_the_ramp_counts_only_while_there_is_another_key():
    pool = pool_of(key(1))
    pool.load.cooled_down("a-1")
    assert [start(pool).alias for _ in range(3)] == ["k1"] * 3
    pool = pool_of(key(1), key(2))
    for number in (1, 2):
        pool.load.cooled_down(f"a-{number}")
    assert [start(pool).alias for _ in range(5)] == ["k1", "k2", "k1", "k2", "k1"]


def test_a_better_tier_at_its_ramp_lets_the_next_help():
    pool = pool_of(Key("a", "k1", "", "a-1", "admin"), Key("a", "k2", "", "a-2", "public"))
    pool.load.cooled_down("a-1")
    assert [start(pool).alias for _ in range(3)] == ["k1", "k2", "k2"]


def test_the_first_keys_of_a_pool_start_at_full_speed():
    pool = pool_of(key(1), key(2))
    assert not pool.load.ramping
    empty = pool_of()
    empty.replace([key(1)])
    assert not empty.load.ramping


# --- elsewhere ---


def test_what_other_processes_carry_counts():
    pool = pool_of(key(1, concurrent=3, requests_per_minute=5, tokens_per_minute=100))
    pool.load.hear([KeyLoad("a-1", 1, 1, 0), KeyLoad("a-1", 1, 1, 10), KeyLoad("gone", 9)], 0.0)
    start(pool)
    assert chosen(pool) is None
    pool.load.hear([KeyLoad("a-1", 0, 4, 0)], 0.0)
    assert chosen(pool, 0.5) is None
    pool.load.hear([KeyLoad("a-1", 0, 0, 100)], 1.0)
    assert chosen(pool, 1.5) is None
    pool.load.hear([], 2.0)
    assert chosen(pool, 2.0) == "k1"


def test_a_process_tells_what_it_carries_with_limited_keys():
    pool = pool_of(key(1, requests_per_minute=5, tokens_per_minute=100), key(2), key(3, concurrent=9))
    started = [start(pool) for _ in range(3)]
    pool.spent(started[0], 30, 1.0)
    assert pool.load.report(1.0) == [KeyLoad("a-1", 1, 1, 30), KeyLoad("a-3", 1, 0, 0)]
    for each in started:
        pool.finished(each)
    assert pool.load.report(61.0) == []


loads = st.lists(
    st.tuples(
        st.sampled_from(["started", "finished", "rested", "succeeded", "spent", "heard", "replaced", "later"]),
        st.integers(1, 4),
        st.sampled_from([0.0, 0.5, 7.0, 59.0, 60.0, 61.0, 300.0, -0.5, -7.0, -70.0, -1000.0]),
    ),
    max_size=40,
)


@settings(max_examples=100, deadline=None)
@given(loads)
def test_what_is_free_is_what_each_key_says_at_any_time(loads):
    """Keys of all kinds of limits; the clock goes on and is set back; keys leave and come."""
    keys = [key(1, concurrent=2), key(2, requests_per_minute=2), key(3, tokens_per_minute=10), key(4)]
    load, now, here = Load(), 1e6, keys
    load.replace(here, ())
    for what, number, passed in loads:
        name = f"a-{number}"
        if what == "started":
            load.started(name, now)
        elif what == "finished" and load.busy(name):
            load.finished(name)
        elif what == "rested":
            load.cooled_down(name)
        elif what == "succeeded":
            load.succeeded(name)
        elif what == "spent":
            load.spent(name, 5 * number, now)
        elif what == "heard":
            load.hear([KeyLoad(name, 1, 1, 5)], now)
        elif what == "replaced":
            here = [one for one in reversed(here) if one.id != name] if len(here) > 2 else keys
            load.replace(here, {one.id for one in keys[:3]})
        now += passed
        for gently in (False, True):
            said = [load.takes(one.id, now) and not (gently and load.is_steep(one.id)) for one in here]
            assert list(load.free(now, gently=gently)) == said


def test_a_load_says_nothing_of_unknown_keys():
    load = Load()
    assert load.takes("x", 0.0)
    load.cooled_down("x")
    load.succeeded("x")
    load.spent("x", 5, 0.0)
    assert (load.ramping, load.busy("x"), load.report(0.0)) == ({}, 0, [])


# --- over retries, waits and clients that leave ---

ANSWERS = [OK, OK, limited(0), limited(2), limited(70), DENIED, DOWN, LIMITED, Outcome(529), Outcome(403), Outcome(400)]
moves = st.lists(
    st.tuples(
        st.integers(0, 7), st.sampled_from([*ANSWERS, None]), st.floats(0, 30), st.sampled_from(["s", "t", None])
    ),
    max_size=60,
)


@settings(max_examples=100, deadline=None)
@given(
    moves, st.lists(st.integers(1, 2), min_size=1, max_size=3), st.sampled_from(["round-robin", "priority", "headroom"])
)
def test_limits_hold_and_no_slot_leaks_whatever_the_interleaving(moves, places, strategy):
    """Eight requests at once; None: that client leaves, or an accepted answer ends."""
    keys = [key(number, concurrent=limit, requests_per_minute=4) for number, limit in enumerate(places, 1)]
    world = World(seed=3, a=keys)
    pool, running, starts = world.pools["a"], {}, []
    pool.replace(keys, strategy=strategy)
    for slot, answer, passed, session in moves:
        world.now += passed
        step = None
        try:
            if slot not in running:
                steps = world.begin(Facts(Endpoint.MESSAGES, model=OPUS, session=session))
                running[slot] = steps, (step := steps.send(None))
            else:
                steps, was = running.pop(slot)
                if steps is None:
                    world.pools.finished(was)
                elif answer is None:
                    steps.close()
                else:
                    running[slot] = steps, (step := steps.send(None if isinstance(was, Wait) else answer))
        except StopIteration as end:
            running.pop(slot, None)
            if isinstance(end.value, Accepted):
                running[slot] = None, was
        if isinstance(step, Attempt):
            starts.append((step.key.id, world.now))
        for one, limit in zip(keys, places, strict=True):
            assert pool.busy(one) <= limit
            under_way = [at for _, at in running.values() if isinstance(at, Attempt) and at.key.id == one.id]
            assert pool.busy(one) == len(under_way)
    for one in keys:
        times = [when for name, when in starts if name == one.id]
        assert all(sum(first <= when < first + MINUTE for when in times) <= 4 for first in times)
    for steps, at in running.values():
        world.pools.finished(at) if steps is None else steps.close()
    assert world.busy == 0
    assert not pool.load._crowded
    assert not pool.cooldowns._probes
