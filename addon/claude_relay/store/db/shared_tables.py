"""The tables of what relays share, and how two rows of one thing become one, in SQL.

    cooldowns  one row a cooldown; it counts while `since` is later than `lifted`
    sessions   one row a binding
    loads      what each process carries with keys that have limits; what is old is of a process that ended
    probes     the keys that a process probes after a long cooldown
    resources  which key has made a file, a batch, a container
    batches    those whose results were counted
    relays     one row a running relay, see `relays`
    key_aliases, key_salt    see `alias_tables`

Joining is the same as in `core.keys.cooldown` and `core.keys.sessions`: commutative, associative, and once or twice makes no difference, so
that relays which write in any order, and write again what they are not sure of, end with the same rows. Times are seconds since the
epoch as REAL (`datetime(until, 'unixepoch')` reads them); a time that never comes is NULL, which `max` of SQLite passes on. What this
module must not know: connections and when rows are written.
"""

from __future__ import annotations

import os
import sqlite3
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sqlite_utils import Database


SALT = 32
"""Bytes of what makes fingerprints of keys those of one database alone."""


def create_state(db: Database | sqlite3.Connection) -> None:
    """`rests` (`cooldowns` by now), `sessions`, `loads`, `resources`, and the number that grows with every change of the first two."""
    for statement in TABLES:
        db.execute(statement)


def rename_cooldowns(db: Database | sqlite3.Connection) -> None:
    """`cooldowns`, which was called `rests`."""
    db.execute("ALTER TABLE rests RENAME TO cooldowns")
    db.execute("DROP INDEX rests_by_change")
    db.execute("CREATE INDEX cooldowns_by_change ON cooldowns (changed)")


def create_probes(db: Database | sqlite3.Connection) -> None:
    """`probes`: until when others hold off; `at`: when the process last said so."""
    db.execute(PROBES_TABLE)


def create_batches(db: Database | sqlite3.Connection) -> None:
    """`batches`: those whose results were counted; `until`: when the provider forgets them."""
    db.execute("CREATE TABLE batches (id TEXT NOT NULL PRIMARY KEY, until REAL NOT NULL) WITHOUT ROWID")


def create_relays(db: Database | sqlite3.Connection) -> None:
    """`relays`. Its times are of one length: where only `seen_at` is another one, SQLite writes only that page."""
    db.execute("""
        CREATE TABLE relays (
            id TEXT NOT NULL PRIMARY KEY,
            pid INTEGER NOT NULL,
            host TEXT NOT NULL,
            version TEXT NOT NULL,
            started_at TEXT NOT NULL,
            seen_at TEXT NOT NULL,
            in_flight INTEGER NOT NULL,
            config TEXT,
            confdir TEXT NOT NULL,
            listeners TEXT NOT NULL,
            pools TEXT NOT NULL,
            load TEXT NOT NULL
        )""")


TABLES = (
    """
    CREATE TABLE IF NOT EXISTS rests (
        provider TEXT NOT NULL,
        key_id TEXT NOT NULL,
        scope TEXT NOT NULL,
        since REAL NOT NULL,
        until REAL,
        opens REAL,
        careful INTEGER NOT NULL,
        stated INTEGER NOT NULL,
        streak INTEGER NOT NULL,
        reason TEXT NOT NULL,
        lifted REAL NOT NULL,
        changed INTEGER NOT NULL,
        PRIMARY KEY (provider, key_id, scope)
    ) WITHOUT ROWID""",
    "CREATE INDEX IF NOT EXISTS rests_by_change ON rests (changed)",
    """
    CREATE TABLE IF NOT EXISTS sessions (
        session TEXT NOT NULL,
        provider TEXT NOT NULL,
        key_id TEXT NOT NULL,
        home TEXT NOT NULL,
        moves INTEGER NOT NULL,
        since REAL NOT NULL,
        used REAL NOT NULL,
        warm REAL NOT NULL,
        cached INTEGER NOT NULL,
        changed INTEGER NOT NULL,
        PRIMARY KEY (session, provider)
    ) WITHOUT ROWID""",
    "CREATE INDEX IF NOT EXISTS sessions_by_change ON sessions (changed)",
    "CREATE INDEX IF NOT EXISTS sessions_by_use ON sessions (used)",
    """
    CREATE TABLE IF NOT EXISTS loads (
        process TEXT NOT NULL,
        provider TEXT NOT NULL,
        key_id TEXT NOT NULL,
        busy INTEGER NOT NULL,
        requests INTEGER NOT NULL,
        tokens INTEGER NOT NULL,
        at REAL NOT NULL,
        PRIMARY KEY (process, provider, key_id)
    ) WITHOUT ROWID""",
    """
    CREATE TABLE IF NOT EXISTS resources (
        id TEXT NOT NULL PRIMARY KEY,
        provider TEXT NOT NULL,
        key_id TEXT NOT NULL,
        until REAL NOT NULL
    ) WITHOUT ROWID""",
    "CREATE INDEX IF NOT EXISTS resources_by_end ON resources (until)",
    "CREATE TABLE IF NOT EXISTS state (row INTEGER NOT NULL PRIMARY KEY CHECK (row = 1), generation INTEGER NOT NULL)",
    "INSERT OR IGNORE INTO state (row, generation) VALUES (1, 0)",
)

PROBES_TABLE = """
    CREATE TABLE IF NOT EXISTS probes (
        process TEXT NOT NULL,
        provider TEXT NOT NULL,
        key_id TEXT NOT NULL,
        scope TEXT NOT NULL,
        until REAL NOT NULL,
        at REAL NOT NULL,
        PRIMARY KEY (process, provider, key_id, scope)
    ) WITHOUT ROWID"""

COOLDOWNS = (
    "provider",
    "key_id",
    "scope",
    "since",
    "until",
    "opens",
    "careful",
    "stated",
    "streak",
    "reason",
    "lifted",
)
SESSIONS = ("session", "provider", "key_id", "home", "moves", "since", "used", "warm", "cached")
LOADS = ("provider", "key_id", "busy", "requests", "tokens")
PROBES = ("provider", "key_id", "scope", "until")


def _upsert(table: str, columns: tuple[str, ...], key: tuple[str, ...], merged: dict[str, str]) -> str:
    """One row in; where there is one already every column is what `merged` says. All of them see the old row."""
    values = ", ".join(f":{name}" for name in (*columns, "changed"))
    sets = ", ".join(f"{name} = {sql}" for name, sql in merged.items())
    return (
        f"INSERT INTO {table} ({', '.join(columns)}, changed) VALUES ({values}) "
        f"ON CONFLICT ({', '.join(key)}) DO UPDATE SET {sets}, changed = excluded.changed"
    )


# `cooldowns` is the row that is there, `excluded` the one that comes (SQLite's names in an upsert). A cooldown that began no later than one
# was lifted is none, and the other one counts as it is; of two that count the longer one, as `core.keys.cooldown.longer` has it. Row values
# are compared by the first column that differs. 9e999 is infinity, for a NULL would make a comparison NULL.
_LIFTED = "max(cooldowns.lifted, excluded.lifted)"
_ENDS_LATER = (
    "(ifnull(excluded.until, 9e999), excluded.stated, excluded.reason) > "
    "(ifnull(cooldowns.until, 9e999), cooldowns.stated, cooldowns.reason)"
)


def _of_cooldowns(name: str, of_both: str) -> str:
    return (
        f"CASE WHEN excluded.since <= {_LIFTED} THEN cooldowns.{name} "
        f"WHEN cooldowns.since <= {_LIFTED} THEN excluded.{name} ELSE {of_both} END"
    )


_LATEST = {name: f"max(cooldowns.{name}, excluded.{name})" for name in ("since", "until", "opens", "careful", "streak")}
_OF_LATER = {
    name: f"CASE WHEN {_ENDS_LATER} THEN excluded.{name} ELSE cooldowns.{name} END" for name in ("stated", "reason")
}

SAVE_COOLDOWN = _upsert(
    "cooldowns",
    COOLDOWNS,
    COOLDOWNS[:3],
    {name: _of_cooldowns(name, sql) for name, sql in (_LATEST | _OF_LATER).items()} | {"lifted": _LIFTED},
)

FORGET_OWN = """
    DELETE FROM cooldowns WHERE key_id GLOB :own AND (changed, since, key_id, scope) < (
        SELECT changed, since, key_id, scope FROM cooldowns WHERE key_id GLOB :own
        ORDER BY changed DESC, since DESC, key_id DESC, scope DESC LIMIT 1 OFFSET :most - 1)"""
"""Without the latest `most` of the keys that `own` fits."""

# The binding that moved more often, of equals the one made first (what follows decides ties, in every process alike); one whose session
# had been silent for longer than :ttl when the other was made does not count. See `core.keys.sessions.joined`.
_RANKS = "({0}.moves, -{0}.since, {0}.key_id, {0}.home)"
_OLD, _NEW = _RANKS.format("sessions"), _RANKS.format("excluded")
_OLD_IS_OVER, _NEW_IS_OVER = "sessions.used + :ttl < excluded.since", "excluded.used + :ttl < sessions.since"


def _of_bindings(name: str, of_equals: str, otherwise: str | None = None) -> str:
    last = (
        f"CASE WHEN {_NEW} > {_OLD} THEN excluded.{name} WHEN {_NEW} = {_OLD} THEN {of_equals} ELSE sessions.{name} END"
    )
    return (
        f"CASE WHEN {_OLD_IS_OVER} THEN excluded.{name} WHEN {_NEW_IS_OVER} THEN sessions.{name} "
        f"ELSE {otherwise or last} END"
    )


SAVE_SESSION = _upsert(
    "sessions",
    SESSIONS,
    SESSIONS[:2],
    {name: _of_bindings(name, f"sessions.{name}") for name in ("key_id", "home", "moves", "since")}
    | {"warm": _of_bindings("warm", "max(sessions.warm, excluded.warm)")}
    | {name: _of_bindings(name, "", f"max(sessions.{name}, excluded.{name})") for name in ("used", "cached")},
)


def _insert(table: str, columns: tuple[str, ...]) -> str:
    names = ("process", "at", *columns)
    return f"INSERT INTO {table} ({', '.join(names)}) VALUES ({', '.join(f':{name}' for name in names)})"


SAVE_LOAD, SAVE_PROBE = _insert("loads", LOADS), _insert("probes", PROBES)
SAVE_RESOURCE = """
    INSERT INTO resources (id, provider, key_id, until) VALUES (?, ?, ?, ?)
    ON CONFLICT (id) DO UPDATE SET provider = excluded.provider, key_id = excluded.key_id,
        until = CASE WHEN key_id = excluded.key_id THEN max(until, excluded.until) ELSE excluded.until END"""


def create_key_aliases(db: Database | sqlite3.Connection) -> None:
    """The tables. What earlier versions called keys by their place is in `attempts`; none of these numbers is given to a new key."""
    db.execute("""
        CREATE TABLE key_aliases (
            provider TEXT NOT NULL,
            fingerprint BLOB NOT NULL,
            id TEXT NOT NULL,
            alias TEXT NOT NULL,
            first_seen TEXT NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%fZ')),
            PRIMARY KEY (provider, fingerprint),
            UNIQUE (provider, id),
            UNIQUE (provider, alias)
        ) WITHOUT ROWID""")
    db.execute("CREATE TABLE key_salt (row INTEGER NOT NULL PRIMARY KEY CHECK (row = 1), salt BLOB NOT NULL)")
    db.execute("INSERT INTO key_salt (row, salt) VALUES (1, ?)", (os.urandom(SALT),))
    db.execute("ALTER TABLE aliases ADD COLUMN last_configured INTEGER NOT NULL DEFAULT 0")
    db.execute("""
        INSERT INTO aliases (provider, last, last_configured)
        SELECT provider, 0, max(CAST(substr(key, 2) AS INTEGER)) FROM attempts
        WHERE key GLOB 'k[1-9]*' AND key NOT GLOB 'k*[^0-9]*' GROUP BY provider
        ON CONFLICT (provider) DO UPDATE SET last_configured = excluded.last_configured""")
