"""One provider's report, once a day by whichever process comes first: lease, fetch, both sides written down together.

    reconciliation = Reconciliation(vault, os.environ)
    reconciliation.due(config.providers, now)                        -> ("anthropic",): those with an admin key whose report is due
    reconciliation.run("anthropic", providers, fetch, now)           -> Ran(rows=…) or Ran(problem=…)
    reconciliation.status("anthropic", providers)                    what is known of its admin key and its report
    reconciliation.rows("anthropic", "2026-11-01", "2026-11-30")     -> compared, the newest day first

A report is fetched anew for the last DAYS days, since it grows for a while; what the ledger says is summed up at the same moment, so both
sides are of one time. After a failure it is due again later, ever more so. All of it waits for the disk, `run` for the provider too, and
raises StoreError. It must not know how a provider is asked.
"""

from __future__ import annotations

import random
import sqlite3
from collections.abc import Collection, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Final, Protocol

from claude_relay.core.accounting.reconciling import Row, compare
from claude_relay.core.accounting.report_access import check_admin_key, form_of, origin_of, takes_variable
from claude_relay.core.accounting.usage_reports import Fetched, NotFetched
from claude_relay.core.config import Provider
from claude_relay.core.times import DAY, HOUR, MINUTE
from claude_relay.store.db.database import MissingDatabase, StoreError, connect, explain, read_only, transaction
from claude_relay.store.db.migrations import migrate
from claude_relay.store.ledger.reconciled import own_entries, read_days, write_days
from claude_relay.store.vault.admin_keys import AdminKey, AdminKeys
from claude_relay.store.vault.lock import VaultError
from claude_relay.store.vault.rows import has_table
from claude_relay.store.vault.vault import Vault

DAYS: Final = 7
MOST_DAYS: Final = 366
LEASE: Final = 10 * MINUTE
AFTER_MIDNIGHT: Final = 2 * HOUR
"""When a day's report is fetched first, and at most an hour later: not all the world at once."""
FIRST_PAUSE: Final = 15 * MINUTE
LONGEST_PAUSE: Final = 6 * HOUR
NOTABLE: Final = 3
"""Failures after which somebody should hear of what may mend itself."""
NO_KEY: Final = "there is no admin key for it"
BUSY: Final = "another process is fetching it just now"


class Fetch(Protocol):
    """How a provider is asked."""

    def __call__(
        self, provider: Provider, secret: str, first: date, last: date, secrets: Collection[str]
    ) -> Fetched | NotFetched:
        """Never raises."""


@dataclass(frozen=True, slots=True)
class Ran:
    """What came of one. `problem` empty: it is written down; `notable`: whether somebody should hear of the problem."""

    provider: str
    rows: tuple[Row, ...] = ()
    problem: str = ""
    notable: bool = False


@dataclass(frozen=True, slots=True)
class Status:
    """`form` None: it has no report. `source` of its admin key: `vault`, a variable's name; empty: there is none. Times: seconds."""

    provider: str
    form: str | None
    source: str = ""
    key: AdminKey | None = None
    fetched_at: float | None = None
    due_at: float | None = None
    by_key: bool = False
    problem: str = ""


class Reconciliation:
    """Over the database of a vault. `environ`: where admin keys may come from, too."""

    def __init__(self, vault: Vault, environ: Mapping[str, str]) -> None:
        self.vault, self.environ = vault, environ
        self.keys = AdminKeys(vault)

    # --- what is known ---

    def status(self, name: str, providers: Mapping[str, Provider]) -> Status:
        """Of one provider of relay.yaml."""
        key = next((one for one in self.keys.list() if one.provider == name), None)
        source = "vault" if key is not None else self._variable(name, providers) or ""
        with self._reading() as connection:
            row = (
                None
                if connection is None
                else connection.execute(
                    "SELECT fetched_at, due_at, by_key, problem FROM report_state WHERE provider = ?", [name]
                ).fetchone()
            )
        fetched, due, by_key, problem = row or (None, None, 0, "")
        return Status(name, form_of(providers[name]), source, key, fetched, due, bool(by_key), problem)

    def rows(self, name: str, first: str, last: str) -> list[Row]:
        """Days as ISO 8601 has them, both included."""
        with self._reading() as connection:
            return [] if connection is None else compare(*read_days(connection, name, first, last))

    # --- what is done ---

    def due(self, providers: Mapping[str, Provider], now: float) -> tuple[str, ...]:
        """Providers with an admin key whose report should be fetched now."""
        sealed = {key.provider for key in self.keys.list()}
        found = [
            name
            for name, provider in providers.items()
            if form_of(provider) and (name in sealed or self._variable(name, providers))
        ]
        if not found:
            return ()
        with self._reading() as connection:
            rows = connection.execute("SELECT provider, due_at, lease_until FROM report_state") if connection else ()
            waiting = {name for name, due, lease in rows if now < due <= now + 2 * DAY or now < lease <= now + LEASE}
        return tuple(name for name in found if name not in waiting)

    def run(
        self,
        name: str,
        providers: Mapping[str, Provider],
        fetch: Fetch,
        now: float,
        *,
        first: date | None = None,
        last: date | None = None,
        forced: bool = False,
    ) -> Ran:
        """Fetch and compare. `first`, `last`: days; by itself the last DAYS that are over. `forced`: whether it is due or not."""
        provider = providers[name]
        yesterday = datetime.fromtimestamp(now, UTC).date() - timedelta(days=1)
        last = min(last or yesterday, yesterday)
        first = max(first or last - timedelta(days=DAYS - 1), last - timedelta(days=MOST_DAYS - 1))
        if not self._take(name, now, forced=forced):
            return Ran(name, problem=BUSY)
        try:
            secret = self._secret(name, providers)
        except (VaultError, ValueError) as error:
            return self._failed(name, str(error), now, final=True)
        if secret is None:
            return self._failed(name, NO_KEY, now, final=True)
        found = fetch(provider, secret, first, last, self._pool(name, provider))
        if not isinstance(found, Fetched):
            return self._failed(name, found.reason, now, final=found.final, pause=found.pause)
        days = [first + timedelta(days=n) for n in range((last - first).days + 1)]
        with self._writing() as connection:
            own = own_entries(connection, name, first, last)
            with transaction(connection):
                write_days(connection, name, days, [*found.entries, *own], now)
                connection.execute(
                    "UPDATE report_state SET due_at = ?, lease_until = 0, fetched_at = ?, failures = 0, by_key = ?, problem = '' "
                    "WHERE provider = ?",
                    [_next_due(now), now, found.by_key, name],
                )
        return Ran(name, tuple(self.rows(name, first.isoformat(), last.isoformat())))

    def _take(self, name: str, now: float, *, forced: bool) -> bool:
        """Whether it is this process's to do."""
        free = "(lease_until <= :now OR lease_until > :now + :lease)"
        due = "" if forced else "AND (due_at <= :now OR due_at > :now + :days)"
        values = {"name": name, "now": now, "lease": LEASE, "days": 2 * DAY}
        with self._writing() as connection, transaction(connection):
            connection.execute("INSERT OR IGNORE INTO report_state (provider) VALUES (?)", [name])
            sql = f"UPDATE report_state SET lease_until = :now + :lease WHERE provider = :name AND {free} {due}"
            return connection.execute(sql, values).rowcount == 1

    def _failed(self, name: str, problem: str, now: float, *, final: bool, pause: float | None = None) -> Ran:
        with self._writing() as connection, transaction(connection):
            sql = "SELECT failures FROM report_state WHERE provider = ?"
            failures = connection.execute(sql, [name]).fetchone()[0] + 1
            grown = min(FIRST_PAUSE * 2 ** min(failures - 1, 10), LONGEST_PAUSE)
            until = now + (max(grown, pause or 0.0) if not final else LONGEST_PAUSE)
            connection.execute(
                "UPDATE report_state SET due_at = ?, lease_until = 0, failures = ?, problem = ? WHERE provider = ?",
                [until, failures, problem, name],
            )
        return Ran(name, problem=problem, notable=final or failures == NOTABLE)

    def _secret(self, name: str, providers: Mapping[str, Provider]) -> str | None:
        sealed = self.keys.secret(name, origin_of(providers[name]))
        variable = self._variable(name, providers)
        if sealed is not None or variable is None:
            return sealed
        secret, form = self.environ[variable].strip(), form_of(providers[name])
        assert form is not None
        try:
            check_admin_key(form, secret)
        except ValueError as error:
            raise ValueError(f"{variable}: {error}") from None
        return secret

    def _variable(self, name: str, providers: Mapping[str, Provider]) -> str | None:
        variable = takes_variable(providers, name)
        return variable if variable is not None and self.environ.get(variable, "").strip() else None

    def _pool(self, name: str, provider: Provider) -> frozenset[str]:
        """The provider's keys, removed ones too: what they used is in the report. Without the vault's secret those of relay.yaml."""
        configured = {key.secret for key in provider.key_list(name)}
        try:
            ids = {key.id for key in self.vault.list() if key.provider == name}
            issued = self.vault.issue(ids).get(name, ()) if ids else ()
        except VaultError:
            return frozenset(configured)
        return frozenset({*configured, *(key.secret for key in issued)})

    @contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        try:
            with closing(connect(self.vault.path, patience=5.0)) as connection:
                migrate(connection)
                yield connection
        except (sqlite3.Error, OSError) as error:
            raise StoreError(explain(self.vault.path, error)) from error

    @contextmanager
    def _reading(self) -> Iterator[sqlite3.Connection | None]:
        """None where nothing was ever fetched."""
        try:
            connection = read_only(self.vault.path)
        except MissingDatabase:
            yield None
            return
        try:
            with closing(connection):
                yield connection if has_table(connection, "reported") else None
        except (sqlite3.Error, OSError) as error:
            raise StoreError(explain(self.vault.path, error)) from error


def _next_due(now: float) -> float:
    """After the end of the day that is under way now."""
    tomorrow = datetime.fromtimestamp(now, UTC).replace(hour=0, minute=0, second=0, microsecond=0) + timedelta(days=1)
    return tomorrow.timestamp() + AFTER_MIDNIGHT + HOUR * random.random()
