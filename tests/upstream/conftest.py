"""What tests of the relay's own requests share."""

from __future__ import annotations

from pathlib import Path

import certifi
import pytest

from wire.certs import Authority


@pytest.fixture
def authority(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Authority:
    """An authority that certifi vouches for."""
    authority = Authority(tmp_path / "ca")
    monkeypatch.setattr(certifi, "where", lambda: str(authority.ca_file))
    return authority
