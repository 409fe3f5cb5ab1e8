"""How far the limits of clients and groups are used now, by what relays have written down.

    use = LimitUse(Path("relay.db"))
    use.of([*bounds_of("client", "alice", policy), …], time.time())      -> a Standing for each limit that is not of sessions or agents

Relays write down money with each request, rates and places each second; so it is as they are, but for that second. It must not know who
looks.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterable, Sequence
from contextlib import closing
from pathlib import Path

from claude_relay.core.clients.admission import Standing
from claude_relay.core.clients.demand import Bound, bounds_of
from claude_relay.core.clients.directory import Client
from claude_relay.core.clients.gcra import Rate, believed
from claude_relay.core.clients.money import Rolling, Spending
from claude_relay.core.times import HOUR
from claude_relay.store.db.database import MissingDatabase, StoreError, explain, read_only
from claude_relay.store.ledger.client_sums import ClientSums, Sums, Wanted

type Used = tuple[float, float | None]
"""How much, and until when; None: nothing, or that is not known."""

PLACES = "SELECT sum(busy) FROM client_leases WHERE key = ? AND until > ? AND until <= ?"
RATE = "SELECT tat FROM client_rates WHERE key = ?"


def bounds_of_client(client: Client) -> tuple[Bound, ...]:
    """Those of it, and those of its group."""
    group = client.group
    of_group = () if group is None else bounds_of("group", group.name, group.policy)
    return (*bounds_of("client", client.name, client.policy), *of_group)


class LimitUse:
    """Over the database at `path`."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def of(self, bounds: Iterable[Bound], now: float) -> dict[str, Standing]:
        """By the bound's key; limits of sessions and agents are left out. Raises StoreError."""
        found = {bound.key: bound for bound in bounds if bound.limit.scope == "all"}
        money = {key: Spending(bound) for key, bound in found.items() if bound.limit.measure == "usd"}
        sums = self._spent(money.values(), now)
        used = self._used([bound for bound in found.values() if bound.limit.measure != "usd"], now)
        for key, spending in money.items():
            spending.restore(sums[key], now, None)
            used[key] = spending.spent(now), spending.until(now)
        return {
            key: Standing(bound.limit, bound.kind, bound.owner, *used[key], bound.limit.scope)
            for key, bound in found.items()
        }

    def _spent(self, spendings: Iterable[Spending], now: float) -> Sums:
        wanted = [Wanted(one.bound, one.since(now), isinstance(one.account, Rolling)) for one in spendings]
        if not wanted:
            return {}
        with closing(ClientSums(self.path)) as sums:
            return sums.read(wanted)

    def _used(self, bounds: Sequence[Bound], now: float) -> dict[str, Used]:
        unused: dict[str, Used] = {bound.key: (0.0, None) for bound in bounds}
        if not bounds:
            return {}
        try:
            with closing(read_only(self.path)) as connection:
                return unused | _read(connection, bounds, now)
        except MissingDatabase:
            return unused
        except sqlite3.Error as error:
            if "no such table" in str(error):  # of an earlier version, which no relay has opened yet
                return unused
            raise StoreError(explain(self.path, error)) from error


def _read(connection: sqlite3.Connection, bounds: Iterable[Bound], now: float) -> dict[str, Used]:
    ticks = time.monotonic()
    found: dict[str, Used] = {}
    for bound in bounds:
        if bound.limit.measure == "concurrent":
            (busy,) = connection.execute(PLACES, [bound.key, ticks, ticks + HOUR]).fetchone()
            found[bound.key] = float(busy or 0), None
        elif (row := connection.execute(RATE, [bound.key]).fetchone()) is not None:
            rate = Rate(believed(row[0], now))
            used = rate.used(bound.limit.amount, now)
            found[bound.key] = used, rate.tat if used else None
    return found
