"""What administrators do to clients and groups, each act in one transaction with its line in the audit log.

    book = ClientBook(Path("relay.db"))
    made = book.add(actor, "alice", {"group": "team", "policy": Policy(…)})      -> the key, which is shown this once
    book.edit(actor, "alice", {"note": "…", "policy": …})
    book.rotate(actor, "alice", overlap=3600.0)                        -> the new key; the old one is valid for so long
    book.directory(), book.changed()                                   what relays go by

Every method is synchronous, opens the file anew and may be called in any thread. Raises StoreError for what the disk refuses, and
ClientError, with what to do, for what cannot be done. Names stay taken by clients that were removed: old rows of the ledger name them.
It must not know terminals.
"""

from __future__ import annotations

import json
import os
import re
import secrets as chance
import sqlite3
import time
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from claude_relay.core.clients.credentials import digest, is_own, mask, new_key
from claude_relay.core.clients.directory import NOBODY, Directory
from claude_relay.core.clients.permissions import Policy, encode
from claude_relay.core.times import DAY, iso
from claude_relay.store.audit import Act, Actor, write
from claude_relay.store.db.database import ChangedMeanwhile, StoreError
from claude_relay.store.db.database_file import DatabaseFile
from claude_relay.store.db.watch import Watch

from .rows import StoredClient, StoredGroup, read_directory, stored_clients, stored_groups

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@+-]{0,63}", re.ASCII)
CLIENT_FIELDS = ("group", "note", "tags", "owner", "priority", "policy", "enabled", "expires_at", "expires_after")
GROUP_FIELDS = ("note", "policy", "settings", "enabled")
REMEMBERED = 30 * DAY
"""Seconds for which whoever still sends a key that was replaced is told so."""
STOPPED = 60.0
"""Seconds for which nothing begins after a stop, unless it says otherwise: programs that try again at once find it closed."""


class ClientError(StoreError):
    """What cannot be done, and what to do instead."""


@dataclass(frozen=True, slots=True)
class Made:
    """A client with a new key. `key` is shown this once."""

    client: StoredClient
    key: str


class ClientBook:
    """The clients in the database at `path`. `patience`: seconds to wait for somebody else's lock."""

    def __init__(self, path: Path, *, patience: float = 5.0) -> None:
        self.path = path
        self._file = DatabaseFile(path, "client_state", patience)
        self._watch = Watch(path, "client_state")

    # --- what may be told ---

    def clients(self) -> tuple[StoredClient, ...]:
        """All clients by name, removed ones too."""
        with self._file.reading() as connection:
            return stored_clients(connection) if connection else ()

    def groups(self) -> tuple[StoredGroup, ...]:
        """All groups by name, removed ones too."""
        with self._file.reading() as connection:
            return stored_groups(connection) if connection else ()

    def client(self, name: str) -> StoredClient:
        """One of them. Raises ClientError when there is none of this name."""
        with self._file.reading() as connection:
            found = stored_clients(connection, name) if connection else ()
        return _named(name, found or self.clients(), "client")

    def group(self, name: str) -> StoredGroup:
        """One of them. Raises ClientError when there is none of this name."""
        return _named(name, self.groups(), "group")

    def directory(self, before: Directory = NOBODY) -> Directory:
        """What relays go by. `before`: what they went by until now."""
        with self._file.reading() as connection:
            return read_directory(connection, time.time(), before) if connection else NOBODY

    def changed(self) -> int:
        """A number that is another one after any process changed anything here. 0: there are no tables of clients."""
        with self._file.explained():
            return self._watch.look()

    def close(self) -> None:
        """Let go of what `changed` keeps open."""
        self._watch.close()

    # --- clients ---

    def add(self, actor: Actor, name: str, values: Mapping[str, Any]) -> Made:
        """A new client, with its first key. `values`: of CLIENT_FIELDS."""
        with self.writing() as connection:
            key = _add(connection, actor, name, values)
        return Made(self.client(name), key)

    def add_many(
        self, actor: Actor, groups: Mapping[str, Mapping[str, Any]], clients: Mapping[str, Mapping[str, Any]]
    ) -> dict[str, Made]:
        """New groups and clients by name, all in one transaction, or none when one cannot be."""
        with self.writing() as connection:
            for name, values in groups.items():
                _add_group(connection, actor, name, values)
            keys = {name: _add(connection, actor, name, values) for name, values in clients.items()}
        stored = {client.name: client for client in self.clients()}
        return {name: Made(stored[name], key) for name, key in keys.items()}

    def edit(
        self,
        actor: Actor,
        name: str,
        values: Mapping[str, Any],
        act: str = "edit",
        *,
        seen: StoredClient | None = None,
    ) -> StoredClient:
        """Change what is named in `values`, of CLIENT_FIELDS, and nothing else. What is as it was already is no act.

        seen  how it must be still. Raises ChangedMeanwhile.
        """
        with self.writing() as connection:
            before = _present(_named(name, stored_clients(connection), "client"), "client")
            _unchanged(before, seen, CLIENT_FIELDS)
            changes = {field: value for field, value in values.items() if getattr(before, field) != value}
            if changes:
                _update(connection, "clients", before.name, _columns(connection, changes, CLIENT_FIELDS))
                was = {field: getattr(before, field) for field in changes}
                write(connection, actor, Act(act, "client", name, _shown(was), _shown(changes)))
        return self.client(name)

    def rotate(self, actor: Actor, name: str, overlap: float) -> Made:
        """A new key. Those of before are valid for `overlap` seconds more at most."""
        key, until = new_key(os.urandom), iso(time.time() + overlap)
        with self.writing() as connection:
            before = _present(_named(name, stored_clients(connection), "client"), "client")
            connection.execute(
                "UPDATE client_keys SET valid_until = min(coalesce(valid_until, ?), ?) WHERE client = ?",
                [until, until, before.id],
            )
            connection.execute("DELETE FROM client_keys WHERE valid_until < ?", [iso(time.time() - REMEMBERED)])
            if overlap <= 0:  # whoever has the old key may have signed in with it
                connection.execute("DELETE FROM client_tokens WHERE client = ?", [before.id])
            _add_key(connection, before.id, key)
            now = iso(time.time())
            was = {
                "keys": [known.mask for known in before.keys if known.valid_until is None or known.valid_until > now]
            }
            write(connection, actor, Act("rotate", "client", name, was, {"key": mask(key), "old_valid_until": until}))
        return Made(self.client(name), key)

    def remove(self, actor: Actor, name: str) -> StoredClient:
        """Its keys are refused from now on; its row, name and history stay, so that `restore` can bring it back."""
        with self.writing() as connection:
            before = _present(_named(name, stored_clients(connection), "client"), "client")
            _update(connection, "clients", name, {"removed_at": iso(time.time())})
            connection.execute("DELETE FROM client_tokens WHERE client = ?", [before.id])
            write(connection, actor, Act("remove", "client", name))
        return self.client(name)

    def restore(self, actor: Actor, name: str) -> StoredClient:
        """Undo `remove`: with the keys that it had."""
        with self.writing() as connection:
            before = _named(name, stored_clients(connection), "client")
            if before.removed_at is None:
                raise ClientError(f"the client '{name}' is not removed")
            if before.group is not None:
                _present(_named(before.group, stored_groups(connection), "group"), "group")
            _update(connection, "clients", name, {"removed_at": None})
            write(connection, actor, Act("restore", "client", name))
        return self.client(name)

    def stop(self, actor: Actor, name: str, session: str | None = None, lasts: float = STOPPED) -> None:
        """What runs for the client (in one of its sessions) ends within a second; nothing begins for `lasts` seconds."""
        now = time.time()
        with self.writing() as connection:
            client = _named(name, stored_clients(connection), "client")
            connection.execute("DELETE FROM client_stops WHERE until < ?", [now - STOPPED])
            connection.execute(
                "INSERT INTO client_stops (client, session, until) VALUES (?, ?, ?)", [client.id, session, now + lasts]
            )
            after = {"session": session, "until": iso(now + lasts)}
            write(connection, actor, Act("stop", "client", name, None, after))

    # --- groups ---

    def add_group(self, actor: Actor, name: str, values: Mapping[str, Any]) -> StoredGroup:
        """A new group. `values`: of GROUP_FIELDS."""
        with self.writing() as connection:
            _add_group(connection, actor, name, values)
        return self.group(name)

    def edit_group(
        self,
        actor: Actor,
        name: str,
        values: Mapping[str, Any],
        act: str = "edit",
        *,
        seen: StoredGroup | None = None,
    ) -> StoredGroup:
        """Change what is named in `values`, of GROUP_FIELDS, and nothing else.

        seen  how it must be still. Raises ChangedMeanwhile.
        """
        with self.writing() as connection:
            before = _present(_named(name, stored_groups(connection), "group"), "group")
            _unchanged(before, seen, GROUP_FIELDS)
            changes = {field: value for field, value in values.items() if getattr(before, field) != value}
            if changes:
                _update(connection, "client_groups", name, _columns(connection, changes, GROUP_FIELDS))
                was = {field: getattr(before, field) for field in changes}
                write(connection, actor, Act(act, "group", name, _shown(was), _shown(changes)))
        return self.group(name)

    def remove_group(self, actor: Actor, name: str) -> StoredGroup:
        """Only a group without clients: theirs would go on without its limits."""
        with self.writing() as connection:
            _present(_named(name, stored_groups(connection), "group"), "group")
            members = [c.name for c in stored_clients(connection) if c.group == name and c.removed_at is None]
            if members:
                raise has_clients(name, members)
            _update(connection, "client_groups", name, {"removed_at": iso(time.time())})
            write(connection, actor, Act("remove", "group", name))
        return self.group(name)

    def restore_group(self, actor: Actor, name: str) -> StoredGroup:
        """Undo `remove_group`."""
        with self.writing() as connection:
            if _named(name, stored_groups(connection), "group").removed_at is None:
                raise ClientError(f"the group '{name}' is not removed")
            _update(connection, "client_groups", name, {"removed_at": None})
            write(connection, actor, Act("restore", "group", name))
        return self.group(name)

    # --- the file ---

    def writing(self) -> AbstractContextManager[sqlite3.Connection]:
        """One transaction, on the disk at its end: a key that was shown must be there after a power cut."""
        return self._file.writing()


def has_clients(group: str, members: Sequence[str]) -> ClientError:
    """Why a group cannot be removed."""
    named = f"{', '.join(members[:5])}{' …' if len(members) > 5 else ''}"
    return ClientError(f"the group '{group}' has clients ({named}): remove them, or give them another group, first")


def _add(connection: sqlite3.Connection, actor: Actor, name: str, values: Mapping[str, Any]) -> str:
    """Add a client; its first key."""
    id, key = chance.token_hex(8), new_key(os.urandom)
    _check_name(connection, name, "clients")
    _insert(connection, "clients", {"id": id, "name": name, **_columns(connection, values, CLIENT_FIELDS)})
    _add_key(connection, id, key)
    write(connection, actor, Act("add", "client", name, None, _shown(values) | {"key": mask(key)}))
    return key


def _add_group(connection: sqlite3.Connection, actor: Actor, name: str, values: Mapping[str, Any]) -> None:
    _check_name(connection, name, "client_groups")
    _insert(connection, "client_groups", {"name": name, **_columns(connection, values, GROUP_FIELDS)})
    write(connection, actor, Act("add", "group", name, None, _shown(values)))


def _named[T: (StoredClient, StoredGroup)](name: str, every: tuple[T, ...], kind: str) -> T:
    found = next((one for one in every if one.name == name), None)
    if found is None:
        near = [one.name for one in every if one.name.lower() == name.lower()]
        raise ClientError(f"there is no {kind} '{name}'" + (f"; do you mean '{near[0]}'?" if near else ""))
    return found


def _present[T: (StoredClient, StoredGroup)](one: T, kind: str) -> T:
    if one.removed_at is not None:
        raise ClientError(f"the {kind} '{one.name}' is removed; restore it first")
    return one


def _unchanged[T: (StoredClient, StoredGroup)](now: T, seen: T | None, fields: Sequence[str]) -> None:
    if seen is not None and any(getattr(now, field) != getattr(seen, field) for field in fields):
        raise ChangedMeanwhile(f"somebody has changed '{now.name}' since you looked")


def _check_name(connection: sqlite3.Connection, name: str, table: str) -> None:
    if not NAME.fullmatch(name):
        raise ClientError(
            f"{name!r} is no name: 1 to 64 letters, digits and . _ @ + -, beginning with a letter or a digit"
        )
    if is_own(name.lower()) or name.lower().startswith("sk-"):
        raise ClientError("this begins as a key does, and everybody may read a name; choose another one")
    found = connection.execute(f"SELECT removed_at FROM {table} WHERE name = ?", [name]).fetchone()
    if found is not None:
        raise ClientError(
            f"'{name}' is there already" + ("" if found[0] is None else ", removed; restore it, or choose another name")
        )


def _columns(connection: sqlite3.Connection, values: Mapping[str, Any], known: tuple[str, ...]) -> dict[str, Any]:
    """Values as the tables hold them."""
    if unknown := [field for field in values if field not in known]:
        raise ClientError(f"there is no field {unknown[0]}; there are {', '.join(known)}")
    row = dict(values)
    if (group := row.pop("group", None)) is not None:
        _present(_named(group, stored_groups(connection), "group"), "group")
    if "group" in values:
        row["client_group"] = group
    if isinstance(row.get("policy"), Policy):
        row["policy"] = encode(row["policy"])
    if "tags" in row:
        row["tags"] = json.dumps(list(row["tags"]), ensure_ascii=False)
    if "enabled" in row:
        row["enabled"] = int(row["enabled"])
    return row


def _shown(values: Mapping[str, Any]) -> dict[str, Any]:
    """Values as the audit log has them."""
    return {
        field: json.loads(encode(value))
        if isinstance(value, Policy)
        else list(value)
        if isinstance(value, tuple)
        else value
        for field, value in values.items()
    }


def _insert(connection: sqlite3.Connection, table: str, row: Mapping[str, Any]) -> None:
    connection.execute(
        f"INSERT INTO {table} ({', '.join(row)}) VALUES ({', '.join('?' * len(row))})", list(row.values())
    )


def _update(connection: sqlite3.Connection, table: str, name: str, row: Mapping[str, Any]) -> None:
    connection.execute(
        f"UPDATE {table} SET {', '.join(f'{column} = ?' for column in row)} WHERE name = ?", [*row.values(), name]
    )


def _add_key(connection: sqlite3.Connection, client: str, key: str) -> None:
    connection.execute(
        "INSERT INTO client_keys (digest, client, mask) VALUES (?, ?, ?)", [digest(key), client, mask(key)]
    )
