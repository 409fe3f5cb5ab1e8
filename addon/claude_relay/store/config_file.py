"""relay.yaml on the disk: found, read, checked; for commands and the panel. (A running relay follows it by itself.)

    source = read_config("relay.yaml", environ, Path.cwd())         raises ConfigError with every problem
    source.config, source.path, source.text
    save(path, after, seen=before, database=…, actor=…, act=…)      raises ChangedMeanwhile, NotWritten

What this module must not know: what is done with it.
"""

from __future__ import annotations

import errno
import os
import shutil
import sqlite3
from collections.abc import Mapping
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path

from claude_relay.core.config import Config, ConfigError, ConfigProblem, default, lacks_variables, parse
from claude_relay.core.config.locate import base, locate

from . import audit
from .db.database import ChangedMeanwhile, StoreError, connect, explain, transaction
from .db.migrations import migrate
from .db.replacing import replacing

PATIENCE = 5.0
IN_PLACE = (errno.EBUSY, errno.EXDEV, errno.EACCES, errno.EPERM, errno.EROFS)
"""Why a file cannot be replaced that may be written all the same: it is mounted by itself, or its folder is somebody else's."""


class NotWritten(StoreError):
    """The file cannot be written; the message says why."""


@dataclass(frozen=True, slots=True)
class Source:
    """A configuration and where it came from; `path` None: the defaults.

    lacks    why only the sections that concern clients could be read
    listens  whether `listen` was among them
    """

    config: Config
    path: Path | None
    text: bytes
    lacks: ConfigError | None = None
    listens: bool = True


def text_of(path: Path) -> bytes:
    """What a file says; nothing where there is none. Raises NotWritten for one that cannot be read."""
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return b""
    except OSError as error:
        raise NotWritten(f"{path} cannot be read: {error.strerror}") from None


def save(path: Path, text: bytes, *, seen: bytes, database: Path, actor: audit.Actor, act: audit.Act) -> None:
    """Give a file, or the one that a link leads to, another text at once; its mode stays.

    seen      what it must say still
    database  where the act is written down, in the transaction that keeps others from writing the file meanwhile

    Raises ChangedMeanwhile, NotWritten, StoreError.
    """
    try:
        with closing(connect(database, patience=PATIENCE)) as connection:
            migrate(connection)
            with transaction(connection):
                if text_of(path) != seen:
                    raise ChangedMeanwhile(f"{path.name} has changed since you looked")
                audit.write(connection, actor, act)
                _write(path.resolve(), text)
    except sqlite3.Error as error:
        raise StoreError(explain(database, error)) from error


def _write(path: Path, text: bytes) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        exists = path.exists()
        try:
            with replacing(path) as unfinished:
                unfinished.write_bytes(text)
                if exists:
                    shutil.copymode(path, unfinished)
        except OSError as error:
            if not exists or error.errno not in IN_PLACE or not os.access(path, os.W_OK):
                raise
            path.write_bytes(text)
    except OSError as error:
        raise NotWritten(
            f"{path} cannot be written: {error.strerror}; change it by hand, or let the panel write it"
        ) from None


def shown_path(path: Path, folder: Path) -> str:
    """A path as a person in that folder would write it."""
    return str(path.relative_to(folder)) if path.is_relative_to(folder) else str(path)


def read_config(path: str | None, environ: Mapping[str, str], folder: Path) -> Source:
    """Find, read and check the configuration, seen from a folder. Raises ConfigError."""
    found = locate(path, environ, folder)
    if found is None:
        return Source(default(environ, folder=base(None, environ)), None, b"")
    try:
        text = found.read_bytes()
    except OSError as error:
        remedy = "name another file, or unset RELAY_CONFIG"
        raise ConfigError([ConfigProblem(shown_path(found, folder), None, "", f"{error.strerror}; {remedy}")]) from None
    where = shown_path(found, folder)
    return Source(parse(text, environ=environ, where=where, folder=found.parent), found, text)


PARTS = (("listen", "database", "intercept"), ("listen", "database"), ("database", "intercept"), ("database",))
"""Sections that concern clients; the first of these that need no variable which is unset."""


def read_for_clients(path: str | None, environ: Mapping[str, str], folder: Path) -> Source:
    """As `read_config`, but where variables are unset that only the relay's own terminal has, without the sections that need them.

    Raises ConfigError when even `database` needs one, or something else is wrong.
    """
    try:
        return read_config(path, environ, folder)
    except ConfigError as error:
        found = locate(path, environ, folder)
        if found is None or not lacks_variables(error):
            raise
        return _part_of(found, error, environ, folder)


def _part_of(found: Path, why: ConfigError, environ: Mapping[str, str], folder: Path) -> Source:
    text = found.read_bytes()
    for sections in PARTS:
        with suppress(ConfigError):
            where = shown_path(found, folder)
            config = parse(text, environ=environ, where=where, folder=found.parent, only=sections)
            return Source(config, found, text, why, "listen" in sections)
    raise why
