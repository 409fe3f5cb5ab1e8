"""The listeners' certificate and its key, as people and programs leave them on the disk."""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)

from claude_relay.store.tls_pair import BadPair, Pair, complaints, covers, read, stamp
from wire.certs import Authority

NOW = datetime.now(UTC)


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture
def cert(tmp_path: Path) -> Path:
    return tmp_path / "cert.pem"


@pytest.fixture
def key(tmp_path: Path) -> Path:
    return tmp_path / "key.pem"


def made(authority: Authority, cert: Path, key: Path, *names: str, expired: bool = False) -> Pair:
    authority.write_pair(cert, *names, key_file=key, expired=expired)
    return read(cert, key)


def test_a_pair_in_two_files_and_in_one(authority: Authority, cert: Path, key: Path) -> None:
    pair = made(authority, cert, key, "relay.example.com", "10.0.0.5")
    assert pair.names == ("relay.example.com", "10.0.0.5")
    assert "key" not in repr(pair)
    both = cert.with_name("both.pem")
    both.write_bytes(key.read_bytes() + cert.read_bytes() + authority.ca_file.read_bytes())
    assert len(read(both, both).chain) == 2


def test_what_is_wrong_and_what_to_do(authority: Authority, cert: Path, key: Path, tmp_path: Path) -> None:
    made(authority, cert, key, "a.example")
    other = tmp_path / "other.pem"
    authority.write_pair(tmp_path / "x.pem", "b.example", key_file=other)
    locked, reversed_, none = tmp_path / "locked.pem", tmp_path / "reversed.pem", tmp_path / "none.pem"
    private = load_pem_private_key(key.read_bytes(), None)
    locked.write_bytes(private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"pw")))
    reversed_.write_bytes(authority.ca_file.read_bytes() + cert.read_bytes())
    none.write_bytes(b"nothing in PEM")
    for files, words in {
        (none, key): "holds no certificate in PEM",
        (cert, none): "holds no private key in PEM",
        (key, key): "holds no certificate in PEM",
        (cert, cert): "holds no private key in PEM",
        (tmp_path / "gone.pem", key): r"listen\.tls\.cert: there is no .*gone\.pem; paths start from",
        (cert, tmp_path): r"listen\.tls\.key: .* cannot be read: Is a directory",
        (cert, other): "is not the key of",
        (cert, locked): "is locked with a password",
        (reversed_, key): "must come first",
    }.items():
        with pytest.raises(BadPair, match=words):
            read(*files)


@pytest.mark.parametrize(
    ("names", "host", "expected"),
    [
        (["relay.example.com"], "RELAY.example.com.", True),
        (["*.example.com"], "relay.example.com", True),
        (["*.example.com"], "a.relay.example.com", False),
        (["*.example.com"], "example.com", False),
        (["example.com"], "relay.example.com", False),
        (["10.0.0.5"], "10.0.0.5", True),
        (["::1"], "0:0::1", True),
        (["*.0.0.5"], "10.0.0.5", False),
        ([], "localhost", False),
    ],
)
def test_names(names: list[str], host: str, expected: bool) -> None:
    assert covers(names, host) is expected


def test_complaints(authority: Authority, cert: Path, key: Path) -> None:
    pair = made(authority, cert, key, "relay.example.com", "localhost", "10.0.0.5")
    hosts = ["relay.example.com"]
    assert list(complaints(pair, hosts, NOW)) == []
    day = timedelta(days=1)
    assert list(complaints(pair, hosts, pair.expires - 15 * day)) == []
    for when, words in ((pair.expires - 13 * day, "ends on"), (pair.expires, "ended on"), (NOW - 9 * day, "begins on")):
        [found] = complaints(pair, hosts, when)
        assert words in found
    [found] = complaints(pair, [*hosts, "other.example"], NOW)
    assert found.endswith("not for other.example of listen.hosts")
    [found] = complaints(pair, [], NOW)
    assert found.startswith("requests to relay.example.com are refused")
    assert list(complaints(made(authority, cert, key, "127.0.0.1", "localhost"), [], NOW)) == []


def test_a_stamp_is_another_one_after_a_change(cert: Path, key: Path, tmp_path: Path) -> None:
    cert.write_bytes(b"1")
    (tmp_path / "live").symlink_to(cert)
    before = stamp(tmp_path / "live", key)
    assert before == stamp(tmp_path / "live", key)
    fresh = tmp_path / "fresh"
    fresh.write_bytes(b"2")
    os.utime(fresh, ns=(cert.stat().st_atime_ns, cert.stat().st_mtime_ns))
    (tmp_path / "link").symlink_to(fresh)
    (tmp_path / "link").replace(tmp_path / "live")  # as programs that renew certificates do
    assert stamp(tmp_path / "live", key) != before
