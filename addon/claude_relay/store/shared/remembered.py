"""The names of relay.yaml's keys, remembered in the database: a key keeps its alias wherever it stands in the file, and no other gets it.

    aliases = Aliases(Path("relay.db"))
    aliases.name(keys)         -> {Place("anthropic", key.id): Name("k2", "9f0c…", sure=True), …}      new ones are remembered
    aliases.foresee(keys)      the same, but nothing is written; names that are not remembered yet are not `sure`

Both wait for the disk and may take a while for short secrets (`fingerprints`): call them in a thread, one at a time. They raise
StoreError; Unremembered, which is one, where the names can be read, but no new one can be written. One transaction reads and adds,
so several relays come to the same names.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

from claude_relay.core.exchange import Key
from claude_relay.core.keys.aliases import Ids, Name, Place, place_of
from claude_relay.store.db.database import MissingDatabase, StoreError, connect, explain, read_only, transaction
from claude_relay.store.db.migrations import migrate

from .alias_tables import Book, add, read
from .fingerprints import Marks
from .rekeying import has_old_cooldowns, rekey

PATIENCE = 1.0
NOTHING = Book(b"", {}, {})


class Unremembered(StoreError):
    """New names could not be written. `foreseen`: what they will be, unless somebody else's keys get them first."""

    def __init__(self, message: str, foreseen: dict[Place, Name]) -> None:
        super().__init__(message)
        self.foreseen = foreseen


class Aliases:
    """The names in the database at `path`. `patience`: seconds to wait for somebody else's lock."""

    def __init__(self, path: Path, *, patience: float = PATIENCE) -> None:
        """Nothing is touched before the first call."""
        self.path = path
        self._patience = patience
        self._marks = Marks()

    def foresee(self, keys: Sequence[Key]) -> dict[Place, Name]:
        """The names of these keys, each provider's together and in order: those that are remembered, and those that the others will get."""
        found, _ = self._look(keys)
        return found

    def name(self, keys: Sequence[Key]) -> dict[Place, Name]:
        """The names of these keys, each provider's together and in order. What earlier versions stored of them is theirs from now on."""
        found, has_old = self._look(keys)
        if not has_old and all(name.sure for name in found.values()):
            return found
        try:
            with closing(connect(self.path, patience=self._patience, returning=True)) as connection:
                migrate(connection)
                book = read(connection) or NOTHING  # for its salt; names are read again below, with the lock
                self._marks.of(keys, book.salt)  # slow, so that it is done before others would have to wait
                with transaction(connection):
                    return self._name(connection, keys)
        except (sqlite3.Error, StoreError, OSError) as error:
            raise Unremembered(explain(self.path, error), found) from error

    def _name(self, connection: sqlite3.Connection, keys: Sequence[Key]) -> dict[Place, Name]:
        """In a transaction that holds the write lock."""
        book = read(connection) or NOTHING
        marks = self._marks.of(keys, book.salt)
        add(connection, book.foreseen(marks), marks)
        found = (read(connection) or NOTHING).of(marks)
        rekey(connection, Ids.of(found).stored)
        return found

    def _look(self, keys: Sequence[Key]) -> tuple[dict[Place, Name], bool]:
        """The names, and whether earlier versions have stored cooldowns of these keys."""
        try:
            with closing(read_only(self.path, patience=self._patience)) as connection:
                connection.execute("BEGIN")  # one moment of the file
                book = read(connection)
                has_old = has_old_cooldowns(connection, map(place_of, keys))
        except MissingDatabase:
            book, has_old = None, False
        except (sqlite3.Error, OSError) as error:
            raise StoreError(explain(self.path, error)) from error
        if book is None:  # then a mark is good for telling equal keys, and no id can be told
            marks = {place_of(key): key.id.encode() for key in keys}
            return {place: Name(name.alias) for place, name in NOTHING.foreseen(marks).items()}, has_old
        marks = dict(self._marks.of(keys, book.salt))
        return book.foreseen(marks) | book.of(marks), has_old
