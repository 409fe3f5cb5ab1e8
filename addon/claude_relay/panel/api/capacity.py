"""`/api/capacity`: how much of accounts' windows is left, when they end at the pace of the last hour, and how many more agents fit."""

from __future__ import annotations

from pydantic import BaseModel

from claude_relay.core.accounting import capacity as of
from claude_relay.core.times import iso
from claude_relay.panel.common.parts import Own, Parts
from claude_relay.panel.common.problems import documented
from claude_relay.panel.security.visitors import Reader
from claude_relay.store.db.database import MissingDatabase
from claude_relay.store.shared.capacities import capacity as known
from claude_relay.store.shared.capacities import plain

from .areas import area

router = area("accounts")


class Forecast(BaseModel):
    """Windows of one name over all accounts of a provider. Shares are of one account's window: 1.5 is one and a half of them.

    `pace`: what is used in an hour, null: not known yet; `sustainable`: what could be, so that every window lasts until it begins anew;
    `agents`: at work in the last hour; `ends_at` null: they last; `more_agents` null: there was no pace by which to tell.
    """

    provider: str
    window: str
    accounts: int
    left: float
    pace: float | None
    sustainable: float
    agents: int
    ends_at: str | None
    more_agents: int | None


class WindowLeft(BaseModel):
    """One window of one account. `span`: seconds until it begins anew; `ends_at`: when it is used up, if that is before."""

    provider: str
    key: str
    window: str
    left: float
    resets_at: str | None
    span: float | None
    pace: float | None
    ends_at: str | None


class Capacity(BaseModel):
    """At a time."""

    at: str
    forecasts: list[Forecast]
    windows: list[WindowLeft]


@router.get("/capacity", responses=documented())
def capacity(visitor: Reader, parts: Own) -> Capacity:
    """As providers have said it with their answers, brought up to now."""
    rows, forecasts = known_now(parts)
    return Capacity(
        at=iso(parts.clock()),
        forecasts=[Forecast(**plain(one)) for one in forecasts],
        windows=[WindowLeft(**plain(one)) for one in rows],
    )


def known_now(parts: Parts) -> tuple[list[of.Row], list[of.Forecast]]:
    """What the database knows; nothing before the first relay ran."""
    try:
        with parts.ledger() as connection:
            return known(connection, parts.clock())
    except MissingDatabase:
        return [], []
