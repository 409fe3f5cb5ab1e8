"""The vault: keys in the database, sealed; what may be told of them; and the one way by which they come out, `issue`.

    vault = Vault(Path("relay.db"), environ=os.environ)
    vault.import_many([NewKey("anthropic", "sk-ant-…", tier="admin")])      -> Imported(added, duplicates)
    vault.list()                                                           -> StoredKeys with masks; needs no secret
    vault.disable([key.id for key in vault.list()])
    vault.issue()                                                           -> {"anthropic": (Key(alias="v1", …), …)}
    vault.changed()                                                        -> another number whenever any process changed a key

Every method is synchronous, opens the file anew and may be called in any thread. Whatever goes wrong is a VaultError with
the remedy. A file that is not there is an empty vault; only what writes creates it.

What this module must not know: where the secret is kept (`secret`), how it becomes a box (`locking`), what is sealed how
(`sealed_rows`, `sealing`), and who asks.
"""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from itertools import groupby
from operator import attrgetter
from pathlib import Path

from claude_relay.core.config import OutboundProxy
from claude_relay.core.exchange import Key
from claude_relay.core.installation import command
from claude_relay.core.keys.check_results import VALID, CheckResult
from claude_relay.store.audit import Act, Actor, write
from claude_relay.store.db.database import ChangedMeanwhile, transaction
from claude_relay.store.db.watch import Watch

from . import fellow_secrets, proxy_rows
from .account_rows import RESEAL_REFRESH, RefreshToken, damaged_accounts, refresh_tokens, resealed_refresh
from .acts import KIND, note, note_choice, note_reset, seen
from .file import VaultFile, explained, shrink
from .lock import Keeper, Plan, SecretMissing, VaultError, WrongSecret
from .records import FIELDS, NewKey, StoredKey
from .rows import (
    GROUP,
    CooldownsByKey,
    as_it_is,
    chosen_keys,
    cooldowns_by_key,
    lift,
    lift_own,
    moment,
    renewable,
    stored_keys,
)
from .sealed_rows import (
    INSERT,
    ISSUED,
    RESEAL,
    Duplicate,
    Row,
    Text,
    address_of,
    compared,
    distinguished,
    opened,
    repeated,
    resealed,
    sealed_proxy,
    texts,
)
from .sealing import Box, Damaged

__all__ = ["Duplicate", "Imported", "Inspection", "SecretMissing", "Vault", "VaultError", "WrongSecret"]

NOW = "strftime('%Y-%m-%dT%H:%M:%fZ')"
USABLE = "WHERE enabled = 1 AND removed_at IS NULL"


@dataclass(frozen=True, slots=True)
class Imported:
    """What became of new keys."""

    added: tuple[StoredKey, ...]
    duplicates: tuple[Duplicate, ...]


@dataclass(frozen=True, slots=True)
class Inspection:
    """How the vault is. `place`: where its secret is kept (`secret`). `problem`: why it cannot be opened. `damaged`: names of keys."""

    keys: int = 0
    place: str | None = None
    problem: str = ""
    damaged: tuple[str, ...] = ()


class Vault:
    """The keys in the database at `path`.

    patience  seconds to wait for somebody else's lock
    actor     who changes keys: each act has its lines in the audit log, in its own transaction; None: a relay, which writes none
    """

    def __init__(
        self,
        path: Path,
        *,
        environ: Mapping[str, str] = os.environ,
        patience: float = 5.0,
        actor: Actor | None = None,
    ) -> None:
        self.path = path
        self.actor = actor
        self.damaged: tuple[str, ...] = ()
        """Names of the keys that the last `issue` had to leave out, for they were tampered with."""
        self.file = VaultFile(path, patience)
        self.keeper = Keeper(path, environ)
        self._watch = Watch(path, "vault")

    # --- what may be told ---

    def list(self) -> tuple[StoredKey, ...]:
        """All keys, removed ones too, by provider and age."""
        with self.file.reading() as connection:
            return stored_keys(connection) if connection else ()

    def cooldowns(self) -> CooldownsByKey:
        """The cooldowns that are written down, by provider and key id; those of keys of the configuration, too."""
        with self.file.reading() as connection:
            return cooldowns_by_key(connection) if connection else {}

    def chosen(self) -> dict[str, str]:
        """Provider → the id of the key that goes before its others, where one was chosen."""
        with self.file.reading() as connection:
            return chosen_keys(connection) if connection else {}

    def changed(self) -> int:
        """A number that is another one after any process changed, added or removed a key. 0: there is no vault."""
        with explained(self.path):
            return self._watch.look()

    def inspect(self) -> Inspection:
        """Whether every key can be opened. Raises VaultError only when the file cannot be read."""
        with self.file.reading() as connection:
            rows = connection.execute(as_it_is(connection, ISSUED.format(where=""))).fetchall() if connection else []
            if connection is None or not (rows or proxy_rows.any_in(connection)):
                return Inspection()
            place = self.keeper.place(connection)
            try:
                box = self.keeper.box(connection)
            except VaultError as error:
                return Inspection(len(rows), place, str(error))
            proxies = proxy_rows.opened(connection, box)[1]
            damaged = dict.fromkeys((*opened(rows, box)[1], *damaged_accounts(connection, box), *proxies))
        return Inspection(len(rows), place, damaged=tuple(damaged))

    def usual_place(self) -> str:
        """Where a new secret would be kept: `environment`, `keyring` or `file`."""
        return self.keeper.usual_place()

    def second_factor(self, admin: str) -> str | None:
        """The secret of that admin's second factor; None: there is none. Raises VaultError."""
        try:
            return self._second_factor(admin)
        except (SecretMissing, WrongSecret):  # perhaps somebody changed the secret between two looks
            return self._second_factor(admin)

    def _second_factor(self, admin: str) -> str | None:
        with self.file.reading() as connection:
            sealed = fellow_secrets.find(connection, admin) if connection else None
            if connection is None or sealed is None:
                return None
            try:
                return fellow_secrets.opened(self.keeper.box(connection), admin, sealed)
            except Damaged as error:
                raise VaultError(f"{self.path}: the second factor: {error}") from None

    @contextmanager
    def sealing(self) -> Iterator[tuple[sqlite3.Connection, Box]]:
        """A transaction with the open box, for what is sealed beside the keys (`fellow_secrets`). A vault without a lock gets one."""
        with self.ready_to_seal() as (connection, plan), transaction(connection):
            yield connection, self.box_for_new(connection, plan)

    def close(self) -> None:
        """Let go of what `changed` keeps open."""
        self._watch.close()

    # --- what comes out ---

    def issue(self, only: Collection[str] | None = None) -> dict[str, tuple[Key, ...]]:
        """The keys that may be used, by provider, oldest first. Raises VaultError when the secret is missing or another one.

        only  ids: these keys instead, whatever their state (for a check)
        """
        try:
            return self._issue(only)
        except (SecretMissing, WrongSecret):  # perhaps somebody changed the secret between two looks
            return self._issue(only)

    def _issue(self, only: Collection[str] | None) -> dict[str, tuple[Key, ...]]:
        with self.file.reading() as connection:
            sql = ISSUED.format(where=USABLE if only is None else "")
            found = connection.execute(as_it_is(connection, sql)).fetchall() if connection else []
            renewing = renewable(connection) if connection else frozenset()
            rows = [row for row in found if only is None or row[0] in only]
            keys, ways, self.damaged = self._opened(connection, rows)
        keys = [replace(key, renews=True) if key.id in renewing else key for key in keys]
        keys = [replace(key, proxy=ways[key.proxy]) if key.proxy in ways else key for key in keys]
        return {provider: tuple(group) for provider, group in groupby(keys, attrgetter("provider"))}

    def _opened(
        self, connection: sqlite3.Connection | None, rows: Sequence[Row]
    ) -> tuple[Sequence[Key], Mapping[object, OutboundProxy], tuple[str, ...]]:
        """Keys, the proxies to which they may refer, and the names of what was tampered with. A vault without keys needs no secret."""
        if connection is None or not rows:
            return [], {}, ()
        box = self.keeper.box(connection)
        (keys, damaged), (ways, lost) = opened(rows, box), proxy_rows.opened(connection, box)
        return keys, dict(ways.items()), (*damaged, *lost)

    # --- what goes in ---

    def add(self, new: NewKey) -> Imported:
        """Add one key."""
        return self.import_many([new])

    def known(self, news: Sequence[NewKey]) -> tuple[Duplicate, ...]:
        """Those of new keys that are there already, or come twice. Changes nothing; needs the secret where there is a vault."""
        with self.file.reading() as connection:
            if connection is None or self.keeper.place(connection) is None:
                return repeated(news)
            return compared(connection, news, self.keeper.box(connection))[1]

    def import_many(self, news: Sequence[NewKey]) -> Imported:
        """Add keys, all in one transaction; those that are there, removed ones included, are told and left as they are."""
        with self.ready_to_seal() as (connection, plan):
            with transaction(connection):
                rows, duplicates = distinguished(connection, news, self.box_for_new(connection, plan))
                connection.executemany(INSERT, rows)
                added = {str(row["id"]) for row in rows}
                note(connection, self.actor, "add", {}, seen(connection, added))
            return Imported(tuple(key for key in stored_keys(connection) if key.id in added), duplicates)

    def edit(
        self, ids: Iterable[str], fields: Mapping[str, object], *, as_seen: StoredKey | None = None
    ) -> tuple[str, ...]:
        """Change fields (names of FIELDS) of keys; the ids of those that exist. Raises ValueError for what a field cannot hold.

        as_seen  how the one key must be still. Raises ChangedMeanwhile.
        """
        values = {name: FIELDS[name](value) for name, value in fields.items()}
        with self.ready_to_seal() as (connection, _), transaction(connection):
            if as_seen is not None and as_seen.said not in (key.said for key in stored_keys(connection)):
                raise ChangedMeanwhile(f"somebody has changed {as_seen.name} since you looked")
            box = self.keeper.box(connection) if values.get("proxy") else None
            with self._noted(connection, "edit", ids) as meant:
                return tuple(id for id in meant if _edit(connection, id, values, box))

    # --- switching on and off: each returns the ids of the keys that it changed ---

    def enable(self, ids: Iterable[str]) -> tuple[str, ...]:
        """Let keys be used."""
        return self._set("enable", ids, "enabled = 1", "enabled = 0")

    def disable(self, ids: Iterable[str]) -> tuple[str, ...]:
        """Let no new request use them."""
        return self._set("disable", ids, "enabled = 0", "enabled = 1")

    def remove(self, ids: Iterable[str]) -> tuple[str, ...]:
        """Take keys away, so that they can be brought back."""
        return self._set("remove", ids, f"removed_at = {NOW}", "removed_at IS NULL")

    def restore(self, ids: Iterable[str]) -> tuple[str, ...]:
        """Bring removed keys back."""
        return self._set("restore", ids, "removed_at = NULL", "removed_at IS NOT NULL")

    def prune(self, ids: Iterable[str], statuses: Collection[str]) -> tuple[str, ...]:
        """Remove those of the keys whose last check found one of these."""
        marks = ", ".join("?" * len(statuses))
        return self._set(
            "prune", ids, f"removed_at = {NOW}", f"removed_at IS NULL AND check_status IN ({marks})", *statuses
        )

    def erase(self, ids: Iterable[str]) -> tuple[str, ...]:
        """Delete keys for good, and their cooldowns; needs no secret. Their aliases are never given again."""
        with self.file.writing() as connection:
            with transaction(connection), self._noted(connection, "erase", ids) as meant:
                gone = tuple(i for i in meant if connection.execute("DELETE FROM keys WHERE id = ?", [i]).rowcount)
                connection.executemany("DELETE FROM chosen_keys WHERE key_id = ?", [(id,) for id in gone])
                lift(connection, gone, time.time())
            shrink(connection)
        return gone

    def reset(self, ids: Iterable[str]) -> int:
        """Lift all cooldowns of keys, those of the configuration too; how many there were."""
        with self.file.writing() as connection, transaction(connection):
            meant = tuple(ids)
            count = lift(connection, meant, time.time())
            note_reset(connection, self.actor, meant, count)
            return count

    def reset_own(self, provider: str | None) -> int:
        """The same for clients' own credentials, at one provider or (None) at all."""
        with self.file.writing() as connection, transaction(connection):
            count = lift_own(connection, time.time(), provider)
            if count and self.actor is not None:
                write(connection, self.actor, Act("reset", KIND, "clients' own credentials"))
            return count

    def choose(self, provider: str, id: str | None, name: str = "") -> bool:
        """Let a key go before the others of its provider, wherever it comes from; None: none. Whether that is new.

        name  what it is called, for the audit log
        """
        with self.file.writing() as connection, transaction(connection):
            before = chosen_keys(connection).get(provider)
            if before == id:
                return False
            if id is None:
                connection.execute("DELETE FROM chosen_keys WHERE provider = ?", [provider])
            else:
                sql = "INSERT OR REPLACE INTO chosen_keys (provider, key_id) VALUES (?, ?)"
                connection.execute(sql, [provider, id])
            note_choice(connection, self.actor, provider, name or id)
            return True

    def record(self, results: Mapping[str, CheckResult]) -> None:
        """Write down what checks found, by id. A key found valid is no longer out."""
        rows = [(it.status, moment(it.until), it.reason, id) for id, it in results.items()]
        sql = f"UPDATE keys SET checked_at = {NOW}, check_status = ?, check_until = ?, check_reason = ? WHERE id = ?"
        with self.file.writing() as connection, transaction(connection):
            with self._noted(connection, "check", results):
                connection.executemany(sql, rows)
            valid = [id for id, it in results.items() if it.status == VALID]
            lift(connection, valid, time.time(), out_only=True)

    # --- the secret ---

    def rotate_secret(self, place: str | None = None, secret: str | None = None) -> str:
        """Seal everything anew with a new secret, in one transaction. The name of the place where it is now.

        place   `environment`, `keyring` or `file`; default: as for a new vault
        secret  for `environment`: what RELAY_SECRET will be; default: what it is
        At every moment a secret that is kept opens all keys. Raises VaultError, also when a key is damaged.
        """
        with self.ready_to_seal(plan=False) as (connection, _):
            plan = self.keeper.plan(place, secret)
            with transaction(connection):
                old = self.keeper.place(connection), self.keeper.secret_id(connection)
                found, tokens, ways = self._texts(connection)
                others = self._beside(connection)
                box = self.keeper.adopt(connection, plan, fall_back=place is None)
                connection.executemany(RESEAL, [resealed(text, box) for text in found])
                connection.executemany(RESEAL_REFRESH, [resealed_refresh(token, box) for token in tokens])
                fellow_secrets.seal_all(connection, box, others)
                proxy_rows.seal_all(connection, box, ways)
                if self.actor is not None:
                    write(
                        connection,
                        self.actor,
                        Act("rotate-secret", "vault", self.path.name, None, {"keys": len(found)}),
                    )
            with transaction(connection):  # nobody else may be changing the secrets meanwhile
                self.keeper.drop(connection, *old)
                now = self.keeper.place(connection)
            shrink(connection)
        return str(now)

    def _texts(self, connection: sqlite3.Connection) -> tuple[Sequence[Text], Sequence[RefreshToken], proxy_rows.Urls]:
        rows = connection.execute("SELECT id, provider, secret, proxy FROM keys").fetchall()
        try:
            if not rows and not proxy_rows.any_in(connection):
                return (), (), {}
            box = self.keeper.box(connection)
            return texts(rows, box), refresh_tokens(connection, box), proxy_rows.urls(connection, box)
        except Damaged:
            damaged = ", ".join(self.inspect().damaged)
            raise VaultError(
                f"Damaged in {self.path}: {damaged} – bring the file back from a backup, or forget these with: "
                f"{command('keys')} remove --forever KEY…, {command('keys')} proxies remove NAME…"
            ) from None

    def _beside(self, connection: sqlite3.Connection) -> fellow_secrets.Texts:
        try:
            return (
                fellow_secrets.texts(connection, self.keeper.box(connection)) if fellow_secrets.any(connection) else {}
            )
        except VaultError:  # without a key a lost secret does not matter; admins have their recovery codes
            return {}

    # --- within a connection ---

    @contextmanager
    def ready_to_seal(self, *, plan: bool = True) -> Iterator[tuple[sqlite3.Connection, Plan | None]]:
        """For writing, with the slow work on a lock done before the transaction, for which others would have to wait."""
        with self.file.writing() as connection:
            fresh = self.keeper.place(connection) is None
            if not fresh:
                with suppress(VaultError):  # whoever needs the box will hear it
                    self.keeper.box(connection)
            yield connection, self.keeper.plan() if fresh and plan else None

    def box_for_new(self, connection: sqlite3.Connection, plan: Plan | None) -> Box:
        """The vault's box. While there is no key at all, nor a proxy, it may have a new lock, so a lost secret does not matter then."""
        if self.keeper.place(connection) is not None:
            try:
                return self.keeper.box(connection)
            except VaultError:
                if connection.execute("SELECT 1 FROM keys LIMIT 1").fetchone() or proxy_rows.any_in(connection):
                    raise
        return self.keeper.adopt(connection, plan or self.keeper.plan(), fall_back=True)

    def _set(self, act: str, ids: Iterable[str], what: str, where: str, *arguments: str) -> tuple[str, ...]:
        sql = f"UPDATE keys SET {what} WHERE id = ? AND {where}"
        with (
            self.file.writing() as connection,
            transaction(connection),
            self._noted(connection, act, ids) as meant,
        ):
            return tuple(id for id in meant if connection.execute(sql, [id, *arguments]).rowcount)

    @contextmanager
    def _noted(self, connection: sqlite3.Connection, act: str, ids: Iterable[str]) -> Iterator[tuple[str, ...]]:
        """Write down, within the transaction, what becomes of keys."""
        meant = tuple(ids)
        before = seen(connection, meant) if self.actor is not None else {}
        yield meant
        if self.actor is not None:
            note(connection, self.actor, act, before, seen(connection, meant))


def _edit(connection: sqlite3.Connection, id: str, values: Mapping[str, object], box: Box | None) -> bool:
    """Change one key; False when there is none of that id."""
    found = connection.execute("SELECT provider FROM keys WHERE id = ?", [id]).fetchone()
    if not found:
        return False
    columns = {GROUP if name == "group" else name: value for name, value in values.items()}
    if "proxy" in columns:
        proxy = None if columns["proxy"] is None else str(columns["proxy"])
        columns["proxy"] = sealed_proxy(proxy, box, id, found[0]) if box else None
        columns["proxy_address"] = address_of(proxy)
    if columns:
        sets = ", ".join(f"{name} = ?" for name in columns)
        connection.execute(f"UPDATE keys SET {sets} WHERE id = ?", [*columns.values(), id])
    return True
