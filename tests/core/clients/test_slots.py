"""Places: never more than the limit, over several relays, and nobody starves."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from claude_relay.core.clients.demand import Bound
from claude_relay.core.clients.limits import parse
from claude_relay.core.clients.slots import IDLE, IDLE_ALONE, Slots, Want, share

FOUR = Bound(parse("4 concurrent"), "client", "alice", "four")
TWO = Bound(parse("2 concurrent"), "group", "team", "two")


def test_nothing_runs_without_a_lease() -> None:
    slots = Slots()
    assert slots.take([FOUR], 0.0) is FOUR
    assert slots.lacking([FOUR], 0.0)
    assert slots.unleased([FOUR], 0.0)
    slots.leased({"four": 4}, until=10.0)
    assert [slots.take([FOUR], 1.0) for _ in range(5)] == [None] * 4 + [FOUR]
    assert not slots.lacking([FOUR], 1.0)
    assert slots.wants(1.0) == {"four": Want(4, 4, 0)}


def test_a_lease_that_is_over_lets_nothing_begin() -> None:
    slots = Slots()
    slots.take([FOUR], 0.0)
    slots.leased({"four": 4}, until=5.0)
    assert slots.take([FOUR], 4.9) is None
    assert slots.take([FOUR], 5.0) is FOUR
    assert slots.lacking([FOUR], 5.0)
    assert slots.unleased([FOUR], 5.0)


def test_all_or_nothing() -> None:
    slots = Slots()
    slots.full([FOUR, TWO], 0.0)
    slots.leased({"four": 4, "two": 2}, until=10.0)
    assert [slots.take([FOUR, TWO], 1.0) for _ in range(3)] == [None, None, TWO]
    assert (slots.used("four"), slots.used("two")) == (2, 2)
    slots.give_back(["four", "two"], 2.0, 1.0)
    assert slots.take([FOUR, TWO], 2.0) is None


def test_what_is_idle_is_given_back() -> None:
    slots = Slots()
    slots.full([FOUR], 0.0)
    assert slots.wants(1.0) == {"four": Want(4, 0, 0)}
    assert slots.wants(2.0) == {}  # nothing has changed
    slots.full([TWO], 3.0)
    assert slots.wants(IDLE) == {"two": Want(2, 0, 0)}
    assert slots.wants(IDLE + 1.0) == {"four": None}
    assert slots.wants(2 * IDLE) == {"two": None}
    assert slots.held == {}


def test_what_is_idle_is_held_for_longer_where_nobody_else_may_want_it() -> None:
    slots = Slots()
    slots.full([FOUR], 0.0)
    slots.wants(0.0, IDLE_ALONE)
    assert slots.wants(IDLE_ALONE - 1, IDLE_ALONE) == {}
    assert slots.wants(IDLE_ALONE - 1, IDLE) == {"four": None}


def test_what_runs_or_was_used_again_is_not_idle() -> None:
    slots = Slots()
    slots.full([FOUR, TWO], 0.0)
    slots.leased({"four": 4, "two": 2}, until=99.0)
    slots.take([FOUR], 0.0)
    slots.wants(0.0)
    slots.full([TWO], IDLE - 1)
    assert slots.wants(IDLE) == {"two": Want(2, 0, 0)}
    slots.give_back(["four"], IDLE + 1, 0.0)
    assert slots.wants(IDLE + 1) == {"four": Want(4, 0, 0)}
    assert slots.wants(2 * IDLE) == {"two": None}
    assert slots.wants(2 * IDLE + 1) == {"four": None}


wants = st.lists(st.tuples(st.integers(0, 8), st.integers(0, 8)), min_size=1, max_size=4)


@given(limit=st.integers(1, 8), said=st.lists(wants, min_size=1, max_size=12), turn=st.integers(0, 50))
def test_relays_together_never_have_more_than_the_limit(
    limit: int, said: list[list[tuple[int, int]]], turn: int
) -> None:
    """Each says what it wants, one after the other; what runs keeps its place, and what begins has one."""
    busy: dict[str, int] = {}
    rows: dict[str, tuple[int, Want]] = {}
    for step, ask in enumerate(said):
        for n, (ending, waiting) in enumerate(ask):
            me = f"relay {n}"
            busy[me] = max(0, busy.get(me, 0) - ending)
            want = Want(limit, busy[me], waiting)
            others = {name: one for name, (_, one) in rows.items() if name != me}
            held = {name: places for name, (places, _) in rows.items() if name != me}
            given_now = share(limit, want, others, held, me, turn + step)
            rows[me] = max(given_now, busy[me]), want
            busy[me] += max(0, min(waiting, given_now - busy[me]))
            assert sum(busy.values()) <= sum(places for places, _ in rows.values()) <= limit


def settled(limit: int, wanted: dict[str, int], turns: range) -> list[dict[str, int]]:
    """Who has how many, turn by turn, of relays that always want so many, and whose requests end between two turns."""
    rows: dict[str, tuple[int, Want]] = {}
    found = []
    for turn in turns:
        for me, many in wanted.items():
            others = {name: one for name, (_, one) in rows.items() if name != me}
            held = {name: places for name, (places, _) in rows.items() if name != me}
            rows[me] = share(limit, Want(limit, 0, many), others, held, me, turn), Want(limit, 0, many)
        found.append({name: places for name, (places, _) in rows.items()})
    return found


def test_a_relay_alone_gets_all() -> None:
    assert share(4, Want(4, 0, 1), {}, {}, "a", 0) == 4


def test_who_wants_much_leaves_others_their_share() -> None:
    assert settled(4, {"a": 9, "b": 9}, range(3))[-1] == {"a": 2, "b": 2}
    assert settled(4, {"a": 9, "b": 1}, range(3))[-1]["a"] == 3


def test_what_cannot_be_divided_goes_round() -> None:
    found = settled(1, {"a": 9, "b": 9}, range(8))
    assert {name for one in found for name, places in one.items() if places} == {"a", "b"}
    assert all(sum(one.values()) <= 1 for one in found)
