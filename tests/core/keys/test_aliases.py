"""What keys of relay.yaml are called, and how rows get from the ids of a process to those that are stored."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from claude_relay.core.exchange import Key
from claude_relay.core.keys.aliases import Ids, Name, Place, named, numbers
from claude_relay.core.keys.replication import Shared

KEYS = tuple(Key("p", f"k{n}", f"secret {n}", f"own-{n}") for n in (1, 2, 3))
NAMES = {Place("p", "own-1"): Name("k7", "s7", sure=True), Place("p", "own-3"): Name("k2", "s2")}


def test_a_key_has_its_name_and_without_one_its_place_with_a_doubt() -> None:
    assert [(key.alias, key.id, key.secret) for key in named(KEYS, NAMES)] == [
        ("k7", "own-1", "secret 1"),
        ("k2?", "own-2", "secret 2"),
        ("k2", "own-3", "secret 3"),
    ]


def test_another_provider_s_key_of_the_same_id_has_another_name() -> None:
    (key,) = named([Key("q", "k1", "secret 1", "own-1")], NAMES)
    assert key.alias == "k1?"


def test_the_first_keys_of_a_provider_are_numbered_by_their_place() -> None:
    assert numbers("abc", known=(), last=0) == {"a": 1, "b": 2, "c": 3}
    assert numbers("ab", known=(), last=9) == {"a": 1, "b": 2}, "as it was before names were remembered"


def test_a_new_key_gets_a_number_that_no_other_ever_had() -> None:
    assert numbers("xbya", known="abc", last=9) == {"x": 10, "y": 11}


@given(st.lists(st.lists(st.sampled_from("abcdefgh"), unique=True, max_size=6), max_size=12))
def test_whatever_is_edited_an_alias_stays_with_its_key(edits: list[list[str]]) -> None:
    given: dict[str, int] = {}
    for marks in edits:
        new = numbers(marks, given, max(given.values(), default=0))
        assert not set(new.values()) & set(given.values())
        assert not new.keys() & given.keys()
        given |= new
        assert set(marks) <= given.keys()
    assert len(set(given.values())) == len(given)


def row(provider: str, key: str, **more: str) -> dict[str, object]:
    return {"provider": provider, "key_id": key, **more}


def shared(*rows: dict[str, object]) -> Shared:
    bindings = tuple({**row, "home": "v", "session": "s"} for row in rows)
    return Shared(rows, bindings, rows, 60.0, rows)


def test_rows_go_out_and_come_in_again() -> None:
    ids = Ids.of(NAMES)
    mine = shared(row("p", "own-1"), row("p", "v1"), row("q", "own-1"))
    stored = shared(row("p", "s7"), row("p", "v1"), row("q", "own-1"))
    assert ids.outward(mine) == stored
    assert ids.inward(stored) == mine


def test_a_binding_s_home_goes_with_it() -> None:
    binding = row("p", "own-1", home="own-3", session="s")
    assert Ids.of(NAMES).outward(Shared(sessions=(binding,))).sessions == (row("p", "s7", home="s2", session="s"),)


def test_what_has_no_stored_id_does_not_go_out() -> None:
    ids = Ids.of(NAMES, unnamed=[Place("p", "own-1"), Place("p", "own-2")])
    assert ids.unnamed == {Place("p", "own-2")}
    out = ids.outward(shared(row("p", "own-2"), row("p", "v1"), row("q", "own-2")))
    assert out == shared(row("p", "v1"), row("q", "own-2"))
    assert ids.outward(Shared(sessions=(row("p", "v1", home="own-2"),))).sessions == ()
