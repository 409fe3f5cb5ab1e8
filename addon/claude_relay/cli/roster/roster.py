"""The configuration, the clients and the actor of one call."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import click

from claude_relay.cli.console.acting import acting
from claude_relay.cli.console.common import Source, load_source, read_for_clients
from claude_relay.core.config.problems import shown, suggest
from claude_relay.core.installation import command
from claude_relay.store.audit import Actor
from claude_relay.store.clients.book import ClientBook
from claude_relay.store.clients.rows import StoredClient, StoredGroup

NONE = f"No client yet. Add one: {command('clients')} add NAME"


@dataclass(frozen=True)
class Roster:
    """What every sub-command works with."""

    source: Source
    path: Path
    book: ClientBook
    actor: Actor = field(default_factory=acting)

    @classmethod
    def enter(cls, config: str | None, database: Path | None) -> Roster:
        """Load the configuration; ends with status 2 when it is broken."""
        source = load_source(config, read_for_clients)
        path = database or source.config.database
        return cls(source, path, ClientBook(path))

    def clients(self, names: tuple[str, ...] = (), *, removed: bool = False) -> tuple[StoredClient, ...]:
        """Those of these names, in this order; without names all, by name. Raises ClientError for a name that nobody has."""
        if names:
            return tuple(self.book.client(name) for name in dict.fromkeys(names))
        return tuple(client for client in self.book.clients() if removed or client.removed_at is None)

    def groups(self, names: tuple[str, ...] = (), *, removed: bool = False) -> tuple[StoredGroup, ...]:
        """The same of groups."""
        if names:
            return tuple(self.book.group(name) for name in dict.fromkeys(names))
        return tuple(group for group in self.book.groups() if removed or group.removed_at is None)

    def check_providers(self, names: tuple[str, ...]) -> None:
        """That relay.yaml has providers of these names, where it could be read. Raises UsageError."""
        known = list(self.source.config.providers)
        if self.source.lacks is not None:
            return
        for name in names:
            if name not in known:
                raise click.UsageError(f"relay.yaml has no provider '{shown(name)}'; {suggest(name, known)}")
