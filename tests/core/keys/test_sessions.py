"""Sessions stay with their key, as long as that is of use; on a simulated clock."""

import json
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from claude_relay.core.accounting.meter import Usage
from claude_relay.core.exchange import Accepted, Attempt, Endpoint, Facts, Key, KeyLimits, Outcome, Wait
from claude_relay.core.keys.sessions import MOST, WARM, WARM_LONG, Binding, Sessions, joined
from core.world import DENIED, DOWN, LIMITED, NO_MODEL, OK, OPUS, Retry, World, limited

HAIKU = "claude-haiku-4-5"


def facts(session="s", endpoint=Endpoint.MESSAGES, model=OPUS):
    return Facts(endpoint, model=model, session=session)


def keys_used(world, *answers, session="s", **more):
    """One request; the keys it used in order."""
    assert isinstance(world.ask(list(answers), facts(session, **more)), Accepted)
    return [alias for _, alias in world.tries]


def key(number, **more):
    return Key("a", f"k{number}", "secret", f"a-{number}", **more)


# --- with the policy ---


def test_a_session_keeps_its_key_and_others_go_round():
    world = World(a=3)
    assert [keys_used(world, OK) for _ in range(3)] == [["k1"]] * 3
    assert keys_used(world, OK, session="t") == ["k2"]
    assert keys_used(world, OK, session=None) == ["k3"]
    assert keys_used(world, OK, session=None) == ["k1"]
    assert keys_used(world, OK, session="t") == ["k2"]


def test_it_moves_when_its_key_is_in_cooldown_and_stays_there_while_that_is_warm():
    world = World(a=3)
    assert keys_used(world, limited(60), OK) == ["k1", "k2"]
    world.now += 61
    assert keys_used(world, OK) == ["k2"], "k1 is back, but the cache is at k2"
    world.now += WARM - 1
    assert keys_used(world, OK) == ["k2"], "warm again with every use"


def test_it_comes_home_when_that_costs_no_warm_cache():
    world = World(a=3)
    keys_used(world, limited(60), OK)
    world.now += WARM
    assert keys_used(world, OK) == ["k1"]
    assert world.sessions.binding("s", "a", world.now).home == "a-1"


def test_it_stays_when_it_is_cold_and_at_home():
    world = World(a=3)
    keys_used(world, OK)
    world.now += 10 * WARM
    assert keys_used(world, OK) == ["k1"]


def test_home_is_new_when_the_old_one_left_the_pool():
    world = World(a=3)
    keys_used(world, OK)
    world.pools["a"].replace(World.keys("a", 3)[1:])
    (new,) = keys_used(world, OK)
    assert new in {"k2", "k3"}
    assert world.sessions.binding("s", "a", world.now).home == "a-" + new[1]


def test_a_warm_session_waits_a_little_for_its_key():
    world = World(a=2)
    keys_used(world, OK)
    assert keys_used(world, limited(4), OK) == ["k1", "k1"]
    assert world.waited == 4.0
    assert keys_used(world, limited(6), OK) == ["k1", "k2"]
    assert world.waited == 0.0


def test_a_cold_session_does_not_wait():
    world = World(a=2)
    assert keys_used(world, limited(1), OK) == ["k1", "k2"]
    assert world.waited == 0.0


def test_it_waits_no_longer_than_a_short_wait_in_all():
    world = World(a=2)
    keys_used(world, OK)
    assert keys_used(world, limited(3), limited(3), OK) == ["k1", "k1", "k2"]
    assert world.waited == 3.0


def test_it_does_not_wait_for_an_end_that_nobody_stated():
    world = World(a=2)
    keys_used(world, OK)
    assert keys_used(world, Outcome(403), OK) == ["k1", "k2"]
    assert world.waited == 0.0


def test_it_never_waits_longer_than_the_request_may():
    world = World(Retry(5, 2.0), a=2)
    keys_used(world, OK)
    assert keys_used(world, limited(3), OK) == ["k1", "k2"]


def test_a_failure_on_the_way_does_not_move_it():
    world = World(a=3)
    keys_used(world, OK)
    for bad in (DOWN, LIMITED):
        first, second = keys_used(world, bad, OK)
        assert (first, second != "k1") == ("k1", True)
    assert keys_used(world, OK) == ["k1"]


def test_a_dead_key_is_left_at_once():
    world = World(a=2)
    keys_used(world, OK)
    assert keys_used(world, DENIED, OK) == ["k1", "k2"]
    assert keys_used(world, OK) == ["k2"]


def test_a_model_that_its_key_may_not_use_moves_it():
    world = World(a=2)
    keys_used(world, OK)
    assert keys_used(world, NO_MODEL, OK) == ["k1", "k2"]
    assert keys_used(world, OK, model=HAIKU) == ["k2"]


def test_a_key_at_its_limit_is_borrowed_from_elsewhere_for_one_request():
    world = World(a=[key(1, limits=KeyLimits(concurrent=1)), key(2)])
    keys_used(world, OK)
    steps = world.begin(facts())
    assert next(steps).key.alias == "k1"
    other = world.begin(facts())
    step = next(other)
    assert isinstance(step, Wait), "warm: whoever uses the key may be done in a moment"
    world.now += step.seconds
    while isinstance(step, Wait):
        step = other.send(None)
        world.now += step.seconds if isinstance(step, Wait) else 0.0
    assert step.key.alias == "k2"
    other.close()
    steps.close()
    assert keys_used(world, OK) == ["k1"]
    assert world.busy == 0


def test_requests_that_cache_nothing_sit_anywhere():
    world = World(a=3)
    for endpoint in (Endpoint.COUNT_TOKENS, Endpoint.RESOURCE):
        keys_used(world, OK, endpoint=endpoint)
    assert not len(world.sessions)


def test_requests_that_begin_alike_sit_together():
    world = World(a=3)
    alike, other = (Facts(Endpoint.MESSAGES, model=OPUS, prefix=prefix) for prefix in ("prefix 1", "prefix 2"))
    for each, alias in ((alike, "k1"), (other, "k2"), (alike, "k1"), (other, "k2")):
        world.ask([OK], each)
        assert world.tries == [("a", alias)]


def test_a_session_goes_before_what_a_request_begins_with():
    world = World(a=3)
    for session in ("s", "t"):
        world.ask([OK], Facts(Endpoint.MESSAGES, model=OPUS, session=session, prefix="prefix 1"))
    assert world.sessions.binding("s", "a", world.now) != world.sessions.binding("t", "a", world.now)
    assert world.sessions.binding("prefix 1", "a", world.now) is None


def test_requests_that_run_at_once_share_the_key_from_the_start():
    world = World(a=3)
    running = [world.begin(facts()) for _ in range(3)]
    assert [next(steps).key.alias for steps in running] == ["k1"] * 3
    assert running[0].send(limited(60)).key.alias == "k2"
    assert running[1].send(limited(60)).key.alias == "k2"
    for steps in running:
        steps.close()
    assert world.busy == 0


def test_each_provider_has_a_binding_of_its_own():
    world = World(a=2, b=2)
    assert keys_used(world, limited(9), limited(9), OK) == ["k1", "k2", "k1"]
    world.now += 10
    assert keys_used(world, OK) == ["k1"], "nothing was cached at k2"
    assert world.last.provider == "a", "routes say which provider comes first"
    assert world.sessions.binding("s", "b", world.now).key_id == "b-1"


def test_when_it_is_cold_a_better_tier_takes_it_back():
    world = World(a=[key(1, tier="admin"), key(2, tier="admin"), key(3, tier="public")])
    world.cool_down("a", 1, limited(4000))
    world.cool_down("a", 2, limited(50))
    assert keys_used(world, OK) == ["k3"]
    world.now += 100
    assert keys_used(world, OK) == ["k3"]
    world.now += WARM + 1
    assert keys_used(world, OK) == ["k2"]
    world.now += 10 * WARM
    assert keys_used(world, OK) == ["k2"], "k2 is its home now"


def test_a_better_tier_that_is_full_does_not_make_it_wander():
    first = key(1, tier="admin", limits=KeyLimits(concurrent=1))
    world = World(a=[first, *(key(n, tier="public") for n in range(2, 6))])
    world.pools["a"].started(first, OPUS, world.now)
    used = set()
    for _ in range(6):
        world.now += 10 * WARM
        used.update(keys_used(world, OK))
    assert used == {"k2"}


def test_those_that_come_home_do_not_come_all_at_once():
    world = World(a=2)
    for number in range(20):
        keys_used(world, OK, session=str(number))
    at_first = [n for n in map(str, range(20)) if world.sessions.binding(n, "a", world.now).key_id == "a-1"]
    world.cool_down("a", 1, limited(50))
    for name in at_first:
        keys_used(world, OK, session=name)
    world.now += WARM + 1
    running = [world.begin(facts(name)) for name in at_first]
    assert [next(steps).key.alias for steps in running].count("k1") == 1
    for steps in running:
        steps.close()


def test_without_sessions_nothing_sticks():
    world = World(a=3)
    world.sessions = None
    assert [keys_used(world, OK) for _ in range(3)] == [["k1"], ["k2"], ["k3"]]


ANSWERS = [
    OK,
    OK,
    OK,
    limited(2),
    limited(4),
    limited(70),
    limited(7200),
    DENIED,
    NO_MODEL,
    Outcome(403),
    DOWN,
    LIMITED,
]
moves = st.lists(
    st.tuples(st.integers(0, 5), st.sampled_from(["s", "t"]), st.sampled_from([*ANSWERS, None]), st.floats(0, 400)),
    max_size=60,
)


@settings(max_examples=100, deadline=None)
@given(moves, st.integers(1, 4))
def test_a_session_never_flips_between_two_healthy_keys(moves, number):
    """Six requests of two sessions at once; None: that client leaves. A binding changes only when its key is of no use, or cold."""
    world = World(seed=1, a=number)
    pool, running = world.pools["a"], {}
    for slot, session, answer, passed in moves:
        world.now += passed
        new = None
        before = world.sessions.binding(session, "a", world.now)
        in_cooldown = before and pool.is_in_cooldown(pool.by_id(before.key_id), OPUS, world.now)
        cold = before and not before.is_warm(world.now)
        try:
            if slot not in running:
                running[slot] = session, (steps := world.begin(facts(session))), (new := steps.send(None))
            elif running[slot][0] == session:
                _, steps, step = running.pop(slot)
                if answer is None:
                    steps.close()
                else:
                    attempted = step
                    new = steps.send(None if isinstance(step, Wait) else answer)
                    running[slot] = session, steps, new
        except StopIteration as end:
            running.pop(slot, None)
            if isinstance(end.value, Accepted):
                world.pools.finished(attempted)
        after = world.sessions.binding(session, "a", world.now)
        if before and after.key_id != before.key_id:
            now_in_cooldown = pool.is_in_cooldown(pool.by_id(before.key_id), OPUS, world.now)
            home = cold and after.key_id == before.home
            assert in_cooldown or now_in_cooldown or home
        if isinstance(new, Attempt):
            assert new.probe or not pool.cooldowns.blocked(new.key.id, ("",), world.now)
    for _, steps, _ in running.values():
        steps.close()
    assert world.busy == 0
    assert not pool.cooldowns._probes


# --- by themselves ---


def sessions(**more):
    return Sessions(ttl=1000.0, **more)


def test_ttl_is_renewed_on_use():
    found = sessions()
    found.bind("s", "p", "k", 0.0)
    found.touch("s", "p", 900.0)
    assert found.binding("s", "p", 1900.0)
    assert not found.binding("s", "p", 1900.1)
    assert not found.binding("s", "q", 0.0)
    found.prune(1900.1)
    assert not len(found)


def test_those_of_longest_ago_are_forgotten_first():
    found = sessions(most=3)
    for number in range(3):
        found.bind(str(number), "p", "k", 0.0)
    found.touch("0", "p", 1.0)
    found.bind("3", "p", "k", 1.0)
    assert [name for name in "0123" if found.binding(name, "p", 1.0)] == ["0", "2", "3"]
    assert len(found.drain()) == 3
    assert Sessions(ttl=1.0).most == MOST


def test_a_cache_is_as_warm_as_the_answer_says():
    found = sessions()
    found.bind("s", "p", "k", 0.0)
    found.used("s", "p", "k", 0.0)
    found.settled("s", "p", "k", Usage(cache_read_tokens=0), 1.0)
    assert not found.binding("s", "p", 1.0).is_warm(1.0), "nothing was cached"
    found.settled("s", "p", "k", Usage(cache_read_tokens=0, cache_write_5m_tokens=10), 1.0)
    assert found.binding("s", "p", 1.0).warm == 1.0 + WARM
    found.settled("s", "p", "k", Usage(cache_read_tokens=0), 2.0)
    assert found.binding("s", "p", 2.0).warm == 1.0 + WARM, "a small request cools nothing"
    found.settled("s", "p", "k", Usage(cache_read_tokens=9, cache_write_1h_tokens=10), 3.0)
    assert found.binding("s", "p", 3.0).warm == 3.0 + WARM_LONG
    found.settled("s", "p", "other", Usage(cache_read_tokens=9, cache_write_1h_tokens=10), 100.0)
    found.settled("s", "p", "k", Usage(), 100.0)
    found.used("s", "p", "other", 100.0)
    assert found.binding("s", "p", 3.0).warm == 3.0 + WARM_LONG


CACHED = Usage(cache_read_tokens=9, cache_write_1h_tokens=10)


@pytest.mark.parametrize(
    "say",
    [
        pytest.param(lambda found, key: found.used("s", "p", key, 100.0), id="used"),
        pytest.param(lambda found, key: found.settled("s", "p", key, CACHED, 100.0), id="cached"),
        pytest.param(lambda found, key: found.settled("s", "p", key, Usage(cache_read_tokens=0), 0.5), id="not cached"),
    ],
)
def test_what_another_key_did_says_nothing_of_the_binding(say):
    """The session has moved meanwhile, or a stand-in did it: its own key's cache is neither warmer nor colder for it."""
    for key, changes in (("other", False), ("", False), ("k", True)):
        found = sessions()
        found.bind("s", "p", "k", 0.0)
        found.used("s", "p", "k", 0.0, warm=1.0)
        before = found.binding("s", "p", 1.0)
        found.drain()
        say(found, key)
        assert (found.binding("s", "p", 1.0) != before) is changes
        assert bool(found.drain()) is changes, "nor are other relays told of it"


def test_what_is_said_of_another_provider_s_binding_is_not_of_this_one():
    found = sessions()
    found.bind("s", "p", "k", 0.0)
    before = found.binding("s", "p", 1.0)
    found.used("s", "q", "k", 100.0)
    found.settled("s", "q", "k", CACHED, 100.0)
    found.used("t", "p", "k", 100.0)
    assert found.binding("s", "p", 1.0) == before
    assert len(found) == 1


def test_bindings_survive_as_plain_values():
    found, copy = sessions(), sessions()
    found.bind("s", "p", "k", 1.0)
    found.used("s", "p", "k", 2.0)
    found.bind("t", "p", "l", 3.0, home="k")
    copy.restore(json.loads(json.dumps(found.snapshot())), 4.0)
    assert copy.snapshot() == found.snapshot()
    assert not copy.drain(), "what others said need not be told again"
    assert sorted(row["session"] for row in found.drain()) == ["s", "t"]
    assert not found.drain()
    late = sessions()
    late.restore(found.snapshot(), 2000.0)
    assert not len(late)


bindings = st.builds(
    Binding,
    st.sampled_from("xyz"),
    st.sampled_from("xyz"),
    st.integers(1, 3),
    st.sampled_from([0.0, 1.0, 2.0]),
    st.sampled_from([2.0, 3.0, 90.0]),
    st.sampled_from([0.0, 5.0, 9.0]),
    st.booleans(),
)


@given(bindings, bindings, bindings)
def test_whatever_the_order_processes_come_to_the_same_binding(one, two, three):
    assert joined(one, two, math.inf) == joined(two, one, math.inf)
    assert joined(one, one, math.inf) == one
    assert joined(joined(one, two, math.inf), three, math.inf) == joined(one, joined(two, three, math.inf), math.inf)


def test_a_binding_that_was_over_does_not_count():
    old, new = Binding("x", "x", 9, 0.0, 10.0), Binding("y", "y", 1, 200.0, 210.0)
    assert joined(old, new, 100.0) == joined(new, old, 100.0) == new
    assert joined(old, new, 1000.0).key_id == "x"
