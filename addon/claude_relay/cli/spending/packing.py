"""`usage capsule`: one request of the ledger as a document for a bug report.

packed(connection, found, source, texts=False)      -> bytes of JSON
"""

from __future__ import annotations

import os
import platform
import sqlite3
from collections.abc import Iterator, Mapping
from importlib.metadata import PackageNotFoundError, version
from typing import Any, Final

import msgspec

from claude_relay.core.capsules import settings
from claude_relay.core.capsules.capsule import Body, checked, document
from claude_relay.core.config.yaml import YamlError, read
from claude_relay.core.installation import own_version
from claude_relay.core.redacting.redactor import Exchange, Redactor
from claude_relay.core.times import utc
from claude_relay.store.ledger.bodies import read as read_bodies
from claude_relay.store.ledger.lookups import Found
from claude_relay.store.shared.in_force import cooldowns_at

UNREADABLE: Final = "redacted: it is no YAML that can be read"
OWN: Final = (
    "RELAY_SECRET",
    "ANTHROPIC_API_KEY",
    "ANTHROPIC_API_KEYS",
    "ANTHROPIC_AUTH_TOKEN",
    "CLAUDE_CODE_OAUTH_TOKEN",
)
"""Variables whose values are looked for, whether relay.yaml names them or not."""


def packed(
    connection: sqlite3.Connection, found: Found, text: bytes, environ: Mapping[str, str] = os.environ, *, texts: bool
) -> bytes:
    """The capsule. `text`: relay.yaml as it is, empty for none. Raises StoreError."""
    data = _settings(text)
    redactor = Redactor(_known(data, environ), texts=not texts)
    bodies = [Body(kept.n, kept.kind, kept.size, kept.body) for kept in read_bodies(connection, found.request["id"])]
    for body in bodies:
        redactor.learn(Exchange("", "", body=body.data))
    cooldowns = cooldowns_at(connection, utc(found.request["started_at"]).timestamp())
    shown = settings.shown(data, redactor.finder) if isinstance(data, dict) else data
    whole = document(found.request, found.attempts, bodies, cooldowns, shown, versions(), redactor)
    return msgspec.json.format(msgspec.json.encode(checked(whole, redactor)), indent=2) + b"\n"


def versions() -> dict[str, str]:
    """Of what runs here now; of the system its kind."""
    try:
        mitmproxy = version("mitmproxy")
    except PackageNotFoundError:
        mitmproxy = "is not installed"
    return {
        "Claude Relay": own_version(),
        "mitmproxy": mitmproxy,
        "Python": platform.python_version(),
        "system": f"{platform.system()} {platform.release().partition('-')[0]} {platform.machine()}",
    }


def _settings(text: bytes) -> Any:
    try:
        return read(text).data
    except YamlError:
        return UNREADABLE


def _known(data: Any, environ: Mapping[str, str]) -> Iterator[tuple[bytes, bytes]]:
    yield from settings.secrets(data, environ)
    for name in OWN:
        for part in (value := environ.get(name, ""), *value.split(",")):
            yield part.strip().encode("utf-8", "surrogateescape"), b"redacted-key"
