"""The lock on the vault: which secret opens it, how a new one takes the old one's place, and what to do when it is lost.

    keeper = Keeper(Path("relay.db"), os.environ)
    box = keeper.box(connection)                     raises SecretMissing or WrongSecret, with the remedy
    plan = keeper.plan()                             a new lock; slow, so it is made before anybody waits
    box = keeper.adopt(connection, plan)             within a transaction that holds the write lock

    VaultError
      ├─ SecretMissing     the secret is not where it was
      └─ WrongSecret       it is there, and it is another one

What this module must not know: keys.
"""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from claude_relay.core.errors import RelayError
from claude_relay.core.installation import command

from .sealing import Box, Damaged, Lock, new_lock, unlock
from .secret import ENVIRONMENT, SHORTEST, VARIABLE, Place, SecretFile, Unavailable, fresh, place_named, usual_place

GONE = (
    f"if it is lost for good: {command('keys')} remove --all --forever (and {command('keys')} proxies remove of what is "
    f"listed there), then add the keys again"
)


class VaultError(RelayError):
    """The vault cannot be used as it is; the text says what to do and holds no secret."""

    def __init__(self, message: str) -> None:
        """For a client it is a 503 that trying again does not mend."""
        super().__init__(503, message, final=True)


class SecretMissing(VaultError):
    """The secret that opens the vault is not where it was."""


class WrongSecret(VaultError):
    """There is a secret, but the vault is sealed with another one."""


@dataclass(frozen=True, slots=True)
class Plan:
    """A lock that is not on the vault yet. `id` and `secret`: what its place will keep."""

    place: Place
    id: str
    secret: str = field(repr=False)
    lock: Lock
    box: Box = field(repr=False)


@dataclass(frozen=True, slots=True)
class _Row:
    place: str | None
    secret_id: str
    lock: Lock


class Keeper:
    """Opens and changes the lock of the vault in one database."""

    def __init__(self, path: Path, environ: Mapping[str, str]) -> None:
        self._path = path
        self._environ = environ
        self._opened: tuple[Lock, bytes, Box] | None = None
        self._refused: tuple[Lock, bytes] | None = None

    def place(self, connection: sqlite3.Connection) -> str | None:
        """The name of the place of the secret; None while there is no lock."""
        return _row(connection).place

    def usual_place(self) -> str:
        """The name of the place where a new secret would be kept."""
        return usual_place(self._environ, self._path).name

    def secret_id(self, connection: sqlite3.Connection) -> str:
        """The id of the secret that counts."""
        return _row(connection).secret_id

    def box(self, connection: sqlite3.Connection) -> Box:
        """Open the lock. Slow once, then remembered until lock or secret change; that a secret is wrong, too."""
        row = _row(connection)
        secret, shown = self._secret(row)
        if known := self._remembered(row.lock, secret):
            return known
        tried = row.lock, _digest(secret)
        try:
            box = None if tried == self._refused else unlock(row.lock, secret)
        except Damaged as error:
            raise VaultError(f"{self._path}: {error} – restore the file from a backup; {GONE}") from None
        if box is None:
            self._refused = tried
            raise WrongSecret(
                f"{shown} is not the secret that the keys in {self._path} are sealed with – "
                f"give back the old one, and change it with: {command('keys')} rotate-secret; {GONE}"
            )
        self._remember(row.lock, secret, box)
        return box

    def plan(self, name: str | None = None, secret: str | None = None) -> Plan:
        """A new lock, with its secret in the place of that name, else in the usual one. `secret`: for RELAY_SECRET, else its value."""
        name = ENVIRONMENT if secret is not None else name
        try:
            place = place_named(name, self._environ, self._path) if name else usual_place(self._environ, self._path)
            id, drawn = fresh()
            chosen = (secret or place.get("") or "") if place.name == ENVIRONMENT else drawn
        except Unavailable as error:
            raise VaultError(str(error)) from None
        if len(chosen) < SHORTEST:
            raise VaultError(f"{VARIABLE} must have {SHORTEST} characters or more; a good one: openssl rand -base64 32")
        lock, box = new_lock(chosen, machine_made=place.name != ENVIRONMENT)
        return Plan(place, id, chosen, lock, box)

    def adopt(self, connection: sqlite3.Connection, plan: Plan, *, fall_back: bool) -> Box:
        """Put the lock on. First the secret is kept beside the old one, so that whoever stops here has lost nothing.

        fall_back  take the file when the place, a keyring, refuses
        """
        place = plan.place
        try:
            place.put(plan.id, plan.secret)
        except Unavailable as error:
            if not fall_back or isinstance(place, SecretFile):
                raise VaultError(str(error)) from None
            place = SecretFile(self._path)
            self._put(place, plan)
        connection.execute(
            "UPDATE vault SET place = ?, secret_id = ?, kdf = ?, salt = ?, check_value = ?",
            [place.name, plan.id, plan.lock.kdf, plan.lock.salt, plan.lock.check],
        )
        self._remember(plan.lock, plan.secret, plan.box)
        return plan.box

    def drop(self, connection: sqlite3.Connection, place: str | None, secret_id: str) -> None:
        """Forget a secret that no longer counts; the caller holds the write lock. Raises VaultError."""
        if place is None or secret_id == self.secret_id(connection):
            return
        try:
            place_named(place, self._environ, self._path).drop(secret_id)
        except Unavailable as error:
            raise VaultError(str(error)) from None

    def _put(self, place: Place, plan: Plan) -> None:
        try:
            place.put(plan.id, plan.secret)
        except Unavailable as error:
            raise VaultError(str(error)) from None

    def _secret(self, row: _Row) -> tuple[str, str]:
        """The secret, and what to call its place."""
        try:
            place = place_named(row.place or "", self._environ, self._path)
            secret = place.get(row.secret_id)
        except Unavailable as error:
            raise SecretMissing(f"The keys in {self._path} cannot be opened: {error}") from None
        if secret is None:
            lacks = "is not set" if place.name == ENVIRONMENT else "does not hold it"
            raise SecretMissing(
                f"The secret that opens the keys in {self._path} is missing: {place} {lacks} – bring it back; {GONE}"
            )
        return secret, str(place)

    def _remembered(self, lock: Lock, secret: str) -> Box | None:
        opened = self._opened
        return opened[2] if opened and opened[:2] == (lock, _digest(secret)) else None

    def _remember(self, lock: Lock, secret: str, box: Box) -> None:
        self._opened = lock, _digest(secret), box


def _row(connection: sqlite3.Connection) -> _Row:
    found = connection.execute("SELECT place, secret_id, kdf, salt, check_value FROM vault").fetchone()
    if found is None:
        return _Row(None, "", Lock("", b"", b""))
    return _Row(found[0], str(found[1]), Lock(*found[2:]))


def _digest(secret: str) -> bytes:
    return hashlib.sha256(secret.encode("utf-8", "surrogateescape")).digest()
