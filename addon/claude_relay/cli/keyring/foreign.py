"""Credentials from another gateway's file, each with the provider of relay.yaml that is at the same host."""

from __future__ import annotations

import os
from pathlib import Path
from urllib.parse import urlsplit

from claude_relay.cli.console.foreign_files import read_document
from claude_relay.cli.console.terminal import echo
from claude_relay.core.config.values import OutboundProxy
from claude_relay.core.imports.found import Credential
from claude_relay.core.imports.gateways import SOURCES

from .keyring import Keyring
from .reading import Entry

UNNAMED = "a host that the file does not name"


def entries_of(keyring: Keyring, file: Path, source: str, provider: str | None) -> list[Entry]:
    """The keys that have a provider here; says which have none. Raises ValueError for what is no such file."""
    reader = SOURCES[source]
    found = reader.credentials(read_document(file, reader.tables), os.environ)
    for note in found.notes:
        echo(f"{note[:1].upper()}{note[1:]}.", err=True)
    hosts = {_host(settings.base_url): name for name, settings in reversed(keyring.config.providers.items())}
    entries: list[Entry] = []
    strangers: dict[str, int] = {}
    for one in found.credentials:
        if why := _unusable(one):
            echo(f"Left out: {one.fields.get('label') or one.where}: {why}.", err=True)
            continue
        name = provider or hosts.get(_host(one.base_url))
        if name is None:
            host = _host(one.base_url) or UNNAMED
            strangers[host] = strangers.get(host, 0) + 1
        else:
            entries.append(_entry(one, name))
    for host, count in strangers.items():
        keys = "1 key" if count == 1 else f"{count} keys"
        echo(f"Left out: {keys} for {host}: no provider of relay.yaml is there; add one, or say --provider.", err=True)
    return entries


def _entry(credential: Credential, provider: str) -> Entry:
    return Entry(credential.where, credential.secret, provider, credential.fields)


def _unusable(credential: Credential) -> str:
    """Why a key must not come along: without its own proxy it would be used from somewhere else."""
    try:
        if "proxy" in credential.fields:
            OutboundProxy.parse(credential.fields["proxy"])
    except ValueError as error:
        return f"its proxy: {error}"
    return ""


def _host(url: str) -> str:
    try:
        return (urlsplit(url if "://" in url else f"https://{url}").hostname or "").lower() if url else ""
    except ValueError:
        return ""
