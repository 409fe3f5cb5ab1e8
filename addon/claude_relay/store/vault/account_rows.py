"""Rows of `accounts`: what may be told of an account, and its refresh token, which is sealed.

    accounts_in(connection)                     -> (Account("4f1c…", "anthropic", "v3", …), …)
    resealed_refresh(token, box)                 arguments of RESEAL_REFRESH

What this module must not know: transactions, and where the box came from.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from dataclasses import dataclass

from claude_relay.core.oauth.timing import state_of
from claude_relay.core.times import iso

from .rows import has_table, moment
from .sealing import Box, Damaged

REFRESH = "refresh"
"""The sealed field."""
SELECT = """
    SELECT keys.id, keys.provider, keys.alias, keys.label, keys.enabled, keys.removed_at, accounts.generation, accounts.refresh IS NOT NULL,
        accounts.account, accounts.scopes, accounts.renewed_at, accounts.expires_at, accounts.life, accounts.dispatched_at,
        accounts.revoked_at, accounts.failed_at, accounts.failures, accounts.retry_at, accounts.reason
    FROM accounts JOIN keys ON keys.id = accounts.key_id {where} ORDER BY keys.provider, keys.rowid"""
RESEAL_REFRESH = "UPDATE accounts SET refresh = ? WHERE key_id = ?"

type RefreshToken = tuple[str, str, str]
"""Id and provider of its key, and the token itself, opened."""


@dataclass(frozen=True, slots=True)
class Account:
    """What may be told of an account. Times are seconds since the epoch.

    generation  another number for every pair of tokens that it had
    renews      there is a refresh token
    account     name or e-mail of whose it is
    life        seconds that its access token lives in all
    dispatched_at     when its refresh token was sent, if nothing is known of the answer: a relay may have ended meanwhile
    revoked_at  when the provider refused the refresh token for good
    failures    how often in a row it could not be renewed; `retry_at`: when to try again
    reason      why, or why it was revoked
    """

    id: str
    provider: str
    alias: str
    label: str
    enabled: bool
    removed_at: str | None
    generation: int
    renews: bool
    account: str
    scopes: tuple[str, ...]
    renewed_at: float
    expires_at: float | None
    life: float | None
    dispatched_at: float | None = None
    revoked_at: float | None = None
    failed_at: float | None = None
    failures: int = 0
    retry_at: float | None = None
    reason: str = ""

    @property
    def name(self) -> str:
        """`anthropic/v3`."""
        return f"{self.provider}/{self.alias}"

    def state(self, now: float) -> str:
        """One of `timing.STATES`."""
        return state_of(
            revoked=self.revoked_at is not None,
            expires_at=self.expires_at,
            life=self.life,
            failures=self.failures,
            now=now,
        )

    def plain(self, now: float) -> dict[str, object]:
        """As JSON tells it; times in UTC."""
        return {
            "name": self.name,
            "id": self.id,
            "provider": self.provider,
            "alias": self.alias,
            "label": self.label,
            "account": self.account,
            "state": self.state(now),
            "reason": self.reason,
            "enabled": self.enabled,
            "removed_at": self.removed_at,
            "renews": self.renews,
            "scopes": list(self.scopes),
            "renewed_at": iso(self.renewed_at),
            "expires_at": moment(self.expires_at),
            "revoked_at": moment(self.revoked_at),
            "failed_at": moment(self.failed_at),
            "failures": self.failures,
            "retry_at": moment(self.retry_at),
        }


def accounts_in(connection: sqlite3.Connection, where: str = "", *arguments: object) -> tuple[Account, ...]:
    """All accounts, removed ones too, by provider and age."""
    if not has_table(connection, "accounts"):
        return ()
    found = connection.execute(SELECT.format(where=where), arguments).fetchall()
    return tuple(
        Account(
            id, provider, alias, label, bool(enabled), removed_at, generation, bool(renews), account, tuple(scopes.split()), *more
        )
        for id, provider, alias, label, enabled, removed_at, generation, renews, account, scopes, *more in found
    )  # fmt: skip


def sealed_refresh(token: str | None, box: Box, id: str, provider: str) -> bytes | None:
    """As the table keeps it."""
    return None if token is None else box.seal(token, REFRESH, id=id, provider=provider)


def opened_refresh(sealed: object, box: Box, id: str, provider: str) -> str | None:
    """The token itself. Raises Damaged."""
    return None if sealed is None else box.open(sealed, REFRESH, id=id, provider=provider)


def refresh_tokens(connection: sqlite3.Connection, box: Box) -> list[RefreshToken]:
    """All of them. Raises Damaged."""
    return [
        (id, provider, box.open(sealed, REFRESH, id=id, provider=provider))
        for id, provider, _, sealed in _sealed(connection)
    ]


def resealed_refresh(token: RefreshToken, box: Box) -> tuple[bytes, str]:
    """Arguments of RESEAL_REFRESH."""
    id, provider, text = token
    return box.seal(text, REFRESH, id=id, provider=provider), id


def damaged_accounts(connection: sqlite3.Connection, box: Box) -> tuple[str, ...]:
    """Names of those whose refresh token was tampered with."""
    damaged = []
    for id, provider, alias, sealed in _sealed(connection):
        try:
            box.open(sealed, REFRESH, id=id, provider=provider)
        except Damaged:
            damaged.append(f"{provider}/{alias}")
    return tuple(damaged)


def _sealed(connection: sqlite3.Connection) -> Iterable[tuple[str, str, str, object]]:
    if not has_table(connection, "accounts"):
        return []
    return connection.execute(
        "SELECT keys.id, keys.provider, keys.alias, accounts.refresh FROM accounts JOIN keys ON keys.id = accounts.key_id "
        "WHERE accounts.refresh IS NOT NULL"
    ).fetchall()
