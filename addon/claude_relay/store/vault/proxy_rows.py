"""Rows of `proxies`: what may be shown of an outbound proxy of the vault, and its URL, which is sealed, for it may hold a password.

    opened(connection, box)            -> {"office": OutboundProxy(…)}, (names of damaged ones)
    stored(connection)                 -> StoredProxies; needs no secret
    seal_all(connection, new_box, urls(connection, old_box))       when the lock changes

What this module must not know: transactions, relay.yaml, whose proxies come first where a name is in both.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from claude_relay.core.config.proxies import TIMEOUT, OutboundProxy
from claude_relay.core.config.ways import proxy_name

from .records import FIELDS
from .rows import has_table
from .sealing import Box, Damaged

URL, PLACE = "url", "proxies"
"""The sealed field; in the place of a provider's name."""
LONGEST_URL = 2000
LONGEST_TIMEOUT = 300.0
COLUMNS = "name, address, signed_in, direct, timeout, notes, created_at, changed_at"

type Urls = Mapping[str, str]
"""By name, opened."""


@dataclass(frozen=True, slots=True)
class NewProxy:
    """One to keep. Raises ValueError, which never repeats the URL."""

    name: str
    url: str = field(repr=False)
    direct: bool = False
    timeout: float = TIMEOUT
    notes: str = ""

    def __post_init__(self) -> None:
        """Check every field."""
        proxy_name(self.name)
        if len(self.url) > LONGEST_URL:
            raise ValueError(f"the URL has more than {LONGEST_URL} characters")
        proxy = OutboundProxy.parse_url(self.url)
        if not 0.0 < self.timeout <= LONGEST_TIMEOUT:
            raise ValueError(f"timeout is longer than 0, and {LONGEST_TIMEOUT:.0f} s at most")
        FIELDS["notes"](self.notes)
        if proxy.password and proxy.password in self.notes:
            raise ValueError("the password itself stands in the notes, which everybody may read")

    @property
    def proxy(self) -> OutboundProxy:
        """What it is."""
        parsed = OutboundProxy.parse_url(self.url)
        return replace(parsed, name=self.name, or_direct=self.direct, timeout=self.timeout)


@dataclass(frozen=True, slots=True)
class StoredProxy:
    """What may be told of one. `address`: without credential; `signed_in`: there is one. Times: UTC ISO 8601; `timeout`: seconds."""

    name: str
    address: str
    signed_in: bool
    direct: bool
    timeout: float
    notes: str
    created_at: str
    changed_at: str


SHOWN = ("address", "signed_in", "direct", "timeout", "notes")
"""What may be shown, and so stands in the audit log."""


def any_in(connection: sqlite3.Connection) -> bool:
    """Whether there is one at all."""
    if not has_table(connection, "proxies"):
        return False
    return connection.execute("SELECT 1 FROM proxies LIMIT 1").fetchone() is not None


def opened(connection: sqlite3.Connection, box: Box) -> tuple[dict[str, OutboundProxy], tuple[str, ...]]:
    """The proxies by name, and the names of those that were tampered with."""
    found: dict[str, OutboundProxy] = {}
    damaged: list[str] = []
    for name, direct, timeout, url in _rows(connection, "name, direct, timeout, url"):
        try:
            found[name] = NewProxy(name, box.open(url, URL, id=name, provider=PLACE), bool(direct), timeout).proxy
        except (Damaged, ValueError):
            damaged.append(f"proxy {name}")
    return found, tuple(damaged)


def urls(connection: sqlite3.Connection, box: Box) -> Urls:
    """All URLs. Raises Damaged."""
    return {name: box.open(url, URL, id=name, provider=PLACE) for name, url in _rows(connection, "name, url")}


def seal_all(connection: sqlite3.Connection, box: Box, urls: Urls) -> None:
    """Anew, with another box."""
    rows = [(sealed(url, box, name), name) for name, url in urls.items()]
    connection.executemany("UPDATE proxies SET url = ? WHERE name = ?", rows)


def _rows(connection: sqlite3.Connection, columns: str, where: str = "", values: Iterable[object] = ()) -> list[Any]:
    if not has_table(connection, "proxies"):
        return []
    return connection.execute(f"SELECT {columns} FROM proxies {where} ORDER BY name", tuple(values)).fetchall()


def stored(connection: sqlite3.Connection, where: str = "", *values: object) -> tuple[StoredProxy, ...]:
    """All, or those that fit, by name."""
    return tuple(
        StoredProxy(name, address, bool(signed_in), bool(direct), *others)
        for name, address, signed_in, direct, *others in _rows(connection, COLUMNS, where, values)
    )


def one(connection: sqlite3.Connection, name: str) -> StoredProxy | None:
    """The one of that name."""
    return next(iter(stored(connection, "WHERE name = ?", name)), None)


def users(connection: sqlite3.Connection, name: str) -> tuple[str, ...]:
    """The names of the keys that refer to it; removed ones do not count."""
    sql = "SELECT provider || '/' || alias FROM keys WHERE proxy_address = ? AND removed_at IS NULL ORDER BY provider, rowid"
    return tuple(key for (key,) in connection.execute(sql, [name]))


def values_of(new: NewProxy) -> tuple[object, ...]:
    """What may be shown of it, in the order of SHOWN."""
    proxy = new.proxy
    return str(proxy), int(proxy.authorization is not None), int(new.direct), new.timeout, new.notes


def sealed(url: str, box: Box, name: str) -> bytes:
    """A URL, for the row of that name and no other."""
    return box.seal(url.strip(), URL, id=name, provider=PLACE)
