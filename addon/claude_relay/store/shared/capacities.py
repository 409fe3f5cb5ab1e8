"""How long the windows of accounts last, by what the database knows of them: for people and for programs.

    rows, forecasts = capacity(connection, now)

It must not know how they are shown.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from dataclasses import asdict
from itertools import groupby
from typing import Any

from claude_relay.core.accounting.capacity import LOOKED_AT, Forecast, Row, forecast, row
from claude_relay.core.bodies.ratelimits import window_length
from claude_relay.store.ledger.at_work import agents_since
from claude_relay.store.vault.rows import has_table, moment

from .key_windows import read_samples, read_windows


def capacity(connection: sqlite3.Connection, now: float) -> tuple[list[Row], list[Forecast]]:
    """The windows of all accounts in use, and what they are together."""
    rows = _rows(connection, now)
    return rows, _forecasts(connection, rows, now)


def plain(one: Row | Forecast) -> dict[str, Any]:
    """As JSON tells it; times in UTC."""
    return {name: moment(value) if name.endswith("_at") else value for name, value in asdict(one).items()}


def _rows(connection: sqlite3.Connection, now: float) -> list[Row]:
    """The windows of all keys that are in use, by provider, window and key."""
    names = _names(connection, now)
    found = (
        row(one.provider, names[place], one.window, read_samples(connection, one, now - LOOKED_AT), now)
        for one in read_windows(connection)
        if (place := (one.provider, one.key_id)) in names
    )
    known = [one for one in found if one is not None]
    return sorted(known, key=lambda one: (one.provider, window_length(one.window) or 0.0, one.window, one.key))


def _names(connection: sqlite3.Connection, now: float) -> dict[tuple[str, str], str]:
    """The aliases of keys, by provider and id: of the vault's that can be used, and of relay.yaml's."""
    found: dict[tuple[str, str], str] = {}
    for table, where in (("key_aliases", ""), ("keys", "WHERE enabled = 1 AND removed_at IS NULL")):
        if has_table(connection, table):
            rows = connection.execute(f"SELECT provider, id, alias FROM {table} {where}")
            found |= {(provider, id): alias for provider, id, alias in rows}
    if has_table(connection, "accounts"):
        over = connection.execute(
            "SELECT keys.provider, keys.id FROM accounts JOIN keys ON keys.id = accounts.key_id "
            "WHERE revoked_at IS NOT NULL AND ifnull(expires_at, revoked_at) <= ?",
            [now],
        )
        for place in over:
            found.pop((place[0], place[1]), None)
    return found


def _forecasts(connection: sqlite3.Connection, rows: Sequence[Row], now: float) -> list[Forecast]:
    found = []
    for (provider, _), group in groupby(rows, key=lambda one: (one.provider, one.window)):
        known = list(group)
        agents = agents_since(connection, now - LOOKED_AT, provider, [one.key for one in known])
        if (one := forecast(known, agents, now)) is not None:
            found.append(one)
    return found
