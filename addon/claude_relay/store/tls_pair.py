"""The certificate that the listeners show to their clients, with its key: read, checked, looked at again.

    pair = read(Path("fullchain.pem"), Path("privkey.pem"))     raises BadPair: a sentence with the remedy
    complaints(pair, ["relay.example.com"], now)                what does not keep the relay from using it, but clients perhaps
    stamp(cert, key) != before                                  somebody has renewed it

What this module must not know: who listens, and how TLS is spoken.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes, PublicKeyTypes
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key

SOON = timedelta(days=14)
"""So long before its end somebody has to see to a certificate: those that are renewed by programs are renewed earlier."""

type Stamp = tuple[tuple[int, int, int] | None, ...]


class BadPair(Exception):
    """The files cannot be used; why, and what to do."""


@dataclass(frozen=True, slots=True)
class Pair:
    """`chain`: the listeners' own certificate, then those between it and its authority."""

    chain: tuple[x509.Certificate, ...]
    key: PrivateKeyTypes = field(repr=False)

    @property
    def expires(self) -> datetime:
        """The end of its own certificate, UTC."""
        return self.chain[0].not_valid_after_utc

    @property
    def names(self) -> tuple[str, ...]:
        """Host names and IP addresses that it is for."""
        try:
            found = self.chain[0].extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        except x509.ExtensionNotFound:
            return ()
        return (
            *(name.lower() for name in found.get_values_for_type(x509.DNSName)),
            *map(str, found.get_values_for_type(x509.IPAddress)),
        )


def read(cert: Path, key: Path) -> Pair:
    """Both files. Raises BadPair."""
    try:
        chain = tuple(x509.load_pem_x509_certificates(_bytes(cert, "cert")))
    except ValueError:
        raise BadPair(f"listen.tls.cert: {cert} holds no certificate in PEM (-----BEGIN CERTIFICATE-----)") from None
    try:
        private = load_pem_private_key(_bytes(key, "key"), None)
    except TypeError:
        why = "is locked with a password, which nobody types at a start; give one without: openssl pkey -in … -out …"
        raise BadPair(f"listen.tls.key: {key} {why}") from None
    except ValueError:
        raise BadPair(f"listen.tls.key: {key} holds no private key in PEM (-----BEGIN PRIVATE KEY-----)") from None
    own = _public(private.public_key())
    if _public(chain[0].public_key()) != own:
        if any(_public(other.public_key()) == own for other in chain):
            raise BadPair(f"listen.tls.cert: in {cert} the listeners' own certificate must come first, then the others")
        raise BadPair(f"listen.tls: {key} is not the key of {cert}; give both of one pair")
    return Pair(chain, private)


def complaints(pair: Pair, hosts: Sequence[str], now: datetime) -> Iterator[str]:
    """What clients may refuse, a sentence each. `hosts`: by which names the listeners are called, as relay.yaml says."""
    begins, ends = pair.chain[0].not_valid_before_utc, pair.expires
    if ends <= now:
        yield f"the certificate of listen.tls ended on {ends:%Y-%m-%d}, so clients refuse it; renew it"
    elif ends - now <= SOON:
        yield f"the certificate of listen.tls ends on {ends:%Y-%m-%d}; renew it"
    elif begins > now:
        yield f"the certificate of listen.tls begins on {begins:%Y-%m-%d}, so clients refuse it; is the clock right?"
    names = pair.names
    if lacking := [host for host in hosts if not covers(names, host)]:
        yield f"the certificate of listen.tls is for {_few(names)}, not for {_few(lacking)} of listen.hosts"
    elif not hosts and (called := [name for name in names if not _is_always_meant(name)]):
        yield f"requests to {_few(called)} are refused, as the certificate's names are not in listen.hosts; add them"


def covers(names: Sequence[str], host: str) -> bool:
    """Whether a certificate with these names is for a host. A `*` stands for one whole label, the first (RFC 9525, section 6.3)."""
    host = host.lower().rstrip(".")
    with suppress(ValueError):
        return str(ipaddress.ip_address(host)) in names
    return host in names or f"*.{host.partition('.')[2]}" in names


def stamp(*files: Path) -> Stamp:
    """What changes when one of them is edited or replaced, through links too."""
    return tuple(map(_stamp, files))


def _stamp(file: Path) -> tuple[int, int, int] | None:
    try:
        found = file.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino


def _bytes(path: Path, name: str) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise BadPair(f"listen.tls.{name}: there is no {path}; paths start from the folder of relay.yaml") from None
    except OSError as error:
        raise BadPair(f"listen.tls.{name}: {path} cannot be read: {error.strerror}") from None


def _public(key: PublicKeyTypes) -> bytes:
    return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def _is_always_meant(name: str) -> bool:
    """`localhost` and addresses are names of every listener."""
    with suppress(ValueError):
        return bool(ipaddress.ip_address(name))
    return name == "localhost"


def _few(names: Sequence[str]) -> str:
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return (", ".join(names[:3]) or "no host at all") + more
