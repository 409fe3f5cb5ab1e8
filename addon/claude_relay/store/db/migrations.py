"""Brings the tables up to date: ordered, named steps, each done once, recorded in `_sqlite_migrations`.

Pending steps run in one transaction that takes the write lock first, so that of several starting processes one does the
work and the others find it done. A file with steps that this code does not know belongs to a newer relay and is left
alone. A step is never edited after a release; a change is a new step at the end. The machinery is sqlite-utils' own.

    migrate(connection)      # a second call finds nothing to do
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from typing import TYPE_CHECKING

from . import rollups
from .account_tables import create_accounts
from .client_tables import (
    add_client_hours,
    close_client_hours,
    create_clients,
    create_leases,
    lighten_clients,
    spare_clients,
)
from .database import NewerDatabase, file_of, transaction
from .notice_tables import create_notices
from .panel_tables import create_panel
from .proxy_tables import add_requests_proxy, create_proxies
from .reconciliation_tables import create_reconciliation
from .shared_tables import (
    create_batches,
    create_key_aliases,
    create_probes,
    create_relays,
    create_state,
    rename_cooldowns,
)

if TYPE_CHECKING:  # a start with nothing to migrate does without this import's 60 ms
    from sqlite_utils import Database

SET = "claude_relay"


def create_ledger(db: Database) -> None:
    """`requests` and `attempts`. Times are UTC ISO 8601 with milliseconds and Z, spans milliseconds, sizes bytes."""
    db.execute("""
        CREATE TABLE requests (
            id TEXT NOT NULL PRIMARY KEY,
            started_at TEXT NOT NULL,
            client TEXT,
            session TEXT,
            user_agent TEXT,
            method TEXT NOT NULL,
            path TEXT NOT NULL,
            requested_model TEXT,
            served_model TEXT,
            provider TEXT,
            key TEXT,
            stream INTEGER NOT NULL CHECK (stream IN (0, 1)),
            status INTEGER,
            error_type TEXT,
            attempts INTEGER NOT NULL,
            input_tokens INTEGER,
            output_tokens INTEGER,
            cache_read_tokens INTEGER,
            cache_write_5m_tokens INTEGER,
            cache_write_1h_tokens INTEGER,
            reasoning_tokens INTEGER,
            server_tool_requests INTEGER,
            cost_usd REAL,
            priced_by TEXT,
            ttft_ms REAL,
            duration_ms REAL,
            request_bytes INTEGER,
            response_bytes INTEGER,
            finished TEXT NOT NULL CHECK (finished IN ('complete', 'client_closed', 'upstream_closed', 'error'))
        )""")
    # Its rows lie in the order of the primary key: one tree to write to instead of two.
    db.execute("""
        CREATE TABLE attempts (
            request TEXT NOT NULL REFERENCES requests (id) ON DELETE CASCADE,
            n INTEGER NOT NULL,
            provider TEXT NOT NULL,
            key TEXT,
            status INTEGER,
            verdict TEXT,
            error TEXT,
            started_at TEXT NOT NULL,
            first_byte_ms REAL,
            duration_ms REAL,
            PRIMARY KEY (request, n)
        ) WITHOUT ROWID""")
    db.execute("CREATE INDEX requests_by_time ON requests (started_at)")
    db.execute("CREATE INDEX requests_by_session ON requests (session, started_at) WHERE session IS NOT NULL")


def create_keys(db: Database) -> None:
    """`keys`: one row a key of the vault; `vault`: how they are sealed; `aliases`: the last number given to a provider's key.

    `secret` and `proxy` are sealed (see `sealing`), `fingerprint` tells equal keys without telling which; the rest is open.
    """
    db.execute("""
        CREATE TABLE keys (
            id TEXT NOT NULL PRIMARY KEY,
            provider TEXT NOT NULL,
            alias TEXT NOT NULL,
            kind TEXT NOT NULL DEFAULT 'api_key',
            mask TEXT NOT NULL,
            label TEXT NOT NULL DEFAULT '',
            tier TEXT NOT NULL DEFAULT '',
            weight REAL NOT NULL DEFAULT 1.0 CHECK (weight > 0),
            requests_per_minute INTEGER CHECK (requests_per_minute > 0),
            tokens_per_minute INTEGER CHECK (tokens_per_minute > 0),
            concurrent INTEGER CHECK (concurrent > 0),
            enabled INTEGER NOT NULL DEFAULT 1 CHECK (enabled IN (0, 1)),
            proxy_address TEXT,
            notes TEXT NOT NULL DEFAULT '',
            created_at TEXT NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%fZ')),
            removed_at TEXT,
            checked_at TEXT,
            check_status TEXT,
            check_until TEXT,
            check_reason TEXT,
            last_used_at TEXT,
            attempts INTEGER NOT NULL DEFAULT 0,
            failures INTEGER NOT NULL DEFAULT 0,
            fingerprint BLOB NOT NULL,
            secret BLOB NOT NULL,
            proxy BLOB,
            UNIQUE (provider, alias),
            UNIQUE (provider, fingerprint)
        )""")
    db.execute("""
        CREATE TABLE vault (
            row INTEGER NOT NULL PRIMARY KEY CHECK (row = 1),
            generation INTEGER NOT NULL,
            place TEXT,
            secret_id TEXT,
            kdf TEXT,
            salt BLOB,
            check_value BLOB
        )""")
    db.execute("INSERT INTO vault (row, generation) VALUES (1, random())")
    db.execute("CREATE TABLE aliases (provider TEXT NOT NULL PRIMARY KEY, last INTEGER NOT NULL) WITHOUT ROWID")
    _follow_keys(db)


CHANGED = "BEGIN UPDATE vault SET generation = random(); END"
"""A number drawn anew is also another one than that of a backup which is put in the file's place."""
ISSUED = (
    "id, provider, alias, kind, label, tier, weight, requests_per_minute, tokens_per_minute, concurrent, "
    "enabled, removed_at, secret, proxy"
)


def _follow_keys(db: Database) -> None:
    """The vault's generation changes with its keys, and their counters with what is tried with them."""
    db.execute(f"CREATE TRIGGER keys_added AFTER INSERT ON keys {CHANGED}")
    db.execute(f"CREATE TRIGGER keys_changed AFTER UPDATE OF {ISSUED} ON keys {CHANGED}")
    db.execute(f"CREATE TRIGGER keys_erased AFTER DELETE ON keys {CHANGED}")
    # Counted where attempts are written down, so that the counters are as complete as the ledger.
    _count_uses(db, "new.key IS NOT NULL")


def _count_uses(db: Database, when: str) -> None:
    db.execute(f"""
        CREATE TRIGGER keys_used AFTER INSERT ON attempts WHEN {when} BEGIN
            UPDATE keys SET
                attempts = attempts + 1,
                failures = failures + (coalesce(new.verdict, '') NOT IN ('ok', 'client_closed')),
                last_used_at = max(coalesce(last_used_at, ''), new.started_at)
            WHERE provider = new.provider AND alias = new.key;
        END""")


def add_translation(db: Database) -> None:
    """What was left out or changed for another provider; and what such providers want back in a conversation's next turn."""
    db.execute("ALTER TABLE requests ADD COLUMN notes TEXT")
    db.execute(
        "CREATE TABLE memories (call TEXT NOT NULL PRIMARY KEY, what TEXT NOT NULL, until REAL NOT NULL) WITHOUT ROWID"
    )
    db.execute("CREATE INDEX memories_by_end ON memories (until)")


def add_costs(db: Database) -> None:
    """What each attempt used, so that a request's sum is explained; and the project that a request was for."""
    db.execute("ALTER TABLE attempts ADD COLUMN model TEXT")
    for name in USAGE:
        db.execute(f"ALTER TABLE attempts ADD COLUMN {name} INTEGER")
    db.execute("ALTER TABLE attempts ADD COLUMN cost_usd REAL")
    db.execute("ALTER TABLE requests ADD COLUMN project TEXT")


def create_bodies(db: Database) -> None:
    """`bodies`: what was sent and answered, where the configuration asks for it; zstd, `bytes` is the size before all cutting.

    No reference to `requests`: bodies have a writer of their own and may come first.
    """
    db.execute("""
        CREATE TABLE bodies (
            request TEXT NOT NULL,
            n INTEGER NOT NULL,
            kind TEXT NOT NULL CHECK (kind IN ('request', 'answer')),
            at TEXT NOT NULL,
            bytes INTEGER NOT NULL,
            truncated INTEGER NOT NULL CHECK (truncated IN (0, 1)),
            body BLOB NOT NULL,
            PRIMARY KEY (request, n, kind)
        )""")
    db.execute("CREATE INDEX bodies_by_time ON bodies (at)")


def remember_aliases(db: Database) -> None:
    """`key_aliases`, `key_salt`: the aliases of relay.yaml's keys are theirs for ever."""
    create_key_aliases(db)


def add_rollups(db: Database) -> None:
    """`rollups`: sums of `requests` by the hour, kept true by triggers."""
    rollups.create(db, rollups.FIRST, rollups.FIRST_DIMENSIONS)


def add_charges(db: Database) -> None:
    """`charges`: what is billed beside an attempt's own model, and the terms of its price; and which requests are estimated."""
    db.execute(f"""
        CREATE TABLE charges (
            request TEXT NOT NULL REFERENCES requests (id) ON DELETE CASCADE,
            attempt INTEGER NOT NULL,
            n INTEGER NOT NULL,
            model TEXT,
            kind TEXT NOT NULL,
            {", ".join(f"{name} INTEGER" for name in USAGE)},
            terms TEXT,
            cost_usd REAL,
            PRIMARY KEY (request, attempt, n)
        ) WITHOUT ROWID""")
    db.execute("ALTER TABLE attempts ADD COLUMN terms TEXT")
    db.execute("ALTER TABLE requests ADD COLUMN estimated INTEGER NOT NULL DEFAULT 0 CHECK (estimated IN (0, 1))")
    rollups.add_estimated(db)


def add_story(db: Database) -> None:
    """Which way a request took and why, who asked, and the ids by which upstreams know it."""
    for name in ("upstream_request_id", "client_program", "agent", "route", "error"):
        db.execute(f"ALTER TABLE requests ADD COLUMN {name} TEXT")
    db.execute("ALTER TABLE attempts ADD COLUMN upstream_request_id TEXT")
    db.execute("ALTER TABLE attempts ADD COLUMN waited_ms REAL")
    db.execute(
        "CREATE INDEX attempts_by_upstream ON attempts (upstream_request_id) WHERE upstream_request_id IS NOT NULL"
    )


def add_origin(db: Database) -> None:
    """Where a request comes from. What failed on purpose says nothing of a key, so the vault does not count it."""
    origins = "'client', 'replay', 'duel', 'fault'"
    db.execute(f"ALTER TABLE requests ADD COLUMN origin TEXT NOT NULL DEFAULT 'client' CHECK (origin IN ({origins}))")
    db.execute("DROP TRIGGER keys_used")
    _count_uses(db, f"new.key IS NOT NULL AND coalesce(new.error, '') NOT GLOB '{FAULT}*'")


FAULT = "fault: "
"""Begins the error of an attempt that failed on purpose."""


def add_cache_misses(db: Database) -> None:
    """Why a turn missed what the turn before had left in the prompt cache, by how many tokens, and what that cost."""
    for name, kind in (("cache_miss", "TEXT"), ("cache_miss_tokens", "INTEGER"), ("cache_miss_usd", "REAL")):
        db.execute(f"ALTER TABLE requests ADD COLUMN {name} {kind}")
    db.execute("CREATE INDEX requests_by_cache_miss ON requests (started_at) WHERE cache_miss IS NOT NULL")


def add_attempts_proxy(db: Database) -> None:
    """Through which outbound proxy an attempt went, by its name or address; NULL: none."""
    db.execute("ALTER TABLE attempts ADD COLUMN proxy TEXT")


def add_key_groups(db: Database) -> None:
    """Keys that are kept for certain clients; empty: for all."""
    db.execute("ALTER TABLE keys ADD COLUMN key_group TEXT NOT NULL DEFAULT ''")
    db.execute("DROP TRIGGER keys_changed")
    db.execute(f"CREATE TRIGGER keys_changed AFTER UPDATE OF {ISSUED}, key_group ON keys {CHANGED}")


def add_listing_indexes(db: Database) -> None:
    """For whoever lists what failed, or what a group asked, of very many requests. Few requests are in either."""
    db.execute("CREATE INDEX requests_by_failure ON requests (status, started_at) WHERE status >= 400")
    db.execute("CREATE INDEX requests_by_group ON requests (client_group, started_at) WHERE client_group IS NOT NULL")


def create_chosen_keys(db: Database) -> None:
    """The key of a provider that goes before its others; `key_id` as in `cooldowns`. No row: none was chosen."""
    db.execute("""
        CREATE TABLE chosen_keys (
            provider TEXT NOT NULL PRIMARY KEY,
            key_id TEXT NOT NULL,
            chosen_at TEXT NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%fZ'))
        ) WITHOUT ROWID""")


USAGE = (
    "input_tokens",
    "output_tokens",
    "cache_read_tokens",
    "cache_write_5m_tokens",
    "cache_write_1h_tokens",
    "reasoning_tokens",
    "server_tool_requests",
)

MIGRATIONS: tuple[Callable[[Database], None], ...] = (
    create_ledger,
    create_keys,
    create_state,
    create_probes,
    add_translation,
    add_costs,
    create_bodies,
    add_rollups,
    create_batches,
    create_relays,
    add_charges,
    remember_aliases,
    rename_cooldowns,
    add_story,
    add_origin,
    add_cache_misses,
    create_clients,
    add_key_groups,
    create_leases,
    create_panel,
    lighten_clients,
    add_listing_indexes,
    create_chosen_keys,
    create_notices,
    create_accounts,
    add_client_hours,
    add_attempts_proxy,
    create_reconciliation,
    create_proxies,
    add_requests_proxy,
    spare_clients,
    close_client_hours,
)


def migrate(connection: sqlite3.Connection) -> None:
    """Apply what is pending. Raises NewerDatabase, or sqlite3.Error; then nothing has changed."""
    if not _pending(connection):
        return
    with transaction(connection):
        _apply(connection)


def _pending(connection: sqlite3.Connection) -> bool:
    known = {step.__name__ for step in MIGRATIONS}
    applied = _applied(connection)
    if unknown := sorted(applied - known):
        raise NewerDatabase(
            f"{file_of(connection)}: it was written by a newer Claude Relay (unknown migration {', '.join(unknown)}) – "
            "update Claude Relay, or set `database` in relay.yaml to another file"
        )
    return applied != known


def _applied(connection: sqlite3.Connection) -> set[str]:
    if not connection.execute("SELECT 1 FROM sqlite_schema WHERE name = '_sqlite_migrations'").fetchone():
        return set()
    rows = connection.execute("SELECT name FROM _sqlite_migrations WHERE migration_set = ?", [SET])
    return {name for (name,) in rows}


def _apply(connection: sqlite3.Connection) -> None:
    from sqlite_utils import Database
    from sqlite_utils.migrations import Migrations

    steps = Migrations(SET)
    for step in MIGRATIONS:
        steps()(step)
    # Plugins installed for the command line tool have no business in the relay's connection.
    steps.apply(Database(connection, recursive_triggers=False, execute_plugins=False))
