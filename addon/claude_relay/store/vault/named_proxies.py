"""Outbound proxies of the vault: objects with a name, to which keys refer.

    proxies = Proxies(Vault(Path("relay.db"), actor=…))
    proxies.add(NewProxy("office", "socks5://me:secret@proxy.example:1080", direct=True))       raises ValueError: taken, or no proxy
    proxies.list()                                                             StoredProxies; needs no secret
    proxies.edit("office", {"timeout": 5.0})
    proxies.remove("office")                                                   raises InUse with the keys that refer to it

Whoever issues keys hears of each change. What this module must not know: relay.yaml, whose proxies come first where a name is in both.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from claude_relay.core.config.proxies import OutboundProxy
from claude_relay.core.times import duration
from claude_relay.store.audit import Act, write
from claude_relay.store.db.database import ChangedMeanwhile, transaction

from .proxy_rows import (
    LONGEST_TIMEOUT,
    SHOWN,
    NewProxy,
    StoredProxy,
    any_in,
    one,
    opened,
    sealed,
    stored,
    users,
    values_of,
)
from .vault import Vault

KIND = "proxy"
NOW = "strftime('%Y-%m-%dT%H:%M:%fZ')"


class Taken(ValueError):
    """The vault has one of this name."""


class InUse(ValueError):
    """Keys refer to it; `keys`: their names."""

    def __init__(self, name: str, keys: tuple[str, ...]) -> None:
        more = f" and {len(keys) - 5} more" if len(keys) > 5 else ""
        super().__init__(f"{name} is the way out of {', '.join(keys[:5])}{more}; give them another one first")
        self.keys = keys


class Proxies:
    """The proxies of a vault. Every method waits for the disk and raises VaultError."""

    def __init__(self, vault: Vault) -> None:
        self.vault = vault

    def list(self) -> tuple[StoredProxy, ...]:
        """All of them, by name."""
        with self.vault.file.reading() as connection:
            return stored(connection) if connection else ()

    def opened(self) -> tuple[dict[str, OutboundProxy], tuple[str, ...]]:
        """Themselves, by name; and the names of those that were tampered with."""
        with self.vault.file.reading() as connection:
            if connection is None or not any_in(connection):
                return {}, ()
            return opened(connection, self.vault.keeper.box(connection))

    def add(self, new: NewProxy) -> StoredProxy:
        """One more. Raises ValueError when the name is taken."""
        with self.vault.sealing() as (connection, box):
            if one(connection, new.name) is not None:
                raise Taken(f"there is a proxy of the name {new.name} in the vault already")
            connection.execute(
                "INSERT INTO proxies (name, address, signed_in, direct, timeout, notes, url) VALUES (?, ?, ?, ?, ?, ?, ?)",
                [new.name, *values_of(new), sealed(new.url, box, new.name)],
            )
            return self._noted(connection, "add", new.name, None)

    def edit(self, name: str, fields: Mapping[str, Any], *, seen: str | None = None) -> StoredProxy | None:
        """Change fields of NewProxy but the name; None: there is none. Only for another `url` the vault is opened.

        seen  when it must have been changed last. Raises ValueError, ChangedMeanwhile.
        """
        with self.vault.ready_to_seal(plan=False) as (connection, _), transaction(connection):
            before = one(connection, name)
            if before is None or not fields:
                return before
            if seen not in (None, before.changed_at):
                raise ChangedMeanwhile(f"somebody has changed {name} since you looked")
            given = dict(fields)
            url = given.pop("url", None)
            known: dict[str, Any] = {"direct": before.direct, "timeout": before.timeout, "notes": before.notes}
            new = NewProxy(name, before.address if url is None else url, **(known | given))
            values = dict(zip(SHOWN, values_of(new), strict=True))
            if url is None:
                values = {field: values[field] for field in given}
            else:
                values["url"] = sealed(url, self.vault.keeper.box(connection), name)
            sets = ", ".join(f"{field} = ?" for field in values)
            connection.execute(
                f"UPDATE proxies SET {sets}, changed_at = {NOW} WHERE name = ?", [*values.values(), name]
            )
            return self._noted(connection, "edit", name, before, sealed=url is not None)

    def remove(self, name: str, *, in_use: bool = False) -> bool:
        """Take one away, for good; needs no secret. Whether it was there. `in_use`: though keys refer to it. Raises InUse."""
        with self.vault.file.writing() as connection, transaction(connection):
            before = one(connection, name)
            if before is None:
                return False
            if not in_use and (keys := users(connection, name)):
                raise InUse(name, keys)
            connection.execute("DELETE FROM proxies WHERE name = ?", [name])
            if self.vault.actor is not None:
                write(connection, self.vault.actor, Act("remove", KIND, name, _shown(before), None))
        return True

    def _noted(
        self, connection: sqlite3.Connection, act: str, name: str, before: StoredProxy | None, *, sealed: bool = False
    ) -> StoredProxy:
        after = one(connection, name)
        assert after is not None
        if self.vault.actor is not None:
            old, new = None if before is None else _shown(before), _shown(after)
            if old is not None:
                changed = [field for field in SHOWN if old[field] != new[field]]
                old, new = {field: old[field] for field in changed}, {field: new[field] for field in changed}
                new |= {"url": "another one"} if sealed and not changed else {}
            write(connection, self.vault.actor, Act(act, KIND, name, old, new))
        return after


def _shown(one: StoredProxy) -> dict[str, Any]:
    return {field: getattr(one, field) for field in SHOWN}


def timeout_of(value: object) -> float:
    """As people write it: `5s`, `1m`, 5. Raises ValueError."""
    with suppress(ValueError):
        if 0.0 < (seconds := duration(value)) <= LONGEST_TIMEOUT:
            return seconds
    raise ValueError(f"timeout is a time such as 5s, {LONGEST_TIMEOUT:.0f} s at most")
