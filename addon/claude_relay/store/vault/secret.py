"""Where the vault's secret is kept: the variable RELAY_SECRET, the system's keyring, or a file beside the database.

    place = usual_place(environ, Path("relay.db"))          the first of the three that is there
    found = place.get(id)                                   None: it is not there any more

A secret in the keyring or the file is drawn by the machine and has an id; the database names the id that counts. So an old
and a new one can lie side by side while one takes the other's place, and whoever is interrupted then finds both.
Who calls `put` and `drop` holds the database's write lock, so that no two change the file at once.

What this module must not know: what the secret is for (`sealing`).
"""

from __future__ import annotations

import importlib
import os
import re
import secrets
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from claude_relay.store.db.replacing import replacing

LEFT = 60.0
"""Seconds after which an unfinished file is of somebody who was killed."""
VARIABLE = "RELAY_SECRET"
ENVIRONMENT, KEYRING, FILE = "environment", "keyring", "file"
SHORTEST = 16
SERVICE = "claude-relay"
SUFFIX = ".secret"
GOOD_ENOUGH = 1
"""Keyring's own scale: backends below it keep nothing secret. https://keyring.readthedocs.io/en/latest/#write-your-own-backend"""
HEADING = """\
# Opens the keys in the database beside this file; without it they are lost. Let nobody read it, and keep it out of the
# database's backups. One secret a line, after its id.
"""
_LINE = re.compile(r"([0-9a-f]{16}) ([\w-]{43})", re.ASCII)


class Unavailable(Exception):
    """The place cannot be used; says which and why, without what is in it."""


class Place(Protocol):
    """Where secrets are kept. All methods raise Unavailable."""

    name: str

    def get(self, id: str) -> str | None:
        """The secret of that id, None when there is none."""

    def put(self, id: str, secret: str) -> None:
        """Keep a secret beside the others; it is safe on the disk when this returns."""

    def drop(self, id: str) -> None:
        """Forget one; no trouble when it is not there."""


class Environment:
    """RELAY_SECRET: its owner keeps it, so there is only the one."""

    name = ENVIRONMENT

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._environ = environ

    def __str__(self) -> str:
        """The variable's name."""
        return VARIABLE

    def get(self, id: str) -> str | None:
        """What it holds; an empty one counts as unset."""
        return self._environ.get(VARIABLE) or None

    def put(self, id: str, secret: str) -> None:
        """Nothing: setting it is up to whoever starts the relay."""

    def drop(self, id: str) -> None:
        """Nothing, likewise."""


class SystemKeyring:
    """The system's keyring, through the package `keyring`, which is no dependency."""

    name = KEYRING

    def __init__(self, backend: Any) -> None:
        self._backend = backend

    def __str__(self) -> str:
        """As people call it."""
        return "the system's keyring"

    @classmethod
    def find(cls) -> SystemKeyring | None:
        """None where the package is missing, or nothing behind it keeps secrets."""
        try:
            backend = importlib.import_module("keyring").get_keyring()
            return cls(backend) if backend.priority >= GOOD_ENOUGH else None
        except Exception:  # somebody else's plugins, on whatever system: then it is not usable
            return None

    def get(self, id: str) -> str | None:
        """The secret."""
        found = self._call("get_password", id)
        return None if found is None else str(found)

    def put(self, id: str, secret: str) -> None:
        """Keep it, and make sure that it is kept."""
        self._call("set_password", id, secret)
        if self.get(id) != secret:
            raise Unavailable(f"{self} forgets what it is given")

    def drop(self, id: str) -> None:
        """Forget it."""
        if self.get(id) is not None:
            self._call("delete_password", id)

    def _call(self, method: str, *arguments: str) -> Any:
        try:
            return getattr(self._backend, method)(SERVICE, *arguments)
        except Exception as error:  # its errors have no common ancestor; some texts repeat what they were given
            raise Unavailable(f"{self} cannot be used ({type(error).__name__}); unlock it and try again") from None


class SecretFile:
    """`<database>.secret`, mode 0600."""

    name = FILE

    def __init__(self, database: Path) -> None:
        target = Path(os.path.realpath(database))
        self.path = target.with_name(target.name + SUFFIX)

    def __str__(self) -> str:
        """The file's path."""
        return str(self.path)

    def get(self, id: str) -> str | None:
        """The secret."""
        return self._read().get(id)

    def put(self, id: str, secret: str) -> None:
        """Add it; secrets of other databases that had this name stay."""
        self._write(self._read() | {id: secret})

    def drop(self, id: str) -> None:
        """Take it out."""
        kept = self._read()
        if kept.pop(id, None) is None:
            return
        if kept:
            self._write(kept)
        else:
            self.path.unlink(missing_ok=True)

    def readable_by_others(self) -> bool:
        """Whether anybody but its owner may read or change it."""
        return os.name != "nt" and self.path.exists() and bool(self.path.stat().st_mode & 0o077)

    def _read(self) -> dict[str, str]:
        try:
            text = self.path.read_bytes()
        except FileNotFoundError:
            return {}
        except OSError as error:
            raise Unavailable(f"{self.path} cannot be read: {error.strerror}") from None
        lines = text.decode("ascii", "replace").splitlines()
        return dict(found.groups() for line in lines if (found := _LINE.fullmatch(line.strip())))  # type: ignore[misc]

    def _write(self, kept: Mapping[str, str]) -> None:
        """Whole or not at all: a new file takes the old one's place."""
        text = HEADING + "".join(f"{id} {secret}\n" for id, secret in kept.items())
        try:
            for left in self.path.parent.glob(f".{self.path.name}.*"):
                if time.time() - left.stat().st_mtime > LEFT:
                    left.unlink(missing_ok=True)
            with replacing(self.path) as unfinished:
                unfinished.write_text(text, "ascii")
        except OSError as error:
            raise Unavailable(f"{self.path} cannot be written: {error.strerror}") from None


def usual_place(environ: Mapping[str, str], database: Path) -> Place:
    """Where a new secret goes: RELAY_SECRET when it is set, else a keyring, else the file."""
    if environ.get(VARIABLE):
        return Environment(environ)
    return SystemKeyring.find() or SecretFile(database)


def place_named(name: str, environ: Mapping[str, str], database: Path) -> Place:
    """The place of that name. Raises Unavailable when this machine has none, or the name is none."""
    match name:
        case "environment":
            return Environment(environ)
        case "file":
            return SecretFile(database)
        case "keyring":
            if found := SystemKeyring.find():
                return found
            raise Unavailable(
                "the system's keyring is needed, but the package 'keyring' or a keyring behind it is missing"
            )
    raise Unavailable("the place of the secret is unknown to this version")


def fresh() -> tuple[str, str]:
    """A new id and a new secret of 256 bits."""
    return secrets.token_hex(8), secrets.token_urlsafe(32)
