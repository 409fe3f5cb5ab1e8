"""The listeners' certificate is read again when both of its files are done; how clients see that is in tests/wire/test_own_tls."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID
from mitmproxy.addons.tlsconfig import TlsConfig

from claude_relay.core.config import Listen, parse
from claude_relay.proxy.lifecycle.renewal import Renewal
from claude_relay.proxy.mitm.own_tls import OwnTls
from proxy.stage import mitmproxy_with
from wire.certs import Authority

NAME = "relay.example.com"


@pytest.fixture(autouse=True)
def mitmproxy() -> Iterator[None]:
    """With its options for TLS."""
    with mitmproxy_with(TlsConfig()):
        yield


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


@pytest.fixture
def listen(tmp_path: Path) -> Listen:
    text = f"listen: {{tls: {{cert: cert.pem, key: key.pem}}, hosts: [{NAME}]}}"
    return parse(text, environ={}, folder=tmp_path).listen


def write(authority: Authority, folder: Path, **how: bool) -> int:
    return authority.write_pair(folder / "cert.pem", NAME, key_file=folder / "key.pem", **how)[1]


def looks(renewal: Renewal, count: int) -> None:
    async def main() -> None:
        for _ in range(count):
            await renewal.look()

    asyncio.run(main())


def in_use(renewal: Renewal) -> int:
    assert renewal.pair is not None
    return renewal.pair.chain[0].serial_number


def test_a_change_is_taken_when_two_looks_have_found_the_same(
    authority: Authority, listen: Listen, tmp_path: Path
) -> None:
    own = OwnTls()
    renewal = Renewal(own)
    first = write(authority, tmp_path)
    assert renewal.settle(listen) == ""
    contexts = own.contexts
    looks(renewal, 2)
    write(authority, tmp_path)
    looks(renewal, 1)
    assert in_use(renewal) == first
    last = write(authority, tmp_path)
    looks(renewal, 1)
    assert (in_use(renewal), own.contexts) == (first, contexts)
    looks(renewal, 2)
    assert in_use(renewal) == last
    assert own.contexts not in (None, contexts)


def test_what_is_of_no_use_is_said_once(
    authority: Authority, listen: Listen, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    renewal = Renewal(OwnTls())
    first = write(authority, tmp_path)
    renewal.settle(listen)
    (tmp_path / "cert.pem").write_text("half")
    with caplog.at_level(logging.WARNING):
        looks(renewal, 5)
    [said] = caplog.messages
    assert "holds no certificate" in said
    assert in_use(renewal) == first


def test_complaints_are_said_once(
    authority: Authority, listen: Listen, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    renewal = Renewal(OwnTls())
    write(authority, tmp_path, expired=True)
    assert renewal.settle(listen) == ""
    with caplog.at_level(logging.WARNING):
        looks(renewal, 3)
    [said] = caplog.messages
    assert "renew it" in said


def test_a_key_that_openssl_does_not_take(authority: Authority, listen: Listen, tmp_path: Path) -> None:
    weak = rsa.generate_private_key(public_exponent=65537, key_size=1024)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, NAME)])
    now = datetime.now(UTC)
    builder = x509.CertificateBuilder(name, name, weak.public_key(), 1, now, now + timedelta(days=30))
    cert = builder.sign(weak, hashes.SHA256())
    (tmp_path / "cert.pem").write_bytes(cert.public_bytes(Encoding.PEM))
    (tmp_path / "key.pem").write_bytes(weak.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    own = OwnTls()
    assert "is its key long enough" in Renewal(own).settle(listen)
    assert own.contexts is None


def test_nothing_to_look_at(listen: Listen) -> None:
    renewal = Renewal(OwnTls())
    assert renewal.settle(Listen()) == ""
    renewal.start()  # needs no loop
    renewal.stop()
    assert "there is no" in renewal.settle(listen)
