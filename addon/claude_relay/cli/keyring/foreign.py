"""Credentials from another gateway's file, each with the provider of relay.yaml that is at the same host."""

from __future__ import annotations

import os
from pathlib import Path

from claude_relay.cli.console.foreign_files import read_document
from claude_relay.cli.console.terminal import echo
from claude_relay.core.imports.gateways import SOURCES
from claude_relay.store.vault.new_keys import foreign
from claude_relay.store.vault.reading import Entry

from .keyring import Keyring


def entries_of(keyring: Keyring, file: Path, source: str, provider: str | None) -> list[Entry]:
    """The keys that have a provider here; says which have none. Raises ValueError for what is no such file."""
    reader = SOURCES[source]
    found = reader.credentials(read_document(file, reader.tables), os.environ)
    for note in found.notes:
        echo(f"{note[:1].upper()}{note[1:]}.", err=True)
    entries, left_out = foreign(found.credentials, keyring.config.providers, provider)
    for line in left_out:
        echo(line.replace("or say which.", "or say --provider."), err=True)
    return entries
