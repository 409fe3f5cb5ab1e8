"""What relays over one database share: real SQLite, several connections, threads and processes."""

import math
import sqlite3
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import asdict

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from claude_relay.core.exchange import Cause, Key, KeyLimits, Length, Verdict
from claude_relay.core.keys.cooldown import Cooldown, begin, longer, to_row
from claude_relay.core.keys.cooldowns import PROBE_HELD, Cooldowns
from claude_relay.core.keys.own_credentials import SHARED
from claude_relay.core.keys.pool import Pool, Pools
from claude_relay.core.keys.replication import Shared, absorb, collect
from claude_relay.core.keys.sessions import Binding, Sessions, joined
from claude_relay.store.db.database import StoreError, connect
from claude_relay.store.db.migrations import migrate
from claude_relay.store.shared.state import HEARTBEAT, MOST_OWN, State, create_state
from waiting import PATIENCE

OPUS = "claude-opus-4-5"
KEYS = [Key("p", f"k{n}", "secret", f"id{n}", limits=KeyLimits(concurrent=4)) for n in range(3)]


@pytest.fixture
def path(tmp_path):
    found = tmp_path / "relay.db"
    make(found)
    return found


def make(path):
    with closing(connect(path, patience=2.0)) as connection:
        migrate(connection)
        create_state(connection)


class Relay:
    """What one process remembers, and its way to the database."""

    def __init__(self, path, now=0.0, keys=KEYS):
        self.pool = Pool("p", keys)
        self.pools = Pools([self.pool])
        self.sessions = Sessions(ttl=1000.0)
        self.state = State(path)
        self.exchange(now)

    def exchange(self, now):
        absorb(self.pools, self.sessions, self.state.exchange(collect(self.pools, self.sessions, now), now), now)

    def cool_down(self, key_id, until, now, scope="", reason="429"):
        self.pool.cooldowns.extend(key_id, scope, until=until, now=now, reason=reason, stated=True)

    @property
    def cooldowns(self):
        return {key.id: dict(self.pool.cooldowns.of(key.id)) for key in KEYS if self.pool.cooldowns.of(key.id)}

    @property
    def bindings(self):
        return {(row["session"], row["provider"]): row for row in self.sessions.snapshot()}


@pytest.fixture
def relays(path):
    found = [Relay(path) for _ in range(3)]
    yield found
    for relay in found:
        relay.state.close()


# --- cooldowns ---


def test_cooldowns_survive_a_restart(path):
    first = Relay(path)
    first.cool_down("id0", 500.0, 1.0)
    first.cool_down("id1", math.inf, 2.0, reason="401: revoked")
    first.cool_down("id1", 90.0, 2.0, scope=f"model:{OPUS}")
    first.exchange(3.0)
    first.state.close()
    second = Relay(path)
    assert second.cooldowns == first.cooldowns
    assert [key.status for key in second.pool.state(10.0).keys] == ["cooldown", "out", "ready"]
    second.state.close()


def test_others_hear_of_a_cooldown_and_of_its_end(relays):
    first, second, _ = relays
    first.cool_down("id0", 500.0, 1.0)
    first.exchange(1.5)
    second.exchange(2.0)
    assert not second.pool.is_ready(KEYS[0], OPUS, 2.0)
    second.pool.cooldowns.lift("id0")
    second.exchange(3.0)
    first.exchange(3.5)
    assert first.pool.is_ready(KEYS[0], OPUS, 3.5)


def test_a_successful_probe_ends_the_cooldown_everywhere(relays):
    first, second, _ = relays
    first.cool_down("id0", 100.0, 1.0)
    for relay in (first, second):
        relay.exchange(2.0)
    assert second.pool.started(KEYS[0], OPUS, 100.0)
    second.pool.succeeded(KEYS[0], OPUS, {}, 101.0, probe=True)
    second.exchange(101.0)
    first.exchange(101.5)
    assert not first.cooldowns
    assert second.pool.load.ramping == {"id0": 2}, "it gets its load step by step"


def test_a_failure_after_the_lift_stays_whoever_writes_first(relays):
    first, second, third = relays
    first.cool_down("id0", 500.0, 1.0)
    for relay in relays:
        relay.exchange(2.0)
    first.pool.cooldowns.lift("id0")
    second.cool_down("id0", 400.0, 5.0)
    for relay in (first, second, third, first, second):
        relay.exchange(6.0)
    for relay in relays:
        assert relay.cooldowns["id0"][""].until == 500.0, (
            "who failed had not heard of the lift, so the rest was never shortened"
        )
        assert relay.cooldowns["id0"][""].since == 5.0


def test_an_old_failure_does_not_come_back_after_a_lift(relays):
    first, second, third = relays
    first.cool_down("id0", 500.0, 1.0)
    first.exchange(2.0)
    second.exchange(2.0)
    late = second.pool.cooldowns.snapshot()
    first.pool.cooldowns.lift("id0")
    first.exchange(3.0)
    third.state.save_cooldowns({"provider": "p", **row} for row in late)
    for relay in (second, third):
        relay.exchange(4.0)
        assert not relay.cooldowns


def test_lifting_by_hand_from_another_process(relays):
    first, second, _ = relays
    first.cool_down("id0", 500.0, 1.0)
    first.cool_down("id0", 90.0, 1.0, scope=f"model:{OPUS}")
    first.cool_down("id1", 500.0, 1.0)
    first.exchange(2.0)
    by_hand = State(second.state.path)
    assert by_hand.lift("p", "id0", 3.0, scope="") == 1
    assert by_hand.lift("p", "id0", 3.0) == 1
    assert by_hand.lift("p", "id0", 3.0) == 0
    by_hand.close()
    for relay in relays:
        relay.exchange(4.0)
        assert list(relay.cooldowns) == ["id1"]


def test_a_key_that_leaves_and_returns_is_still_in_cooldown(relays):
    relay = relays[0]
    relay.cool_down("id0", 500.0, 1.0)
    relay.pool.replace(KEYS[1:])
    relay.exchange(2.0)
    assert not relay.cooldowns
    relay.pool.replace(KEYS)
    relay.state.forget_position()
    relay.exchange(3.0)
    assert relay.cooldowns["id0"][""].until == 500.0


@pytest.mark.parametrize("strange", ["caf\u00e9", "half \ud800 character", "\x00"])
def test_strange_words_are_no_reason_to_fail(relays, strange):
    relays[0].cool_down("id0", 500.0, 1.0, reason=strange)
    relays[0].exchange(2.0)
    relays[1].exchange(3.0)
    assert relays[1].cooldowns["id0"][""].until == 500.0


ends = st.sampled_from([10.0, 20.0, 500.0, math.inf])
some_cooldowns = st.builds(
    Cooldown,
    ends,
    ends,
    st.booleans(),
    st.booleans(),
    st.integers(0, 3),
    st.sampled_from(["a", "b", "ü"]),
    st.sampled_from([1.0, 2.0, 3.0]),
)


@given(some_cooldowns, some_cooldowns, some_cooldowns)
def test_cooldowns_join_in_any_order(one, two, three):
    assert longer(one, two) == longer(two, one)
    assert longer(one, one) == one
    assert longer(longer(one, two), three) == longer(one, longer(two, three))


@settings(
    max_examples=50, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture]
)
@given(st.lists(some_cooldowns, min_size=1, max_size=4))
def test_sql_joins_cooldowns_as_the_core_does(path, cooldowns):
    with closing(State(path)) as state:
        with closing(connect(path, patience=1.0)) as connection:
            connection.execute("DELETE FROM cooldowns")
        expected = cooldowns[0]
        for cool_down in cooldowns:
            state.save_cooldowns([{"provider": "p", "key_id": "k", "scope": "", **to_row(cool_down), "lifted": -1.0}])
            expected = longer(expected, cool_down)
        (row,) = state.load_cooldowns()
    assert {name: row[name] for name in to_row(expected)} == to_row(expected)


@settings(
    max_examples=50, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture]
)
@given(st.lists(st.tuples(some_cooldowns, st.sampled_from([-1.0, 1.0, 2.0])), min_size=1, max_size=5))
def test_sql_lifts_cooldowns_as_the_core_does(path, rows):
    core = Cooldowns()
    with closing(State(path)) as state:
        with closing(connect(path, patience=1.0)) as connection:
            connection.execute("DELETE FROM cooldowns")
        for cool_down, lifted in rows:
            row = {"provider": "p", "key_id": "k", "scope": "", **to_row(cool_down), "lifted": lifted}
            core.restore([row])
            state.save_cooldowns([row])
        (stored,) = state.load_cooldowns()
    assert stored["lifted"] == max(lifted for _, lifted in rows)
    expected = core.of("k").get("")
    found = (
        {name: stored[name] for name in to_row(expected or rows[0][0])} if stored["since"] > stored["lifted"] else None
    )
    assert found == (to_row(expected) if expected else None)


# --- sessions ---


def test_sessions_survive_a_restart_and_reach_others(relays, path):
    first, second, _ = relays
    first.sessions.bind("s", "p", "id1", 1.0)
    first.sessions.used("s", "p", "id1", 2.0)
    first.exchange(3.0)
    second.exchange(3.0)
    assert second.bindings == first.bindings
    again = Relay(path)
    assert again.bindings == first.bindings
    again.state.close()


def test_a_session_that_two_processes_binding_at_once_comes_to_one_binding(relays):
    first, second, third = relays
    first.sessions.bind("s", "p", "id0", 1.0)
    second.sessions.bind("s", "p", "id1", 1.1)
    for relay in (second, first, second, third):
        relay.exchange(2.0)
    assert {relay.sessions.binding("s", "p", 2.0).key_id for relay in relays} == {"id0"}
    second.sessions.bind("s", "p", "id2", 3.0, home="id0")
    for relay in (first, second, first, third):
        relay.exchange(4.0)
    assert {relay.sessions.binding("s", "p", 4.0).key_id for relay in relays} == {"id2"}


bindings = st.builds(
    Binding,
    st.sampled_from("xyz"),
    st.sampled_from("xyz"),
    st.integers(1, 3),
    st.sampled_from([0.0, 1.0, 150.0]),
    st.sampled_from([2.0, 3.0, 190.0]),
    st.sampled_from([0.0, 5.0, 9.0]),
    st.booleans(),
)


@settings(
    max_examples=50, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture]
)
@given(st.lists(bindings, min_size=1, max_size=4), st.sampled_from([100.0, 1000.0]))
def test_sql_joins_bindings_as_the_core_does(path, bindings, ttl):
    with closing(State(path)) as state:
        with closing(connect(path, patience=1.0)) as connection:
            connection.execute("DELETE FROM sessions")
        expected = None
        for binding in bindings:
            state.save_sessions([{"session": "s", "provider": "p", **asdict(binding)}], ttl)
            expected = joined(expected, binding, ttl) if expected else binding
        (row,) = state.load_sessions()
    assert {name: row[name] for name in asdict(expected)} == asdict(expected)


# --- any interleaving ---

happenings = st.lists(
    st.tuples(
        st.integers(0, 2),
        st.sampled_from(["rest", "rest", "out", "probe", "lift", "sit", "use", "exchange", "exchange"]),
        st.sampled_from(KEYS),
        st.floats(0.001, 200),
    ),
    max_size=40,
)


@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture]
)
@given(happenings)
def test_what_any_interleaving_of_processes_stores_is_consistent(path, happenings):
    """Three processes. In the end all of them and the database say the same; without lifts no end was ever lost."""
    with closing(connect(path, patience=1.0)) as connection:
        for table in ("cooldowns", "sessions", "loads", "probes"):
            connection.execute(f"DELETE FROM {table}")
    relays, now, ends, moved = [Relay(path) for _ in range(3)], 0.0, {}, 0
    for number, what, key, passed in happenings:
        now += passed / 10
        relay = relays[number]
        match what:
            case "rest" | "out":
                until = now + passed if what == "rest" else math.inf
                relay.cool_down(key.id, until, now, reason=f"failure at {now}")
                ends.setdefault(key.id, []).append((now, until))
            case "probe" if relay.pool.started(key, OPUS, now):
                relay.pool.finished(key)
                relay.pool.succeeded(key, OPUS, {}, now, probe=True)
                ends.pop(key.id, None)
            case "lift" if relay.pool.cooldowns.lift(key.id):
                ends.pop(key.id, None)
            case "sit":
                relay.sessions.bind("s", "p", key.id, now)
                moved += 1
            case "use":
                relay.sessions.used("s", "p", key.id, now)
            case "exchange":
                relay.exchange(now)
    for relay in relays * 2:
        relay.exchange(now)
    stored = {row["key_id"]: row for row in relays[0].state.load_cooldowns() if row["since"] > row["lifted"]}
    bindings = relays[0].state.load_sessions()
    for relay in relays:
        assert {key: cooldowns[""].until for key, cooldowns in relay.cooldowns.items()} == {
            key: math.inf if row["until"] is None else row["until"] for key, row in stored.items()
        }
        assert relay.cooldowns == relays[0].cooldowns
        assert sorted(relay.bindings.values(), key=repr) == sorted(bindings, key=repr)
        relay.state.close()
    for key_id, of_key in ends.items():  # nobody has lifted anything since
        assert relays[0].cooldowns[key_id][""].until >= max(until for _, until in of_key)
    assert len(bindings) == bool(moved)


small_steps = st.lists(
    st.tuples(st.integers(0, 1), st.sampled_from(["rest", "sit", "send or take"]), st.sampled_from(KEYS[:2])),
    min_size=10,
    max_size=40,
)


@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture]
)
@given(small_steps)
def test_no_exchange_shortens_a_cooldown_or_takes_back_a_move(path, steps):
    """At every moment of any interleaving, in every process, also of what happens while an exchange is under way.

    A session that has moved does not return because somebody has not heard of it; of equal moves the first is never given up.
    """
    with closing(connect(path, patience=1.0)) as connection:
        for table in ("cooldowns", "sessions", "loads", "probes"):
            connection.execute(f"DELETE FROM {table}")
    relays, sat, under_way = [Relay(path) for _ in range(2)], [(0, 0.0)] * 2, {}
    for now, (number, what, key) in enumerate(steps):
        relay, now = relays[number], float(now)
        before = relay.cooldowns
        if what == "rest":
            relay.cool_down(key.id, now + 50.0 * (1 + number), now)
        elif what == "send or take" and number in under_way:
            absorb(relay.pools, relay.sessions, under_way.pop(number), now)
        elif what == "send or take":
            under_way[number] = relay.state.exchange(collect(relay.pools, relay.sessions, now), now)
        elif not (binding := relay.sessions.binding("s", "p", now)) or binding.key_id != key.id:
            relay.sessions.bind("s", "p", key.id, now)
        for key_id, cooldowns in before.items():
            assert relay.cooldowns[key_id][""].until >= cooldowns[""].until
            assert relay.cooldowns[key_id][""].opens >= cooldowns[""].opens
        if binding := relay.sessions.binding("s", "p", now):
            rank = binding.moves, -binding.since
            assert rank >= sat[number]
            sat[number] = rank
    for relay in relays:
        relay.state.close()


def test_many_threads_with_connections_of_their_own(path):
    """Eight at once lengthen the same rest: the longest is what stays."""

    def run(number):
        with closing(State(path)) as state:
            for step in range(25):
                cool_down = begin(1000.0 + number + 10 * step, now=float(step), reason=f"{number}/{step}", stated=True)
                state.save_cooldowns(
                    [{"provider": "p", "key_id": "k", "scope": "", **to_row(cool_down), "lifted": -1.0}]
                )
                binding = Binding(f"k{number}", "k", step + 1, float(step), float(step + number))
                state.save_sessions([{"session": "s", "provider": "p", **asdict(binding)}])

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(run, range(8)))
    with closing(State(path)) as state:
        (cool_down,), (binding,) = state.load_cooldowns(), state.load_sessions()
        assert (cool_down["until"], cool_down["reason"]) == (1247.0, "7/24")
        assert (binding["key_id"], binding["moves"], binding["used"]) == ("k7", 25, 31.0)
        assert state.changed() == 400


def test_one_state_serves_many_threads(path):
    state = State(path, patience=PATIENCE)
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(lambda n: state.remember_resource(f"file_{n}", "p", f"id{n}", 100.0), range(40)))
        found = list(threads.map(lambda n: state.resource(f"file_{n}", 1.0), range(40)))
    assert found == [("p", f"id{n}") for n in range(40)]
    state.close()


PROCESS = """
import sys
from pathlib import Path
from claude_relay.store.shared.state import State
from claude_relay.core.keys.cooldown import begin, to_row
state, number = State(Path(sys.argv[1]), patience=60.0), int(sys.argv[2])
sys.stdin.readline()
for step in range(20):
    rest = begin(1000.0 + number + 10 * step, now=float(step), reason="r", stated=True)
    state.save_cooldowns([{"provider": "p", "key_id": "k", "scope": "", **to_row(rest), "lifted": -1.0}])
"""


def test_real_processes(path):
    command = [sys.executable, "-c", PROCESS, str(path)]
    running = [
        subprocess.Popen([*command, str(n)], stdin=subprocess.PIPE, env={"PYTHONPATH": ":".join(sys.path)})
        for n in range(2)
    ]
    for process in running:
        process.stdin.write(b"go\n")
        process.stdin.close()
    assert [process.wait(PATIENCE) for process in running] == [0, 0]
    with closing(State(path)) as state:
        (row,) = state.load_cooldowns()
    assert row["until"] == 1191.0


# --- loads ---


def test_processes_see_what_others_carry(relays):
    first, second, _ = relays
    for _ in range(3):
        first.pool.started(KEYS[0], OPUS, 1.0)
    first.exchange(1.0)
    second.exchange(1.5)
    assert second.pool.load.takes("id0", 1.5)
    second.pool.started(KEYS[0], OPUS, 1.5)
    assert not second.pool.load.takes("id0", 1.5), "three there and one here"
    for _ in range(3):
        first.pool.finished(KEYS[0])
    first.exchange(2.0)
    second.exchange(2.5)
    assert second.pool.load.takes("id0", 2.5)


def test_a_process_that_died_holds_no_places(relays):
    first, second, _ = relays
    for _ in range(4):
        first.pool.started(KEYS[0], OPUS, 1.0)
    first.exchange(1.0)
    second.exchange(2.0)
    assert not second.pool.load.takes("id0", 2.0)
    second.exchange(1.0 + HEARTBEAT)
    assert second.pool.load.takes("id0", 1.0 + HEARTBEAT)


def test_what_a_process_spent_counts_for_a_minute_after_its_end(path):
    keys = [Key("p", "k0", "secret", "id0", limits=KeyLimits(requests_per_minute=2, concurrent=2))]
    killed, ended, last = (Relay(path, keys=keys) for _ in range(3))
    for relay in (killed, ended):
        relay.pool.started(keys[0], OPUS, 1.0)
        relay.exchange(1.0)
    ended.state.close()
    last.exchange(1.0 + HEARTBEAT)
    assert not last.pool.load.takes("id0", 1.0 + HEARTBEAT)
    assert "minute" in last.pool.load.why_full("id0", 1.0 + HEARTBEAT), "nobody has a request under way any more"
    last.exchange(61.0)
    assert last.pool.load.takes("id0", 61.0)
    for relay in (killed, last):
        relay.state.close()


def test_a_process_that_ends_holds_no_places(relays):
    first, second, _ = relays
    for _ in range(4):
        first.pool.started(KEYS[0], OPUS, 1.0)
    first.exchange(1.0)
    first.state.close()
    second.exchange(1.1)
    assert second.pool.load.takes("id0", 1.1)


def test_carrying_is_no_news(relays):
    before = relays[0].state.changed()
    relays[0].pool.started(KEYS[0], OPUS, 1.0)
    relays[0].exchange(1.0)
    assert relays[1].state.changed() == before


# --- probes ---


def half_open(relays):
    relays[0].cool_down("id0", 100.0, 1.0)
    for relay in relays:
        relay.exchange(2.0)
        assert relay.pool.is_ready(KEYS[0], OPUS, 100.0)


def test_one_process_probes_and_the_others_hold_off(relays):
    half_open(relays)
    first, *others = relays
    probe = first.pool.started(KEYS[0], OPUS, 100.0)
    for relay in relays:
        relay.exchange(100.1)
    assert [relay.pool.is_ready(KEYS[0], OPUS, 100.2) for relay in others] == [False, False]
    first.pool.apply(Verdict("rate_limited", Cause.KEY, 130.0, "429", Length.STATED), KEYS[0], OPUS, 101.0, probe=probe)
    for relay in relays:
        relay.exchange(101.0)
    assert [relay.pool.is_ready(KEYS[0], OPUS, 129.0) for relay in relays] == [False] * 3, "it failed, for all"
    assert [relay.pool.is_ready(KEYS[0], OPUS, 130.0) for relay in relays] == [True] * 3


@pytest.mark.parametrize("end", [lambda relay: relay.state.close(), lambda relay: None])
def test_a_process_that_is_gone_probes_nothing(relays, end):
    half_open(relays)
    first, second, _ = relays
    first.pool.started(KEYS[0], OPUS, 100.0)
    first.exchange(100.0)
    second.exchange(100.1)
    assert not second.pool.is_ready(KEYS[0], OPUS, 100.1)
    end(first)
    second.exchange(100.0 + HEARTBEAT)
    assert second.pool.is_ready(KEYS[0], OPUS, 100.0 + HEARTBEAT)


def test_a_probe_that_takes_its_time_is_waited_for_a_minute(relays):
    half_open(relays)
    first, second, _ = relays
    first.pool.started(KEYS[0], OPUS, 100.0)
    for now in range(100, 100 + int(PROBE_HELD)):
        first.exchange(float(now))
        second.exchange(float(now))
        assert not second.pool.is_ready(KEYS[0], OPUS, float(now))
    assert second.pool.is_ready(KEYS[0], OPUS, 100.0 + PROBE_HELD)


# --- resources ---


def test_resources_have_an_end(path):
    state = State(path)
    assert state.resource("file_1", 0.0) is None
    state.remember_resource("file_1", "p", "id1", 50.0)
    state.remember_resource("file_1", "p", "id1", 40.0)
    assert state.resource("file_1", 49.0) == ("p", "id1")
    assert state.resource("file_1", 50.0) is None
    state.remember_resource("file_1", "q", "id2", 45.0)
    assert state.resource("file_1", 44.0) == ("q", "id2")
    assert state.resource("file_1", 46.0) is None
    state.close()


# --- housekeeping ---


def test_prune(relays, path):
    relay, day = relays[0], 86400.0
    relay.cool_down("id0", 10.0, 1.0)
    relay.cool_down("id0", 10.0, 1.0, scope=f"model:{OPUS}")
    relay.cool_down("id1", math.inf, 1.0)
    relay.cool_down("id2", 9 * day, 1.0)
    for number in range(5):
        relay.sessions.bind(f"s{number}", "p", "id0", float(number))
    relay.state.remember_resource("file_1", "p", "id0", 50.0)
    relay.exchange(9.0)
    state = relay.state
    state.prune(10.0, ttl=8.0, most=2)
    assert sorted(row["session"] for row in state.load_sessions()) == ["s3", "s4"]
    assert len(state.load_cooldowns()) == 4
    state.prune(4000.0, ttl=8.0, most=2)
    assert sorted((row["key_id"], row["scope"]) for row in state.load_cooldowns()) == [
        ("id0", ""),
        ("id1", ""),
        ("id2", ""),
    ]
    assert not state.load_sessions()
    state.prune(3 * day, ttl=8.0, most=2)
    assert {row["key_id"] for row in state.load_cooldowns()} == {"id1", "id2"}
    assert state.lift("p", "id1", 3 * day) == 1
    state.prune(6 * day, ttl=8.0, most=2)
    assert {row["key_id"] for row in state.load_cooldowns()} == {"id2"}
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("SELECT count(*) FROM resources").fetchone() == (0,)


def test_clients_cannot_fill_the_database_with_credentials(relays):
    """They may invent as many as they like; keys' cooldowns stay."""
    relay, row = relays[0], {**to_row(begin(math.inf, 1.0, "401")), "provider": "p", "scope": "", "lifted": -1.0}
    relay.cool_down("id0", math.inf, 1.0)
    relay.exchange(1.0)
    for turn in range(3):
        relay.state.save_cooldowns(row | {"key_id": f"{SHARED}{turn}-{number}"} for number in range(MOST_OWN))
    found = [row["key_id"] for row in relay.state.load_cooldowns()]
    assert len(found) == MOST_OWN + 1
    assert {id[: len(SHARED) + 1] for id in found} == {"id0", f"{SHARED}2"}


def test_an_idle_exchange_writes_nothing(relays, path):
    for relay in relays:
        relay.exchange(1.0)
    with closing(sqlite3.connect(path)) as connection:
        before = connection.execute("PRAGMA data_version").fetchone()
        for _ in range(3):
            relays[0].exchange(2.0)
        assert connection.execute("PRAGMA data_version").fetchone() == before


def test_a_locked_database_says_so_and_nothing_is_lost(path):
    relay = Relay(path)
    relay.state.close()
    relay.state = State(path, patience=0.05)
    relay.cool_down("id0", 500.0, 1.0)
    mine = collect(relay.pools, relay.sessions, 1.0)
    with closing(connect(path, patience=1.0)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreError, match="locked"):
            relay.state.exchange(mine, 1.0)
        other.execute("ROLLBACK")
    theirs = relay.state.exchange(mine, 2.0)
    assert [row["until"] for row in theirs.cooldowns] == [500.0]
    relay.state.close()


def test_a_file_that_is_no_database_is_explained(tmp_path):
    (tmp_path / "relay.db").write_bytes(b"no database" * 100)
    state = State(tmp_path / "relay.db")
    with pytest.raises(StoreError, match=r"relay\.db"):
        state.changed()
    state.close()


def test_times_are_readable_with_any_tool(relays, path):
    relays[0].cool_down("id0", 1_800_000_000.0, 1.0)
    relays[0].exchange(2.0)
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("SELECT datetime(until, 'unixepoch') FROM cooldowns").fetchone() == (
            "2027-01-15 08:00:00",
        )


def test_an_exchange_while_somebody_reads_a_lot(path):
    """Readers hinder no writer, and a reader sees one state of things."""
    relay, stop, seen = Relay(path), threading.Event(), []

    def read():
        with closing(State(path)) as state:
            while not stop.is_set():
                seen.append(len(state.load_cooldowns()))

    reader = threading.Thread(target=read)
    reader.start()
    for number in range(50):
        relay.pool.cooldowns.extend("id0", f"model:{number}", until=1e9, now=1.0, reason="r", stated=True)
        relay.pool.cooldowns.extend("id1", f"model:{number}", until=1e9, now=1.0, reason="r", stated=True)
        relay.exchange(1.0)
    stop.set()
    reader.join()
    assert seen == sorted(seen)
    assert not any(count % 2 for count in seen), "both cooldowns of one exchange, or none"
    relay.state.close()


def test_the_cost_of_looking_is_small(relays):
    state = relays[0].state
    state.exchange(Shared(), 1.0)
    start = time.thread_time()
    for _ in range(100):
        state.exchange(Shared(), 1.0)
    assert (time.thread_time() - start) / 100 < 0.01
