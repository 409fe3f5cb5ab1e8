"""A certificate authority for the fake upstreams. Elliptic keys, so that a certificate costs a millisecond."""

from __future__ import annotations

import datetime
import ipaddress
import ssl
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

LOCAL_NAMES = ("127.0.0.1", "localhost")
DAY = datetime.timedelta(days=1)


class Authority:
    """Signs leaf certificates. `ca_file` is what a client of the fake upstream must trust."""

    def __init__(self, folder: Path, name: str = "Claude Relay test CA") -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        usage = x509.KeyUsage(True, False, False, False, False, True, True, False, False)
        self.certificate = (
            self._builder(self.name, self.key.public_key(), expired=False)
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .add_extension(usage, critical=True)
            .sign(self.key, hashes.SHA256())
        )
        self.ca_file = folder / "ca.pem"
        self.ca_file.write_bytes(self.certificate.public_bytes(serialization.Encoding.PEM))
        self._contexts: dict[tuple[object, ...], ssl.SSLContext] = {}

    def _builder(self, subject: x509.Name, key: ec.EllipticCurvePublicKey, *, expired: bool) -> x509.CertificateBuilder:
        now = datetime.datetime.now(datetime.UTC)
        start, end = (now - 9 * DAY, now - 2 * DAY) if expired else (now - DAY, now + 30 * DAY)
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self.name)
            .public_key(key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(start)
            .not_valid_after(end)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(self.key.public_key()), critical=False)
        )

    def server_context(
        self, *names: str, alpn: tuple[str, ...] = ("http/1.1",), expired: bool = False
    ) -> ssl.SSLContext:
        """A context for a server called `names`, by default by the names of this machine."""
        wanted = (names or LOCAL_NAMES, alpn, expired)
        if wanted not in self._contexts:
            self._contexts[wanted] = self._make_context(*wanted)
        return self._contexts[wanted]

    def _make_context(self, names: tuple[str, ...], alpn: tuple[str, ...], expired: bool) -> ssl.SSLContext:
        file, _ = self.write_pair(self.folder / f"leaf-{x509.random_serial_number():x}.pem", *names, expired=expired)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(file)
        context.set_alpn_protocols(list(alpn))
        return context

    def write_pair(
        self, file: Path, *names: str, key_file: Path | None = None, expired: bool = False, client: bool = False
    ) -> tuple[Path, int]:
        """Key and certificate of a server or client called `names` into `file`, or the key into another. Also the serial number."""
        key = ec.generate_private_key(ec.SECP256R1())
        usage = ExtendedKeyUsageOID.CLIENT_AUTH if client else ExtendedKeyUsageOID.SERVER_AUTH
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, names[0])])
        leaf = (
            self._builder(subject, key.public_key(), expired=expired)
            .add_extension(x509.SubjectAlternativeName([_general_name(n) for n in names]), critical=False)
            .add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
            .sign(self.key, hashes.SHA256())
        )
        private = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        if key_file is not None:
            key_file.write_bytes(private)
        file.write_bytes((b"" if key_file else private) + leaf.public_bytes(serialization.Encoding.PEM))
        return file, leaf.serial_number

    def client_context(self, alpn: tuple[str, ...] = ("http/1.1",)) -> ssl.SSLContext:
        return client_context(self.ca_file, alpn)


def client_context(ca_file: Path, alpn: tuple[str, ...] = ("http/1.1",)) -> ssl.SSLContext:
    """A client's context that trusts just this authority."""
    context = ssl.create_default_context(cafile=str(ca_file))
    context.set_alpn_protocols(list(alpn))
    return context


def _general_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)
