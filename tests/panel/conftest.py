"""A panel for each module, and a browser for each process that needs one.

A module says in PROVIDERS, a text of relay.yaml, what its panel has. Without Chromium its tests are skipped, but not in CI.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from wire.relay import make_confdir

from .browsing import chromium_or_skip, visiting
from .stage import PASSWORD, Panel, running


@pytest.fixture(scope="module")
def panel(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Panel]:
    """Its admin is signed in."""
    with running(tmp_path_factory.mktemp("panel"), getattr(request.module, "RELAY_YAML", "")) as found:
        assert found.sign_in().status == 200
        yield found


@pytest.fixture(scope="session")
def confdir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """mitmproxy's CA, made once, for relays beside a panel."""
    return make_confdir(tmp_path_factory.mktemp("mitmproxy"))


@pytest.fixture(scope="package")
def chromium() -> Iterator[Any]:
    """Not for longer than these tests."""
    with chromium_or_skip() as browser:
        yield browser


@pytest.fixture
def visit(chromium: Any, panel: Panel, request: pytest.FixtureRequest) -> Iterator[Any]:
    """A page of the browser, where the admin is signed in; what a page complains of in its console fails the test."""
    with visiting(chromium, panel, request.node.name) as page:
        yield page


__all__ = ["PASSWORD"]
