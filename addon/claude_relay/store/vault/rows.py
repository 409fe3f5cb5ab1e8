"""Rows of `keys` as `StoredKey`, with the cooldowns that hang on them.

What this module must not know: anything sealed; it never reads those columns.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields
from typing import Any

from claude_relay.core.exchange import KeyLimits
from claude_relay.core.keys.own_credentials import SHARED
from claude_relay.core.times import LAST, iso

from .records import LIMITS, NO_LIMITS, InCooldown, StoredKey

GROUP = "key_group"
"""`group` is a word of SQL."""
NAMES = (
    *(field.name for field in fields(StoredKey) if field.name not in ("limits", "cooldowns", "source", "chosen")),
    *LIMITS,
)
ENABLED, END = NAMES.index("enabled"), len(NAMES) - len(LIMITS)
CALLED: Mapping[str, str] = {"proxy": "proxy_address", "group": GROUP}
"""Field → its column, where that has another name."""
COLUMNS = tuple(CALLED.get(name, name) for name in NAMES)
SELECT = f"SELECT {', '.join(COLUMNS)} FROM keys ORDER BY provider, rowid"

type CooldownsByKey = Mapping[tuple[str, str], tuple[InCooldown, ...]]
"""By provider and key id."""


def stored_keys(connection: sqlite3.Connection) -> tuple[StoredKey, ...]:
    """All keys, removed ones too, by provider and age."""
    cooldowns, chosen = cooldowns_by_key(connection), chosen_keys(connection)
    return tuple(_key(row, cooldowns, chosen) for row in connection.execute(as_it_is(connection, SELECT)))


def cooldowns_by_key(connection: sqlite3.Connection) -> CooldownsByKey:
    """The cooldowns that are written down and not lifted; none where nobody writes them.

    Who only reads migrates nothing, so the table may still have the name that earlier versions gave it.
    """
    table = next((name for name in ("cooldowns", "rests") if has_table(connection, name)), None)
    if table is None:
        return {}
    found: dict[tuple[str, str], tuple[InCooldown, ...]] = {}
    sql = (
        f"SELECT provider, key_id, scope, ifnull(until, 9e999), reason FROM {table} WHERE since > lifted ORDER BY scope"
    )
    for provider, key, *cooldown in connection.execute(sql):
        found[provider, key] = (*found.get((provider, key), ()), InCooldown(*cooldown))
    return found


def chosen_keys(connection: sqlite3.Connection) -> dict[str, str]:
    """Provider → the id of the key that goes before its others, where one was chosen."""
    if not has_table(connection, "chosen_keys"):
        return {}
    return dict(connection.execute("SELECT provider, key_id FROM chosen_keys").fetchall())


def as_it_is(connection: sqlite3.Connection, sql: str) -> str:
    """A query for the file as it is: who only reads migrates nothing, and keys of earlier versions have no group."""
    known = connection.execute("SELECT 1 FROM pragma_table_info('keys') WHERE name = ?", [GROUP]).fetchone()
    return sql if known else sql.replace(GROUP, f"'' AS {GROUP}")


def renewable(connection: sqlite3.Connection) -> frozenset[str]:
    """The ids of the keys whose token can be exchanged for the next one."""
    if not has_table(connection, "accounts"):
        return frozenset()
    rows = connection.execute("SELECT key_id FROM accounts WHERE refresh IS NOT NULL AND revoked_at IS NULL")
    return frozenset(id for (id,) in rows)


def lift(connection: sqlite3.Connection, ids: Iterable[str], now: float, *, out_only: bool = False) -> int:
    """End the cooldowns of these keys for all relays; `out_only`: those of a whole key without an end. How many there were.

    A relay may hold a cooldown in memory that it has not written down again yet, so the row stays and says that all until now are
    lifted, as in `state`.
    """
    if not has_table(connection, "cooldowns"):
        return 0
    connection.execute("UPDATE state SET generation = generation + 1")
    where = " AND scope = '' AND until IS NULL" if out_only else ""
    sql = (
        "UPDATE cooldowns SET lifted = max(since, ?), changed = (SELECT generation FROM state) "
        f"WHERE key_id = ? AND since > lifted{where}"
    )
    return max(0, connection.executemany(sql, [(now, id) for id in ids]).rowcount)


def lift_own(connection: sqlite3.Connection, now: float, provider: str | None) -> int:
    """The same for clients' own credentials, at one provider or (None) at all."""
    if not has_table(connection, "cooldowns"):
        return 0
    connection.execute("UPDATE state SET generation = generation + 1")
    sql = (
        "UPDATE cooldowns SET lifted = max(since, ?), changed = (SELECT generation FROM state) "
        "WHERE key_id GLOB ? AND provider = ifnull(?, provider) AND since > lifted"
    )
    return connection.execute(sql, [now, f"{SHARED}*", provider]).rowcount


def has_table(connection: sqlite3.Connection, name: str) -> bool:
    """Whether there is such a table."""
    return (
        connection.execute("SELECT 1 FROM sqlite_schema WHERE type = 'table' AND name = ?", [name]).fetchone()
        is not None
    )


def moment(seconds: float | None) -> str | None:
    """A time as the tables hold it; None for one that never comes."""
    return None if seconds is None or not 0 <= seconds < LAST else iso(seconds)


def _key(row: Sequence[Any], cooldowns: CooldownsByKey, chosen: Mapping[str, str]) -> StoredKey:
    """Of a row of NAMES, by place, for there may be thousands of keys: their limits come where StoredKey has them."""
    id, provider, limits = row[0], row[1], row[END:]
    values = (
        *row[:ENABLED],
        KeyLimits(*limits) if any(limits) else NO_LIMITS,
        bool(row[ENABLED]),
        *row[ENABLED + 1 : END],
        cooldowns.get((provider, id), ()),
        "vault",
        chosen.get(provider) == id,
    )
    return StoredKey(*values)
