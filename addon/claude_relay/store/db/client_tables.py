"""The tables of clients: who they are, by which secrets they are known, who signs in, who is stopped, and who did what.

    client_groups   clients that share limits
    clients         one row a client; one that is removed keeps its row, for the ledger names it
    client_keys     SHA-256 of a key → its client; after a rotation the old one is valid for a while
    client_tokens   SHA-256 of a token of somebody who has signed in; `family`: of one sign-in
    device_codes    sign-ins under way
    client_stops    what is to end now
    client_state    a number that is another one after any change of these that relays go by: what they look at
    audit           who did what, when, from where; rows are added only, whoever tries otherwise

What relays on one database tell each other of limits (`create_leases`):

    client_leases    how many of a limit's concurrent requests a relay may let run, until when, and how many it has and wants
    client_rates     how far a limit per minute is used: `tat`, seconds since the epoch (core/clients/gcra)
    client_spending  what was spent, by five minutes: kept by triggers on `requests`, so that it stays when rows are deleted
    client_spending_hours  the same by the hour, of each client and of each group, for hours that are closed: summed when an hour is
                           over (store/ledger/client_hours), from then on kept by triggers on it
    client_spending_state  a number that is another one after requests were priced anew; `closed`: the first hour (since the epoch)
                           that is not closed, of which as of all later ones there are no rows

What triggers do for each request is done in the ledger's thread while its client waits for the commit: they touch as few pages as
they can (`lighten_clients`, `spare_clients`, `close_client_hours`).

Times are UTC ISO 8601 text, except where a column is REAL: seconds since the epoch. `policy` is JSON (core/clients/permissions).
What this module must not know: what rows mean.
"""

from __future__ import annotations

import sqlite3
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sqlite_utils import Database

TABLES = (
    """
    CREATE TABLE client_groups (
        name TEXT NOT NULL PRIMARY KEY,
        note TEXT NOT NULL DEFAULT '',
        policy TEXT NOT NULL DEFAULT '{}',
        settings TEXT,
        enabled INTEGER NOT NULL DEFAULT 1 CHECK (enabled IN (0, 1)),
        created_at TEXT NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%fZ')),
        removed_at TEXT
    )""",
    """
    CREATE TABLE clients (
        id TEXT NOT NULL PRIMARY KEY,
        name TEXT NOT NULL UNIQUE,
        client_group TEXT REFERENCES client_groups (name) ON UPDATE CASCADE,
        note TEXT NOT NULL DEFAULT '',
        tags TEXT NOT NULL DEFAULT '[]',
        owner TEXT NOT NULL DEFAULT '',
        priority INTEGER NOT NULL DEFAULT 1 CHECK (priority BETWEEN 1 AND 100),
        policy TEXT NOT NULL DEFAULT '{}',
        enabled INTEGER NOT NULL DEFAULT 1 CHECK (enabled IN (0, 1)),
        expires_at TEXT,
        expires_after REAL CHECK (expires_after > 0),
        created_at TEXT NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%fZ')),
        first_used_at TEXT,
        last_used_at TEXT,
        removed_at TEXT
    )""",
    """
    CREATE TABLE client_keys (
        digest BLOB NOT NULL PRIMARY KEY,
        client TEXT NOT NULL REFERENCES clients (id) ON DELETE CASCADE,
        mask TEXT NOT NULL,
        created_at TEXT NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%fZ')),
        valid_until TEXT
    )""",
    "CREATE INDEX client_keys_by_client ON client_keys (client)",
    """
    CREATE TABLE client_tokens (
        digest BLOB NOT NULL PRIMARY KEY,
        client TEXT NOT NULL REFERENCES clients (id) ON DELETE CASCADE,
        kind TEXT NOT NULL CHECK (kind IN ('access', 'refresh')),
        family TEXT NOT NULL,
        created_at TEXT NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%fZ')),
        valid_until TEXT NOT NULL,
        used_at TEXT
    )""",
    "CREATE INDEX client_tokens_by_family ON client_tokens (family)",
    """
    CREATE TABLE device_codes (
        digest BLOB NOT NULL PRIMARY KEY,
        user_code TEXT NOT NULL UNIQUE,
        client TEXT REFERENCES clients (id) ON DELETE CASCADE,
        state TEXT NOT NULL DEFAULT 'pending' CHECK (state IN ('pending', 'approved', 'denied', 'used')),
        created_at TEXT NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%fZ')),
        valid_until TEXT NOT NULL,
        interval REAL NOT NULL,
        polled_at REAL,
        peer TEXT NOT NULL DEFAULT ''
    )""",
    """
    CREATE TABLE client_stops (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        client TEXT NOT NULL REFERENCES clients (id) ON DELETE CASCADE,
        session TEXT,
        at TEXT NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%fZ')),
        until REAL NOT NULL
    )""",
    "CREATE TABLE client_state (row INTEGER NOT NULL PRIMARY KEY CHECK (row = 1), generation INTEGER NOT NULL)",
    "INSERT INTO client_state (row, generation) VALUES (1, random())",
    """
    CREATE TABLE audit (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        at TEXT NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%fZ')),
        who TEXT NOT NULL,
        via TEXT NOT NULL,
        place TEXT NOT NULL DEFAULT '',
        act TEXT NOT NULL,
        kind TEXT NOT NULL,
        subject TEXT NOT NULL,
        before TEXT,
        after TEXT
    )""",
    "CREATE INDEX audit_by_subject ON audit (kind, subject, id)",
    "CREATE TRIGGER audit_stays BEFORE DELETE ON audit BEGIN SELECT RAISE(ABORT, 'the audit log is append-only'); END",
    "CREATE TRIGGER audit_is_true BEFORE UPDATE ON audit BEGIN SELECT RAISE(ABORT, 'the audit log is append-only'); END",
    "ALTER TABLE requests ADD COLUMN client_group TEXT",
    "ALTER TABLE requests ADD COLUMN agent_tree TEXT",
    "CREATE INDEX requests_by_client ON requests (client, started_at) WHERE client IS NOT NULL",
    # Counted where requests are written down: the first use begins the life of a key that has one.
    """
    CREATE TRIGGER clients_used AFTER INSERT ON requests WHEN new.client IS NOT NULL BEGIN
        UPDATE clients SET last_used_at = max(coalesce(last_used_at, ''), new.started_at) WHERE name = new.client;
        UPDATE clients SET first_used_at = new.started_at WHERE name = new.client AND first_used_at IS NULL;
    END""",
)
WATCHED = {
    "client_groups": ("INSERT", "UPDATE", "DELETE"),
    "clients": (
        "INSERT",
        "UPDATE OF name, client_group, note, tags, owner, priority, policy, enabled, expires_at, expires_after, "
        "first_used_at, removed_at",
        "DELETE",
    ),
    "client_keys": ("INSERT", "UPDATE", "DELETE"),
    "client_tokens": ("INSERT", "DELETE"),
    "client_stops": ("INSERT", "UPDATE", "DELETE"),
}
"""Table → the changes of it that relays have to know."""


def create_clients(db: Database | sqlite3.Connection) -> None:
    """All of them."""
    for statement in TABLES:
        db.execute(statement)
    for table, events in WATCHED.items():
        for event in events:
            db.execute(
                f"CREATE TRIGGER {table}_{event.partition(' ')[0].lower()} AFTER {event} ON {table} "
                "BEGIN UPDATE client_state SET generation = random(); END"
            )


LEASES = (
    # `until` is of the machine's monotonic clock, which goes on when the calendar's is set, and begins anew when the machine does.
    """
    CREATE TABLE client_leases (
        key TEXT NOT NULL,
        relay TEXT NOT NULL,
        leased INTEGER NOT NULL,
        busy INTEGER NOT NULL,
        waiting INTEGER NOT NULL,
        until REAL NOT NULL,
        PRIMARY KEY (key, relay)
    ) WITHOUT ROWID""",
    "CREATE INDEX client_leases_by_relay ON client_leases (relay)",
    """
    CREATE TABLE client_rates (
        key TEXT NOT NULL PRIMARY KEY,
        tat REAL NOT NULL,
        changed INTEGER NOT NULL
    ) WITHOUT ROWID""",
    "CREATE INDEX client_rates_by_change ON client_rates (changed)",
    """
    CREATE TABLE client_spending (
        client TEXT NOT NULL,
        slot INTEGER NOT NULL,
        session TEXT NOT NULL,
        agent_tree TEXT NOT NULL,
        model TEXT NOT NULL,
        client_group TEXT NOT NULL,
        usd REAL NOT NULL,
        changed INTEGER NOT NULL,
        PRIMARY KEY (client, slot, session, agent_tree, model, client_group)
    ) WITHOUT ROWID""",
    "CREATE INDEX client_spending_by_group ON client_spending (client_group, slot) WHERE client_group != ''",
    "CREATE INDEX client_spending_by_change ON client_spending (changed)",
)
SLOT = 300
"""Seconds of a row of `client_spending`."""
SPEND = """
    INSERT INTO client_spending (client, slot, session, agent_tree, model, client_group, usd, changed)
    VALUES (
        new.client, CAST(strftime('%s', new.started_at) AS INTEGER) / {slot}, coalesce(new.session, ''),
        coalesce(new.agent_tree, ''), coalesce(new.requested_model, ''), coalesce(new.client_group, ''), {usd},
        (SELECT coalesce(max(changed), 0) + 1 FROM client_spending)
    )
    ON CONFLICT DO UPDATE SET usd = usd + excluded.usd, changed = excluded.changed;"""
PAID = "new.client IS NOT NULL AND new.origin != 'fault'"
"""What failed on purpose is nobody's money."""


def create_leases(db: Database | sqlite3.Connection) -> None:
    """What relays tell each other of limits."""
    for statement in LEASES:
        db.execute(statement)
    added, repriced = "new.cost_usd", "coalesce(new.cost_usd, 0) - coalesce(old.cost_usd, 0)"
    db.execute(
        f"CREATE TRIGGER client_spent AFTER INSERT ON requests WHEN {PAID} AND new.cost_usd > 0 "
        f"BEGIN {SPEND.format(slot=SLOT, usd=added)} END"
    )
    db.execute(
        f"CREATE TRIGGER client_repriced AFTER UPDATE OF cost_usd ON requests "
        f"WHEN {PAID} AND new.cost_usd IS NOT old.cost_usd BEGIN {SPEND.format(slot=SLOT, usd=repriced)} END"
    )


USE = """
    UPDATE clients SET
        last_used_at = max(coalesce(last_used_at, ''), new.started_at),
        first_used_at = coalesce(first_used_at, new.started_at)
    WHERE name = new.client
        AND (first_used_at IS NULL OR substr(new.started_at, 1, 16) > substr(coalesce(last_used_at, ''), 1, 16));"""
"""A request is a use of its client: once a minute, and the first one at once."""
LIGHTER = (
    # `last_used_at` is written once a minute: in between the ledger's own rows tell it (`requests_by_client`).
    "DROP TRIGGER clients_used",
    f"CREATE TRIGGER clients_used AFTER INSERT ON requests WHEN new.client IS NOT NULL BEGIN {USE} END",
    # The first use changes what relays go by only where the life of a client begins with it.
    "DROP TRIGGER clients_update",
    """
    CREATE TRIGGER clients_update AFTER UPDATE OF name, client_group, note, tags, owner, priority, policy, enabled, expires_at,
        expires_after, removed_at ON clients BEGIN UPDATE client_state SET generation = random(); END""",
    """
    CREATE TRIGGER clients_begin AFTER UPDATE OF first_used_at ON clients
        WHEN new.first_used_at IS NOT old.first_used_at AND new.expires_after IS NOT NULL
        BEGIN UPDATE client_state SET generation = random(); END""",
    # Who has spent something since when is read from `requests`: no number and no index need be kept for it.
    "DROP TRIGGER client_spent",
    "DROP TRIGGER client_repriced",
    "DROP INDEX client_spending_by_change",
    "ALTER TABLE client_spending DROP COLUMN changed",
    "CREATE TABLE client_spending_state (row INTEGER NOT NULL PRIMARY KEY CHECK (row = 1), generation INTEGER NOT NULL)",
    "INSERT INTO client_spending_state (row, generation) VALUES (1, random())",
)
ADD = """
    INSERT INTO client_spending (client, slot, session, agent_tree, model, client_group, usd)
    VALUES (
        new.client, CAST(strftime('%s', new.started_at) AS INTEGER) / {slot}, coalesce(new.session, ''),
        coalesce(new.agent_tree, ''), coalesce(new.requested_model, ''), coalesce(new.client_group, ''), {usd}
    )
    ON CONFLICT DO UPDATE SET usd = usd + excluded.usd;"""


def lighten_clients(db: Database | sqlite3.Connection) -> None:
    """A request of a client costs the ledger less, and a first use has relays read nothing anew that is as it was."""
    for statement in LIGHTER:
        db.execute(statement)
    added, repriced = "new.cost_usd", "coalesce(new.cost_usd, 0) - coalesce(old.cost_usd, 0)"
    db.execute(
        f"CREATE TRIGGER client_spent AFTER INSERT ON requests WHEN {PAID} AND new.cost_usd > 0 "
        f"BEGIN {ADD.format(slot=SLOT, usd=added)} END"
    )
    db.execute(
        f"CREATE TRIGGER client_repriced AFTER UPDATE OF cost_usd ON requests "
        f"WHEN {PAID} AND new.cost_usd IS NOT old.cost_usd "
        f"BEGIN {ADD.format(slot=SLOT, usd=repriced)} UPDATE client_spending_state SET generation = random(); END"
    )


HOURS = (
    """
    CREATE TABLE client_spending_hours (
        kind TEXT NOT NULL CHECK (kind IN ('client', 'group')),
        owner TEXT NOT NULL,
        hour INTEGER NOT NULL,
        model TEXT NOT NULL,
        usd REAL NOT NULL,
        PRIMARY KEY (kind, owner, hour, model)
    ) WITHOUT ROWID""",
    """
    INSERT INTO client_spending_hours (kind, owner, hour, model, usd)
    SELECT 'client', client, slot / 12, model, sum(usd) FROM client_spending GROUP BY client, slot / 12, model
    UNION ALL
    SELECT 'group', client_group, slot / 12, model, sum(usd) FROM client_spending WHERE client_group != ''
    GROUP BY client_group, slot / 12, model""",
)
ADD_HOUR = """
    INSERT INTO client_spending_hours (kind, owner, hour, model, usd)
    SELECT '{kind}', new.{owner}, new.slot / 12, new.model, {usd} WHERE new.{owner} != ''
    ON CONFLICT DO UPDATE SET usd = usd + excluded.usd;"""


def add_client_hours(db: Database | sqlite3.Connection) -> None:
    """What a month came to is read from some hundreds of rows, whoever has spent how often."""
    for statement in HOURS:
        db.execute(statement)
    for event, usd in (("INSERT", "new.usd"), ("UPDATE OF usd", "new.usd - old.usd")):
        added = "".join(
            ADD_HOUR.format(kind=kind, owner=owner, usd=usd)
            for kind, owner in (("client", "client"), ("group", "client_group"))
        )
        name = f"client_hours_{event.partition(' ')[0].lower()}"
        db.execute(f"CREATE TRIGGER {name} AFTER {event} ON client_spending BEGIN {added} END")


USED = "(SELECT max(started_at) FROM requests WHERE client = new.client)"
"""When the request came of which the trigger runs: it is in the table already."""
SPARING = (
    # A request that costs something is a use of its client, too: that is written down with the first one of each five minutes.
    "DROP TRIGGER clients_used",
    "CREATE TRIGGER clients_used AFTER INSERT ON requests WHEN new.client IS NOT NULL "
    f"AND (new.origin = 'fault' OR coalesce(new.cost_usd, 0) <= 0) BEGIN {USE} END",
    f"""
    CREATE TRIGGER clients_used_paying AFTER INSERT ON client_spending BEGIN
        UPDATE clients SET
            last_used_at = max(coalesce(last_used_at, ''), coalesce({USED}, '')),
            first_used_at = coalesce(first_used_at, {USED})
        WHERE name = new.client;
    END""",
    "DROP TRIGGER client_hours_insert",
    "DROP TRIGGER client_hours_update",
)


def spare_clients(db: Database | sqlite3.Connection) -> None:
    """A request of a client costs the ledger less still: what is the same for five minutes is done once."""
    for statement in SPARING:
        db.execute(statement)
    for event, usd in (("INSERT", "new.usd"), ("UPDATE OF usd", "new.usd - old.usd")):
        for kind, owner in (("client", "client"), ("group", "client_group")):
            db.execute(
                f"CREATE TRIGGER {kind}_hours_{event.partition(' ')[0].lower()} AFTER {event} ON client_spending "
                f"WHEN new.{owner} != '' BEGIN "
                f"INSERT INTO client_spending_hours (kind, owner, hour, model, usd) "
                f"VALUES ('{kind}', new.{owner}, new.slot / 12, new.model, {usd}) "
                "ON CONFLICT DO UPDATE SET usd = usd + excluded.usd; END"
            )


CLOSED = (
    "ALTER TABLE client_spending_state ADD COLUMN closed INTEGER NOT NULL DEFAULT 0",
    # What is there is true, and stays kept.
    "UPDATE client_spending_state SET closed = (SELECT coalesce(max(hour) + 1, 0) FROM client_spending_hours)",
    "DROP TRIGGER client_hours_insert",
    "DROP TRIGGER client_hours_update",
    "DROP TRIGGER group_hours_insert",
    "DROP TRIGGER group_hours_update",
)


def close_client_hours(db: Database | sqlite3.Connection) -> None:
    """Sums by the hour are made when the hour is over: only what is late or priced anew is added to them row by row."""
    for statement in CLOSED:
        db.execute(statement)
    for event, usd in (("INSERT", "new.usd"), ("UPDATE OF usd", "new.usd - old.usd")):
        added = "".join(
            ADD_HOUR.format(kind=kind, owner=owner, usd=usd)
            for kind, owner in (("client", "client"), ("group", "client_group"))
        )
        db.execute(
            f"CREATE TRIGGER client_hours_{event.partition(' ')[0].lower()} AFTER {event} ON client_spending "
            f"WHEN new.slot < 12 * (SELECT closed FROM client_spending_state) BEGIN {added} END"
        )
