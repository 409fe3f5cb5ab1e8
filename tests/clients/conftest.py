"""Fixtures of the tests with real clients."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from wire.relay import make_confdir
from wire.upstream import FakeUpstream

from . import mind, packages
from .stage import WAYS, Relay, Shell

KEY = "sk-ant-api03-good-key-of-the-tests"


@pytest.fixture(scope="session")
def installed() -> None:
    """Fails where a package is missing."""
    assert packages.missing() is None, packages.missing()


@pytest.fixture(scope="session")
def confdir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """mitmproxy's CA, made once."""
    return make_confdir(tmp_path_factory.mktemp("mitmproxy"))


@pytest.fixture
def upstream() -> Iterator[FakeUpstream]:
    with FakeUpstream(default=mind.step()) as found:
        yield found


@pytest.fixture
def relay(tmp_path: Path, confdir: Path, upstream: FakeUpstream) -> Iterator[Relay]:
    """A relay with one good key."""
    folder = tmp_path / "relay"
    folder.mkdir()
    with Relay(folder, confdir, upstream.url, [KEY]) as found:
        yield found


@pytest.fixture(params=WAYS)
def way(request: pytest.FixtureRequest) -> str:
    found: str = request.param
    return found


@pytest.fixture
def shell(tmp_path: Path, relay: Relay, way: str) -> Shell:
    """A person's shell beside it."""
    return Shell(tmp_path, relay, way)
