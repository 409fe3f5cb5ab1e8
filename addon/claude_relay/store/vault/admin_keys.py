"""The owner's admin keys at providers, sealed: with them reports of usage are fetched, and nothing else.

    keys = AdminKeys(vault)
    keys.put(actor, "anthropic", "https://api.anthropic.com", "sk-ant-admin01-…")      -> AdminKey(mask="sk-ant-…x3Fa")
    keys.secret("anthropic", "https://api.anthropic.com")                              the key; None: there is none for that address

They lie in a table of their own, which nothing that issues keys reads, so none can come into a pool. Each is sealed for one provider and
the address that it was entered for: where relay.yaml gives the provider another one, it does not open. Every method waits for the disk
and raises VaultError. It must not know how a report is fetched.
"""

from __future__ import annotations

import sqlite3
import time
from dataclasses import dataclass

from claude_relay.core.accounting.report_access import check_admin_key
from claude_relay.store.audit import Act, Actor, write
from claude_relay.store.db.database import transaction

from .fellow_secrets import ADMIN_KEY
from .file import shrink
from .lock import SecretMissing, VaultError, WrongSecret
from .records import mask
from .rows import has_table
from .sealing import Damaged
from .vault import Vault

DUE_NOW = """
    INSERT INTO report_state (provider) VALUES (?)
    ON CONFLICT DO UPDATE SET due_at = 0, failures = 0, problem = '', lease_until = 0"""
KIND = "admin key"


@dataclass(frozen=True, slots=True)
class AdminKey:
    """What may be told of one. `origin`: scheme, host and port, where alone it goes; `added_at`: seconds since the epoch."""

    provider: str
    origin: str
    mask: str
    added_at: float


class AdminKeys:
    """Those in the database of a vault."""

    def __init__(self, vault: Vault) -> None:
        self._vault = vault

    def list(self) -> tuple[AdminKey, ...]:
        """All of them, by provider."""
        with self._vault.file.reading() as connection:
            if connection is None or not has_table(connection, "admin_keys"):
                return ()
            rows = connection.execute("SELECT provider, origin, mask, added_at FROM admin_keys ORDER BY provider")
            return tuple(AdminKey(*row) for row in rows)

    def put(self, actor: Actor, form: str, provider: str, origin: str, secret: str) -> AdminKey:
        """In the place of the one that is there; the report is due at once. Raises ValueError for what is no admin key of this form."""
        check_admin_key(form, secret)
        new = AdminKey(provider, origin, mask(secret), time.time())
        with self._vault.sealing() as (connection, box):
            before = _seen(connection, provider)
            sealed = box.seal(secret, ADMIN_KEY, id=origin, provider=provider)
            connection.execute(
                "INSERT OR REPLACE INTO admin_keys (provider, origin, mask, added_at, secret) VALUES (?, ?, ?, ?, ?)",
                [provider, origin, new.mask, new.added_at, sealed],
            )
            connection.execute(DUE_NOW, [provider])
            write(
                connection, actor, Act("edit" if before else "add", KIND, provider, before, _seen(connection, provider))
            )
        return new

    def remove(self, actor: Actor, provider: str) -> bool:
        """For good; what was fetched with it stays. Whether there was one."""
        with self._vault.file.writing() as connection:
            with transaction(connection):
                before = _seen(connection, provider)
                if before is None:
                    return False
                connection.execute("DELETE FROM admin_keys WHERE provider = ?", [provider])
                write(connection, actor, Act("remove", KIND, provider, before))
            shrink(connection)
        return True

    def secret(self, provider: str, origin: str) -> str | None:
        """The key, for whoever is about to ask that address."""
        try:
            return self._secret(provider, origin)
        except (SecretMissing, WrongSecret):  # perhaps somebody changed the secret between two looks
            return self._secret(provider, origin)

    def _secret(self, provider: str, origin: str) -> str | None:
        with self._vault.file.reading() as connection:
            if connection is None or not has_table(connection, "admin_keys"):
                return None
            sql = "SELECT origin, secret FROM admin_keys WHERE provider = ?"
            row = connection.execute(sql, [provider]).fetchone()
            if row is None:
                return None
            if row[0] != origin:
                raise VaultError(
                    f"the admin key of {provider} was entered for {row[0]}, and relay.yaml has another address now: enter it again"
                )
            try:
                return self._vault.keeper.box(connection).open(row[1], ADMIN_KEY, id=origin, provider=provider)
            except Damaged:
                raise VaultError(f"the admin key of {provider} cannot be opened any more: enter it again") from None


def _seen(connection: sqlite3.Connection, provider: str) -> dict[str, str] | None:
    row = connection.execute("SELECT origin, mask FROM admin_keys WHERE provider = ?", [provider]).fetchone()
    return None if row is None else {"origin": row[0], "mask": row[1]}
