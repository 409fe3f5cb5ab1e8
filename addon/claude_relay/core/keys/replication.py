"""What relays over one database tell each other: cooldowns, bindings of sessions, what they carry and what they probe.

    mine = collect(pools, sessions, now, own)     in the event loop: what changed here since the last time
    theirs = state.exchange(mine, now)            in a thread: stored, and what changed elsewhere
    for _ in absorbing(pools, sessions, theirs, now, own):
        await asyncio.sleep(0)                    in the event loop again; after a start there are many bindings

`shifted` puts rows into the terms of another clock, `clamped` takes out what cannot be. When the middle step fails, try it again with
the same `mine` before collecting anew: nothing is lost, and twice does no harm.
It must not know SQL. Rows are plain values by the names of their columns; times are seconds since the epoch.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from itertools import batched

from claude_relay.core.steady import SLACK
from claude_relay.core.times import HOUR

from .cooldowns import NEVER
from .load import KeyLoad
from .own_credentials import OwnCredentials
from .pool import Pool
from .sessions import Sessions

TIMES = frozenset({"since", "until", "opens", "lifted", "used", "warm"})
"""Columns that hold a time."""
SLICE = 500
"""Bindings that are taken over at once, in some milliseconds."""

type Row = Mapping[str, object]


@dataclass(frozen=True, slots=True)
class Shared:
    """Rows of `cooldowns`, `sessions`, `loads` and `probes`. Of the last two always all: what is not there is over."""

    cooldowns: tuple[Row, ...] = ()
    sessions: tuple[Row, ...] = ()
    loads: tuple[Row, ...] = ()
    ttl: float = HOUR
    """Seconds after which a silent session does not count."""
    probes: tuple[Row, ...] = ()


def collect(
    pools: Mapping[str, Pool], sessions: Sessions | None, now: float, own: Collection[OwnCredentials] = ()
) -> Shared:
    """What changed here since the last call. `own`: what is known of clients' own credentials."""
    every = [(one.provider, one.cooldowns) for one in pools.values()] + [(one.provider, one) for one in own]
    cooldowns = tuple({"provider": provider, **row} for provider, one in every for row in one.drain())
    loads = tuple(
        {"provider": pool.provider, **asdict(load)} for pool in pools.values() for load in pool.load.report(now)
    )
    probes = tuple({"provider": provider, **row} for provider, one in every for row in one.probes())
    if sessions is None:
        return Shared(cooldowns, (), loads, probes=probes)
    return Shared(cooldowns, tuple(sessions.drain()), loads, sessions.ttl, probes)


def shifted(shared: Shared, seconds: float) -> Shared:
    """The same in the terms of a clock that is so many seconds ahead of this one."""
    if not seconds:
        return shared
    cooldowns, sessions, probes = (
        tuple({name: _later(name, value, seconds) for name, value in row.items()} for row in rows)
        for rows in (shared.cooldowns, shared.sessions, shared.probes)
    )
    return replace(shared, cooldowns=cooldowns, sessions=sessions, probes=probes)


def clamped(shared: Shared, now: float) -> Shared:
    """The same without times that cannot be: what was written before the system's clock was set back lies in the future, and its
    lengths count from now on."""
    cooldowns = tuple(_clamped(row, now, row["since"]) for row in shared.cooldowns)
    return replace(
        shared, cooldowns=cooldowns, sessions=tuple(_clamped(row, now, row["used"]) for row in shared.sessions)
    )


def _clamped(row: Row, now: float, latest: object) -> Row:
    """A row whose latest time that has been is moved to now, if it lies in the future."""
    excess = float(str(latest)) - now
    return row if excess <= SLACK else {name: _later(name, value, -excess) for name, value in row.items()}


def _later(name: str, value: object, seconds: float) -> object:
    """A column's value so many seconds later, if it is a time that comes."""
    moves = name in TIMES and value is not None and float(str(value)) > NEVER
    return float(str(value)) + seconds if moves else value


def absorb(
    pools: Mapping[str, Pool],
    sessions: Sessions | None,
    shared: Shared,
    now: float,
    own: Collection[OwnCredentials] = (),
) -> None:
    """Take over what changed elsewhere, in one go."""
    for _ in absorbing(pools, sessions, shared, now, own):
        pass


def absorbing(
    pools: Mapping[str, Pool],
    sessions: Sessions | None,
    shared: Shared,
    now: float,
    own: Collection[OwnCredentials] = (),
) -> Iterator[None]:
    """Take over what changed elsewhere: all but the bindings before the first pause, then SLICE bindings before each.

    Whatever happens in a pause is not undone by what comes after it.
    """
    for provider, pool in pools.items():
        pool.restore(_of(provider, shared.cooldowns))
        pool.cooldowns.hear(_of(provider, shared.probes))
        pool.load.hear(map(_load, _of(provider, shared.loads)), now)
    for known in own:
        known.hear(*(_of(known.provider, rows) for rows in (shared.cooldowns, shared.probes)))
    if sessions is None:
        return
    for bindings in batched(shared.sessions, SLICE):
        sessions.restore(bindings, now)
        yield


def _of(provider: str, rows: Iterable[Row]) -> Iterator[Row]:
    return (row for row in rows if row["provider"] == provider)


def _load(row: Row) -> KeyLoad:
    busy, requests, tokens = (int(str(row[name])) for name in ("busy", "requests", "tokens"))
    return KeyLoad(str(row["key_id"]), busy, requests, tokens)
