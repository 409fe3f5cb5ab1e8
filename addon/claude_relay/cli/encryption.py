"""Checks of `doctor`: are listeners that other machines reach encrypted, and is their certificate good?"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from claude_relay.core.config import Config
from claude_relay.core.config.listening import unencrypted
from claude_relay.store.tls_pair import BadPair, complaints, read

from .checks import FAIL, OK, WARN, Check

REMEDY = "set listen.tls, or listen on 127.0.0.1 behind a program that speaks TLS"


def encryption(config: Config, now: datetime | None = None) -> Iterator[Check]:
    """The certificate of `listen.tls`; without one, each listener that is open to the network."""
    files, now = config.listen.tls, now or datetime.now(UTC)
    if files is None:
        for name, address in unencrypted(config):
            yield Check("tls", WARN, f"listen.{name} is open to the network, {address}, without TLS", REMEDY)
        return
    try:
        pair = read(files.cert, files.key)
    except BadPair as error:
        found, _, remedy = str(error).partition("; ")
        yield Check("tls", FAIL, found, remedy)
        return
    for complaint in complaints(pair, config.listen.hosts, now):
        found, _, remedy = complaint.partition("; ")
        yield Check("tls", FAIL if pair.expires <= now else WARN, found, remedy)
    if is_open(files.key):
        yield Check("tls", WARN, f"others may read {files.key}", f"chmod 600 {files.key}")
    if pair.expires > now:
        yield Check("tls", OK, f"{files.cert}, for {', '.join(pair.names) or 'no host'}, until {pair.expires:%Y-%m-%d}")


def is_open(key: Path) -> bool:
    """Whether everybody on this machine may read it. A group may be there for just that."""
    try:
        return os.name == "posix" and bool(key.stat().st_mode & stat.S_IROTH)
    except OSError:
        return False
