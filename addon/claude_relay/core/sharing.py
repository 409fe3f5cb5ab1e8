"""What relays over one database tell each other: rests, seats of sessions, and what they carry.

    mine = collect(pools, sessions, now)          in the event loop: what changed here since the last time
    theirs = state.exchange(mine, now)            in a thread: stored, and what changed elsewhere
    absorb(pools, sessions, theirs, now)          in the event loop again

When the middle step fails, try it again with the same `mine` before collecting anew: nothing is lost, and twice does no harm.
It must not know SQL. Rows are plain values by the names of their columns; times are seconds since the epoch.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass

from .load import KeyLoad
from .pool import Pool
from .sessions import Sessions

type Row = Mapping[str, object]


@dataclass(frozen=True, slots=True)
class Shared:
    """Rows of `rests`, `sessions` and `loads`. Of loads always all: what is not there is not carried any more."""

    rests: tuple[Row, ...] = ()
    sessions: tuple[Row, ...] = ()
    loads: tuple[Row, ...] = ()
    ttl: float = 3600.0
    """Seconds after which a silent session does not count."""


def collect(pools: Mapping[str, Pool], sessions: Sessions | None, now: float) -> Shared:
    """What changed here since the last call."""
    rests = (_at(pool, row) for pool in pools.values() for row in pool.rests.drain())
    loads = (_at(pool, asdict(load)) for pool in pools.values() for load in pool.load.report(now))
    if sessions is None:
        return Shared(tuple(rests), (), tuple(loads))
    return Shared(tuple(rests), tuple(sessions.drain()), tuple(loads), sessions.ttl)


def absorb(pools: Mapping[str, Pool], sessions: Sessions | None, shared: Shared, now: float) -> None:
    """Take over what changed elsewhere."""
    for provider, pool in pools.items():
        pool.restore(row for row in shared.rests if row["provider"] == provider)
        pool.load.hear((_load(row) for row in shared.loads if row["provider"] == provider), now)
    if sessions is not None:
        sessions.restore(shared.sessions, now)


def _at(pool: Pool, row: Row) -> Row:
    return {"provider": pool.provider, **row}


def _load(row: Row) -> KeyLoad:
    busy, requests, tokens = (int(str(row[name])) for name in ("busy", "requests", "tokens"))
    return KeyLoad(str(row["key_id"]), busy, requests, tokens)
