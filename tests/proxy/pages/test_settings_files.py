"""Files with managed settings."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from claude_relay.proxy.pages import settings_files as files
from claude_relay.proxy.pages.settings_files import SettingsError, SettingsFiles, checksum


def test_the_checksum_is_of_the_settings_and_not_of_the_file() -> None:
    assert checksum({"b": 1, "a": {"d": "é", "c": []}}) == checksum({"a": {"c": [], "d": "é"}, "b": 1})
    # printf '{"a":1,"b":[true,null]}' | sha256sum
    assert checksum({"b": [True, None], "a": 1}) == (
        "sha256:" + __import__("hashlib").sha256(b'{"a":1,"b":[true,null]}').hexdigest()
    )


def test_a_file_is_read_again_when_it_has_changed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file, found = tmp_path / "team.json", SettingsFiles()
    file.write_text('{"model": "a"}')
    first = found.read(tmp_path, file.name)
    assert found.read(tmp_path, file.name) is first
    file.write_text('{"model": "b"}')
    os.utime(file, ns=(1, 1))  # the same size, in the same moment of a coarse clock
    assert found.read(tmp_path, file.name).settings == {"model": "b"}
    monkeypatch.setattr(files, "MOST", 1)
    other = tmp_path / "other.json"
    other.write_text("{}")
    found.read(tmp_path, str(other))
    assert len(found._known) == 1


@pytest.mark.parametrize(
    "content", [None, b"", b"{", b"[1]", b"\xff", b"[" * 200_000, json.dumps({"a": "x" * files.LARGEST}).encode()]
)
def test_what_is_no_file_with_settings(tmp_path: Path, content: bytes | None) -> None:
    file = tmp_path / "team.json"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(SettingsError, match=str(file)):
        SettingsFiles().read(tmp_path, "team.json")
