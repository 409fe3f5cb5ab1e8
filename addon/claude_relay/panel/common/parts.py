"""What every handler works with.

    parts = parts_of(request)
    parts.source().config           relay.yaml as it is on the disk now; raises ConfigError
    parts.vault(visitor.actor)      keys
    parts.keyring(visitor.actor)    those of relay.yaml, too, as the relays have them
    parts.clients                   clients and groups
    with parts.ledger() as db:      one connection for reading; raises MissingDatabase before the first relay ran
    parts.recent                    what was worked out a moment ago
    parts.relays()                  those that run, each with what it last said of itself
    parts.notices                   what somebody should look at
    parts.through                   the way to models, through a relay that runs
    parts.guesses                   wrong codes and client keys, as relays count them
    parts.jobs                      what goes on behind answers

The database is that of the configuration when the panel began. All of it waits for the disk.
"""

from __future__ import annotations

import os
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

from fastapi import Depends
from starlette.requests import HTTPConnection

from claude_relay.core.clients.guesses import Attempts
from claude_relay.core.config import Config, ConfigError
from claude_relay.core.config.locate import before_command
from claude_relay.core.installation import command
from claude_relay.store.audit import Actor
from claude_relay.store.clients.book import ClientBook
from claude_relay.store.config_file import Source, read_for_clients
from claude_relay.store.db.database import read_only
from claude_relay.store.notices import NoticeBook
from claude_relay.store.panel.admins import Admins
from claude_relay.store.panel.api_tokens import Tokens
from claude_relay.store.panel.failures import Failures
from claude_relay.store.panel.second_factors import SecondFactors
from claude_relay.store.panel.sessions import Sessions
from claude_relay.store.shared.all_keys import Keyring
from claude_relay.store.shared.relays import RelayRow, running
from claude_relay.store.shared.remembered import Aliases
from claude_relay.store.vault.vault import Vault

from .jobs import Jobs
from .recent import Recent
from .through_relay import ThroughRelay

type Stamp = tuple[int, int] | None


@dataclass
class Parts:
    """Of one panel.

    named   the configuration that was named at the start; None: where it usually is
    config  as it was then: listeners and database change at a restart
    clock   seconds since the epoch
    kept    what areas keep from one request to the next, by a name of theirs
    """

    named: str | None
    config: Config
    environ: Mapping[str, str] = field(default_factory=lambda: os.environ)
    clock: Callable[[], float] = time.time
    kept: dict[str, Any] = field(default_factory=dict)
    _known: tuple[Stamp, Source] | None = None
    _guard: threading.Lock = field(default_factory=threading.Lock)

    def __post_init__(self) -> None:
        """Open nothing."""
        self.admins = Admins(self.database)
        self.sessions = Sessions(self.database)
        self.tokens = Tokens(self.database)
        self.failures = Failures(self.database)
        self.second_factors = SecondFactors(self.database, self.environ)
        self.clients = ClientBook(self.database)
        self.notices = NoticeBook(self.database)
        self.through = ThroughRelay(self.config, self._file(), self.relays, self.clock)
        self.guesses = Attempts(each=10, all=200, within=600.0)
        self.recent = Recent()
        self.jobs = Jobs()
        self.aliases = Aliases(self.database)
        self._naming = threading.Lock()
        self.last: dict[str, tuple[Any, Any]] = {}
        """What an area worked out last: its name → what it was worked out from, and the result."""

    def _file(self) -> Path | None:
        try:
            return self.source().path
        except ConfigError:
            return None

    def command(self, name: str) -> str:
        """How a command is called here, with this configuration."""
        return before_command(self._file(), self.environ) + command(name)

    @property
    def database(self) -> Path:
        """The file."""
        return self.config.database

    def source(self) -> Source:
        """The configuration now; where variables are unset that only the relay has, without the sections that need them.

        Raises ConfigError with every problem.
        """
        with self._guard:
            if self._known is not None and self._known[0] == _stamp(self._known[1].path):
                return self._known[1]
            found = read_for_clients(self.named, self.environ, Path.cwd())
            self._known = _stamp(found.path), found
            return found

    def in_force(self) -> Config:
        """The configuration now, or, while the file is broken, as it was last."""
        try:
            return self.source().config
        except ConfigError:
            return self._known[1].config if self._known is not None else self.config

    def vault(self, actor: Actor | None) -> Vault:
        """The keys; what is done to them is done by `actor`."""
        return Vault(self.database, environ=self.environ, actor=actor)

    def keyring(self, actor: Actor | None) -> Keyring:
        """All keys; what is done to them is done by `actor`. Providers that need variables which only the relay has are not in it."""
        try:
            source = self.source()
            config = source.config if source.lacks is None else source.config.model_copy(update={"providers": {}})
        except ConfigError:
            config = self.in_force()
        found = Keyring(config, self.vault(actor), self.relays(), self.aliases)
        with self._naming:  # names are read one at a time
            assert found.configured is not None
        return found

    @contextmanager
    def ledger(self) -> Iterator[sqlite3.Connection]:
        """A connection that reads. Raises StoreError."""
        with closing(read_only(self.database)) as connection:
            yield connection

    def relays(self) -> tuple[RelayRow, ...]:
        """Those that run over this database."""
        return running(self.database, self.clock())


def parts_of(request: HTTPConnection) -> Parts:
    """Those of the application that serves a request."""
    found: Parts = request.app.state.parts
    return found


Own = Annotated[Parts, Depends(parts_of)]
"""A parameter of a handler: the parts."""


def _stamp(path: Path | None) -> Stamp:
    try:
        found = path.stat() if path is not None else None
    except OSError:
        return None
    return None if found is None else (found.st_mtime_ns, found.st_size)
