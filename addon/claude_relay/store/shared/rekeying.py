"""Lets what earlier versions stored of relay.yaml's keys hang on the ids that they have now.

Those versions stored the ids of this process, from which a short secret could be guessed. Cooldowns, bindings and resources move to the
new ids when a key is named for the first time, and when a relay of such a version has stored cooldowns since.

    rekey(connection, {Place("anthropic", "2c26b46b68ffc68f"): "9f0c…"})          within a transaction that holds the write lock

What this module must not know: how a key gets its id.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Mapping

from claude_relay.core.keys.aliases import Place
from claude_relay.store.db.shared_tables import COOLDOWNS, SAVE_COOLDOWN
from claude_relay.store.vault.rows import has_table

BINDINGS = """
    SELECT provider, key_id, home, session FROM sessions
    WHERE key_id IN (SELECT value FROM json_each(:ids)) OR home IN (SELECT value FROM json_each(:ids))"""


def has_old_cooldowns(connection: sqlite3.Connection, places: Iterable[Place]) -> bool:
    """Whether cooldowns of these keys are stored under the ids of this process."""
    if not has_table(connection, "cooldowns"):
        return False
    own = set(places)
    return any(Place(*row) in own for row in connection.execute("SELECT DISTINCT provider, key_id FROM cooldowns"))


def rekey(connection: sqlite3.Connection, ids: Mapping[Place, str]) -> None:
    """Move everything. Two cooldowns of one key become one, as when two relays have stored them."""
    changed = connection.execute("UPDATE state SET generation = generation + 1 RETURNING generation").fetchone()[0]
    old = [(place.provider, place.id) for place in ids]
    _cooldowns(connection, ids, changed)
    _bindings(connection, ids, changed)
    moved = [(new, *place) for place, new in ids.items()]
    connection.executemany("UPDATE resources SET key_id = ? WHERE provider = ? AND key_id = ?", moved)
    # Reports of processes of a moment ago: those that live say theirs anew within a second, by the new ids.
    connection.executemany("DELETE FROM loads WHERE provider = ? AND key_id = ?", old)
    connection.executemany("DELETE FROM probes WHERE provider = ? AND key_id = ?", old)


def _cooldowns(connection: sqlite3.Connection, ids: Mapping[Place, str], changed: int) -> None:
    every = connection.execute(f"SELECT {', '.join(COOLDOWNS)} FROM cooldowns").fetchall()
    rows = [dict(zip(COOLDOWNS, row, strict=True)) for row in every if Place(*row[:2]) in ids]
    connection.executemany("DELETE FROM cooldowns WHERE provider = :provider AND key_id = :key_id", rows)
    moved = ({**row, "key_id": ids[Place(row["provider"], row["key_id"])], "changed": changed} for row in rows)
    connection.executemany(SAVE_COOLDOWN, moved)  # joins them with those that the key has under its new id


def _bindings(connection: sqlite3.Connection, ids: Mapping[Place, str], changed: int) -> None:
    found = connection.execute(BINDINGS, {"ids": json.dumps([place.id for place in ids])}).fetchall()
    new = [
        (*(ids.get(Place(provider, id), id) for id in (key, home)), changed, session, provider)
        for provider, key, home, session in found
    ]
    connection.executemany(
        "UPDATE sessions SET key_id = ?, home = ?, changed = ? WHERE session = ? AND provider = ?", new
    )
