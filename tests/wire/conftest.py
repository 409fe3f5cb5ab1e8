"""Fixtures of the wire tests."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Protocol

import pytest

from claude_relay.store.db.database import connect
from claude_relay.store.db.migrations import migrate

from .certs import Authority
from .clients import Answer, H2Client, RawClient
from .forked import Breeder
from .relay import Relay, config, make_confdir
from .upstream import FakeUpstream


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """Signs the upstreams' certificates."""
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="session")
def confdir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """mitmproxy's CA, made once."""
    return make_confdir(tmp_path_factory.mktemp("mitmproxy"))


@pytest.fixture(scope="session")
def new_ledger(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A ledger without rows. Making its tables takes a quarter of a relay's start, and most tests are not about that."""
    path = tmp_path_factory.mktemp("ledger") / "relay.db"
    with contextlib.closing(connect(path, patience=1)) as connection:
        migrate(connection)
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    return path


@pytest.fixture(scope="session")
def breeder() -> Iterator[Breeder]:
    """Whose children are relays."""
    with Breeder() as found:
        yield found


@pytest.fixture
def upstream() -> Iterator[FakeUpstream]:
    with FakeUpstream() as found:
        yield found


@pytest.fixture
def claude_host(authority: Authority) -> Iterator[FakeUpstream]:
    """The upstream behind the name api.anthropic.com."""
    with FakeUpstream(authority.server_context("api.anthropic.com", "127.0.0.1")) as found:
        yield found


@pytest.fixture
def stack() -> Iterator[contextlib.ExitStack]:
    """Closes what a test opens, last first."""
    with contextlib.ExitStack() as found:
        yield found


StartRelay = Callable[..., Relay]


@pytest.fixture
def start(
    tmp_path: Path, confdir: Path, authority: Authority, upstream: FakeUpstream, new_ledger: Path
) -> Iterator[StartRelay]:
    """start(keys=[…], retry={…}) runs the relay before the upstream; start(text) with a whole configuration."""
    with contextlib.ExitStack() as stack:

        def run(
            text: Any = ..., *, keys: list[str] | None = None, relay: dict[str, Any] | None = None, **sections: Any
        ) -> Relay:
            if text is ...:
                text = config(upstream.url, ["good-1"] if keys is None else keys, **sections)
            if not (tmp_path / new_ledger.name).exists():
                shutil.copy(new_ledger, tmp_path / new_ledger.name)
            return stack.enter_context(Relay(tmp_path, confdir, text, upstream_ca=authority.ca_file, **relay or {}))

        yield run


class Talker(Protocol):
    """What `RawClient` and `H2Client` have in common."""

    def ask(self, method: str, path: str, **parts: Any) -> Answer: ...


CLIENTS: dict[str, Callable[[Relay], RawClient | H2Client]] = {
    "base url": lambda relay: RawClient(relay.base_port),
    "proxy": lambda relay: RawClient.through(relay.proxy_port, relay.ca_file),
    "proxy h2": lambda relay: H2Client.through(relay.proxy_port, relay.ca_file),
}
"""The ways to the relay."""

Dial = Callable[[Relay], Talker]


@pytest.fixture(params=CLIENTS)
def dial(request: pytest.FixtureRequest, stack: contextlib.ExitStack) -> Dial:
    """Connects to the relay, in each of the ways."""
    return lambda relay: stack.enter_context(CLIENTS[request.param](relay))


@pytest.fixture
def base_client(stack: contextlib.ExitStack) -> Callable[[Relay], RawClient]:
    """Connects through the base URL."""
    return lambda relay: stack.enter_context(RawClient(relay.base_port))


@pytest.fixture
def proxy_client(stack: contextlib.ExitStack) -> Callable[..., RawClient]:
    """Connects through CONNECT and TLS."""
    return lambda relay, **how: stack.enter_context(RawClient.through(relay.proxy_port, relay.ca_file, **how))


@pytest.fixture
def h2_client(stack: contextlib.ExitStack) -> Callable[..., H2Client]:
    """Speaks HTTP/2 through CONNECT and TLS."""
    return lambda relay, **how: stack.enter_context(H2Client.through(relay.proxy_port, relay.ca_file, **how))
