"""What the keys of relay.yaml are called: an alias for people, an id for rows that are stored. Both are a key's for ever.

In this process such a key goes by the id that `Provider.key_list` gives it. That id is derived from the secret so simply that a short
secret could be guessed from it, so it is never stored: `Ids` puts rows into the terms of the stored ids, and back.

    names[Place("anthropic", key.id)]           -> Name("k2", "9f0c…", sure=True)
    named(provider.key_list("anthropic"), names)      the same keys with their aliases
    numbers(["a", "b"], known={"b"}, last=2)    -> {"a": 3}

It must not know where names are kept, nor how a stored id comes about.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from claude_relay.core.exchange import Key

from .replication import Row, Shared

DOUBT = "?"
"""After the alias of a key whose name cannot be read: it stands for the key's place in relay.yaml, and may be another one's name."""
OF_KEYS = ("key_id", "home")
"""Columns that hold the id of a key."""


class Place(NamedTuple):
    """A key of relay.yaml in this process: the id is that of `Provider.key_list`."""

    provider: str
    id: str


@dataclass(frozen=True, slots=True)
class Name:
    """What a key is called. `id`: in stored rows; empty while it cannot be told. `sure`: it is remembered, not only foreseen."""

    alias: str
    id: str = ""
    sure: bool = False


type Names = Mapping[Place, Name]
type OwnKeys = Mapping[str, tuple[Key, ...]]
"""The keys of relay.yaml by provider, as `Provider.key_list` has them."""

NO_NAMES: Names = {}


def place_of(key: Key) -> Place:
    """Where a key of relay.yaml is found in `Names`."""
    return Place(key.provider, key.id)


def named(keys: Iterable[Key], names: Names) -> tuple[Key, ...]:
    """The same keys with the aliases that are theirs, or with their place's and DOUBT."""
    unnamed = Name("")
    found = ((key, names.get(place_of(key), unnamed).alias) for key in keys)
    return tuple(replace(key, alias=alias or key.alias + DOUBT) for key, alias in found)


def numbers[Mark](marks: Sequence[Mark], known: Collection[Mark], last: int) -> dict[Mark, int]:
    """The number in the alias of each key of one provider that has none yet.

    marks  its keys in their order
    known  those of them, and of former ones, that have a number
    last   the highest number ever given at this provider
    Where none has a number a key gets that of its place, as it always was.
    """
    before = last if known else 0
    return {mark: number for number, mark in enumerate((mark for mark in marks if mark not in known), before + 1)}


@dataclass(frozen=True, slots=True)
class Ids:
    """From the ids of this process to those of stored rows, and back. `unnamed`: keys that may not be stored, for they have none yet."""

    stored: Mapping[Place, str]
    own: Mapping[Place, str]
    unnamed: frozenset[Place] = frozenset()

    @classmethod
    def of(cls, names: Names, unnamed: Iterable[Place] = ()) -> Ids:
        """The ids of these names."""
        stored = {place: name.id for place, name in names.items() if name.id}
        own = {Place(place.provider, id): place.id for place, id in stored.items()}
        return cls(stored, own, frozenset(unnamed) - stored.keys())

    def outward(self, shared: Shared) -> Shared:
        """Rows of this process in the terms of stored ones, without those of unnamed keys. Ids of the vault stay as they are."""
        return _translated(shared, self.stored, self.unnamed)

    def inward(self, shared: Shared) -> Shared:
        """Stored rows in the terms of this process. Those of keys that only other relays have stay as they are."""
        return _translated(shared, self.own, NOBODY)


NOBODY: frozenset[Place] = frozenset()
NO_IDS = Ids({}, {})


def _translated(shared: Shared, ids: Mapping[Place, str], without: Collection[Place]) -> Shared:
    cooldowns, sessions, loads, probes = (
        tuple(_renamed(row, ids) for row in rows if not _concerns(row, without))
        for rows in (shared.cooldowns, shared.sessions, shared.loads, shared.probes)
    )
    return replace(shared, cooldowns=cooldowns, sessions=sessions, loads=loads, probes=probes)


def _places(row: Row) -> Iterable[tuple[str, Place]]:
    return ((name, Place(str(row["provider"]), str(row[name]))) for name in OF_KEYS if name in row)


def _renamed(row: Row, ids: Mapping[Place, str]) -> Row:
    found = {name: ids[place] for name, place in _places(row) if place in ids}
    return {**row, **found} if found else row


def _concerns(row: Row, places: Collection[Place]) -> bool:
    return bool(places) and any(place in places for _, place in _places(row))
