"""Rows of `key_aliases`: which alias a key of relay.yaml has, for ever.

    key_aliases   one row for each key that a provider ever had; `id` is what other tables call it in `key_id`
    key_salt      what makes fingerprints those of this database alone, see `fingerprints`
    aliases       the last number given at a provider: `last` to a key of the vault, `last_configured` to one of relay.yaml

    book = read(connection)                 None where there are no such tables yet
    add(connection, book.foreseen(marks))

What this module must not know: transactions and secrets.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import groupby

from claude_relay.core.keys.aliases import Name, Place, numbers
from claude_relay.store.vault.rows import has_table

ID = 8
"""Bytes of a fingerprint that make an id, in hexadecimal digits as those of the vault's keys. By 64 bits two of a million keys are the same
with a chance of one in 37 million; (provider, id) is unique, so that even then nobody gets another one's rows."""

type Marks = Mapping[Place, bytes]
"""The keys' fingerprints, each provider's keys together and in their order."""


@dataclass(frozen=True, slots=True)
class Book:
    """What a database knows of keys. `names` by provider and fingerprint; `last`: the last number given at a provider."""

    salt: bytes
    names: Mapping[tuple[str, bytes], Name]
    last: Mapping[str, int]

    def of(self, marks: Marks) -> dict[Place, Name]:
        """The keys that have a name."""
        found = {place: self.names.get((place.provider, mark)) for place, mark in marks.items()}
        return {place: name for place, name in found.items() if name is not None}

    def foreseen(self, marks: Marks) -> dict[Place, Name]:
        """The names that the others are to have."""
        found: dict[Place, Name] = {}
        for provider, places in groupby(marks, lambda place: place.provider):
            own = {mark for name, mark in self.names if name == provider}
            # By their marks: a secret that relay.yaml names twice is one key, with one name.
            of_marks = {marks[place]: place for place in places}
            given = numbers(list(of_marks), own, self.last.get(provider, 0))
            found |= {of_marks[mark]: Name(f"k{number}", id_of(mark)) for mark, number in given.items()}
        return found


def id_of(mark: bytes) -> str:
    """What rows call the key of this fingerprint."""
    return mark[:ID].hex()


def read(connection: sqlite3.Connection) -> Book | None:
    """All that is remembered."""
    if not has_table(connection, "key_aliases"):
        return None
    rows = connection.execute("SELECT provider, fingerprint, alias, id FROM key_aliases").fetchall()
    names = {(provider, mark): Name(alias, id, sure=True) for provider, mark, alias, id in rows}
    last = dict(connection.execute("SELECT provider, last_configured FROM aliases").fetchall())
    return Book(connection.execute("SELECT salt FROM key_salt").fetchone()[0], names, last)


def add(connection: sqlite3.Connection, names: Mapping[Place, Name], marks: Marks) -> None:
    """Remember these. Within a transaction that holds the write lock and has read what it goes by."""
    connection.executemany(
        "INSERT INTO key_aliases (provider, fingerprint, id, alias) VALUES (?, ?, ?, ?)",
        [(place.provider, marks[place], name.id, name.alias) for place, name in names.items()],
    )
    connection.executemany(
        # The last number only grows, also when its key goes: what `k3` means in old rows stays true.
        "INSERT INTO aliases (provider, last, last_configured) VALUES (?, 0, ?) "
        "ON CONFLICT (provider) DO UPDATE SET last_configured = max(last_configured, excluded.last_configured)",
        [(place.provider, int(name.alias.removeprefix("k"))) for place, name in names.items()],
    )
