"""What tests of the relay's own requests share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import certifi
import pytest

from claude_relay.upstream import connection
from wire.certs import Authority


@pytest.fixture
def authority(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Authority]:
    """An authority that certifi vouches for."""
    authority = Authority(tmp_path / "ca")
    monkeypatch.setattr(certifi, "where", lambda: str(authority.ca_file))
    connection.context.cache_clear()
    yield authority
    connection.context.cache_clear()
