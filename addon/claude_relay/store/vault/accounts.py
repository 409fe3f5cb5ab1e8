"""OAuth accounts in the vault: their tokens, who renews them now, and what became of it.

    accounts = Accounts(Vault(Path("relay.db")))
    account = accounts.add("anthropic", tokens, now=…)
    taken = accounts.take(account.id, owner, now, ticks, lease=30.0, seen=account.generation)    the lock, and what to send
    accounts.renewed(taken, tokens, now)          the next tokens, if the stored ones are still those that were sent

An account is a key of the kind `oauth`, whose secret is its access token, and a row beside it. Each step is one transaction that is on the
disk when it returns. Every step after `take` compares the generation: whoever comes too late changes nothing. `ticks` is the machine's
monotonic clock, which all relays on one database share. What this module must not know: who asks a provider, and when.
"""

from __future__ import annotations

import secrets
import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from claude_relay.core.exchange import OAUTH
from claude_relay.core.oauth.grants import Tokens
from claude_relay.core.times import HOUR
from claude_relay.store.audit import Act, write
from claude_relay.store.db.database import transaction

from . import proxy_rows
from .account_rows import Account, accounts_in, opened_refresh, sealed_refresh
from .acts import KIND, note, seen
from .lock import VaultError
from .records import NewKey, mask
from .rows import lift
from .sealed_rows import INSERT, PROXY, SECRET, distinguished
from .sealing import Damaged
from .vault import Duplicate, Vault

SOON = 5.0
"""Seconds after a failure in which nobody asks again, whatever hurry there is."""
INSERT_ACCOUNT = """
    INSERT INTO accounts (key_id, generation, refresh, account, scopes, renewed_at, expires_at, life)
    VALUES (:key_id, :generation, :refresh, :account, :scopes, :renewed_at, :expires_at, :life)"""
RENEWED = """
    UPDATE accounts SET generation = :generation, refresh = :refresh, renewed_at = :renewed_at, expires_at = :expires_at, life = :life,
        account = CASE WHEN :account = '' THEN account ELSE :account END,
        scopes = CASE WHEN :scopes = '' THEN scopes ELSE :scopes END,
        dispatched_at = NULL, revoked_at = NULL, failed_at = NULL, failures = 0, retry_at = NULL, reason = '',
        lease_owner = NULL, lease_until = NULL
    WHERE key_id = :key_id AND (:was IS NULL OR generation = :was)"""


class Why(StrEnum):
    """Why nobody is to be asked for other tokens now."""

    GONE = "gone"
    """There is no such account, or it was removed."""
    OTHERS = "others"
    """There are other tokens by now: use those."""
    REVOKED = "revoked"
    FINAL = "final"
    """There is no refresh token."""
    BUSY = "busy"
    """Somebody asks just now."""
    SOON = "soon"
    """It failed a moment ago."""


@dataclass(frozen=True, slots=True)
class Taken:
    """The lock on one account, and what it is about.

    dispatched_before  when the same token was sent before, if nothing is known of the answer
    proxy        the account's own outbound proxy, as in a Key
    """

    account: Account
    owner: str
    refresh: str = field(repr=False)
    dispatched_before: float | None = None
    proxy: object | None = field(default=None, repr=False)


class Accounts:
    """The accounts of a vault. Every method waits for the disk and raises VaultError."""

    def __init__(self, vault: Vault) -> None:
        self.vault = vault

    def list(self) -> tuple[Account, ...]:
        """All of them, removed ones too."""
        with self.vault.file.reading() as connection:
            return accounts_in(connection) if connection else ()

    def get(self, id: str) -> Account | None:
        """The account of a key."""
        with self.vault.file.reading() as connection:
            found = accounts_in(connection, "WHERE keys.id = ?", id) if connection else ()
        return found[0] if found else None

    # --- coming in ---

    def add(
        self, provider: str, tokens: Tokens, now: float, fields: Mapping[str, object] | None = None
    ) -> Account | Duplicate:
        """A new account; the name of the key that has this very token already, if one has. Raises ValueError for bad fields."""
        new = NewKey.of(provider, tokens.access, {"label": tokens.account} | dict(fields or {}))
        with self.vault.ready_to_seal() as (connection, plan), transaction(connection):
            box = self.vault.box_for_new(connection, plan)
            rows, duplicates = distinguished(connection, [new], box)
            if duplicates:
                return duplicates[0]
            row = rows[0] | {"kind": OAUTH}
            connection.execute(INSERT, row)
            id = str(row["id"])
            values = _values(id, tokens, now) | {"refresh": sealed_refresh(tokens.refresh, box, id, provider)}
            connection.execute(INSERT_ACCOUNT, values)
            note(connection, self.vault.actor, "login", {}, seen(connection, [id]))
            return accounts_in(connection, "WHERE keys.id = ?", id)[0]

    def login_again(self, id: str, tokens: Tokens, now: float) -> bool:
        """New tokens for an account, whatever became of the ones before; False when it is not there."""
        with self.vault.ready_to_seal() as (connection, _), transaction(connection):
            done = self._store(connection, id, tokens, now, None)
            account = accounts_in(connection, "WHERE keys.id = ?", id)
            if done and self.vault.actor is not None:
                write(connection, self.vault.actor, Act("login", KIND, account[0].name))
        return done

    # --- one renewal ---

    def take(
        self,
        id: str,
        owner: str,
        now: float,
        ticks: float,
        *,
        lease: float,
        seen: int | None = None,
        refused: str | None = None,
        hurry: bool = True,
    ) -> Taken | Why:
        """The lock on an account, unless its tokens are other ones than expected; that its refresh token is sent is written down.

        seen     the generation that is to be renewed
        refused  the access token that a provider refused
        hurry    whatever pause there is after failures; only the last moments count
        """
        with self.vault.file.writing() as connection, transaction(connection):
            found = accounts_in(connection, "WHERE keys.id = ? AND keys.removed_at IS NULL", id)
            if not found:
                return Why.GONE
            account = found[0]
            why = self._why_not(connection, account, owner, now, ticks, seen, hurry=hurry)
            if why is not None:
                return why
            sealed, sealed_access, sealed_proxy = connection.execute(
                "SELECT accounts.refresh, keys.secret, keys.proxy FROM accounts JOIN keys ON keys.id = accounts.key_id WHERE keys.id = ?",
                [id],
            ).fetchone()
            try:
                box = self.vault.keeper.box(connection)
                refresh = opened_refresh(sealed, box, id, account.provider)
                access = box.open(sealed_access, SECRET, id=id, provider=account.provider)
                proxy = sealed_proxy and box.open(sealed_proxy, PROXY, id=id, provider=account.provider)
                ways = proxy_rows.opened(connection, box)[0] if proxy else {}
            except Damaged as error:
                raise VaultError(f"{account.name}: {error} – log in again") from None
            if refused is not None and access != refused:
                return Why.OTHERS
            if refresh is None:
                return Why.FINAL
            connection.execute(
                "UPDATE accounts SET lease_owner = ?, lease_until = ?, dispatched_at = ifnull(dispatched_at, ?) WHERE key_id = ?",
                [owner, ticks + lease, now, id],
            )
            return Taken(account, owner, refresh, account.dispatched_at, ways.get(proxy, proxy))

    def _why_not(
        self,
        connection: sqlite3.Connection,
        account: Account,
        owner: str,
        now: float,
        ticks: float,
        seen: int | None,
        *,
        hurry: bool,
    ) -> Why | None:
        if seen is not None and account.generation != seen:
            return Why.OTHERS
        if account.revoked_at is not None:
            return Why.REVOKED
        held, until = connection.execute(
            "SELECT lease_owner, lease_until FROM accounts WHERE key_id = ?", [account.id]
        ).fetchone()
        # A lease far ahead is from before the machine began anew.
        if held is not None and held != owner and until is not None and ticks < until <= ticks + HOUR:
            return Why.BUSY
        if account.failed_at is not None and 0.0 <= now - account.failed_at < SOON:
            return Why.SOON
        waits = account.retry_at is not None and now < account.retry_at <= now + HOUR
        return Why.SOON if waits and not hurry else None

    def renewed(self, taken: Taken, tokens: Tokens, now: float) -> bool:
        """Keep the next tokens and let go of the lock; False: the stored ones are other ones than those that were sent, and stay."""
        with self.vault.ready_to_seal() as (connection, _), transaction(connection):
            id, was = taken.account.id, taken.account.generation
            done = self._store(connection, id, tokens.after(taken.refresh), now, was)
            if done and self.vault.actor is not None:
                write(connection, self.vault.actor, Act("refresh", KIND, taken.account.name))
            return done

    def revoked(self, taken: Taken, reason: str, now: float) -> bool:
        """The refresh token is no good any more; False: it is not the stored one any more, so that says nothing."""
        sql = (
            "UPDATE accounts SET revoked_at = ?, failed_at = ?, reason = ?, retry_at = NULL, dispatched_at = NULL, lease_owner = NULL, "
            "lease_until = NULL WHERE key_id = ? AND generation = ?"
        )
        with self.vault.file.writing() as connection, transaction(connection):
            values = [now, now, reason, taken.account.id, taken.account.generation]
            return connection.execute(sql, values).rowcount > 0

    def failed(self, taken: Taken, reason: str, now: float, pause: float, *, undone: bool) -> None:
        """It could not be renewed; all stays as it is. `undone`: the provider did nothing; else the token counts as sent."""
        mark = "NULL" if undone and taken.dispatched_before is None else "dispatched_at"
        sql = (
            f"UPDATE accounts SET failed_at = ?, failures = failures + 1, retry_at = ?, reason = ?, dispatched_at = {mark}, "
            "lease_owner = NULL, lease_until = NULL WHERE key_id = ? AND generation = ?"
        )
        with self.vault.file.writing() as connection, transaction(connection):
            connection.execute(sql, [now, now + pause, reason, taken.account.id, taken.account.generation])

    def _store(self, connection: sqlite3.Connection, id: str, tokens: Tokens, now: float, was: int | None) -> bool:
        """Both tokens in the place of those before, and the key is used again if it was out."""
        found = connection.execute("SELECT provider FROM keys WHERE id = ?", [id]).fetchone()
        if found is None:
            return False
        provider, box = str(found[0]), self.vault.keeper.box(connection)
        values = _values(id, tokens, now) | {"refresh": sealed_refresh(tokens.refresh, box, id, provider), "was": was}
        if not connection.execute(RENEWED, values).rowcount:
            return False
        mark = box.fingerprint(tokens.access, provider=provider)
        secret = box.seal(tokens.access, SECRET, id=id, provider=provider)
        connection.execute(
            "UPDATE keys SET secret = ?, fingerprint = ?, mask = ? WHERE id = ?",
            [secret, mark, mask(tokens.access), id],
        )
        lift(connection, [id], now, out_only=True)
        return True


def _values(id: str, tokens: Tokens, now: float) -> dict[str, object]:
    return {
        "key_id": id,
        "generation": secrets.randbits(62),  # drawn, so that it is another one than any in a backup
        "account": tokens.account,
        "scopes": " ".join(tokens.scopes),
        "renewed_at": now,
        "expires_at": None if tokens.expires_in is None else now + tokens.expires_in,
        "life": tokens.expires_in,
    }
