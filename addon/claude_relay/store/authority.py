"""The certificate authority that clients of the proxy trust: made once, in mitmproxy's form, for the intercepted hosts and no others.

    folder = usual_folder(os.environ)               ~/.mitmproxy/claude-relay, or ~/.mitmproxy where mitmproxy's own CA is in use
    ensure(folder, ["api.anthropic.com"])           makes one where there is none; raises OSError
    misfit(folder, ["example.com"])                 a sentence with the remedy: clients would refuse what it signs for that host

Whoever gets hold of the key of a CA can pass for any host before all programs that trust it. So this one is constrained (RFC 5280,
section 4.2.1.10, critical): clients refuse what it signs for another name, and for any IP address that was not named. A CA that is
there already, made by mitmproxy or by a person, is left alone.

What this module must not know: configurations, mitmproxy itself.
"""

from __future__ import annotations

import ipaddress
import os
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, pkcs12
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from claude_relay.core.installation import command

from .db.folders import make_private, unwritable
from .db.replacing import replacing

NAME = "Claude Relay CA"
KEY, CERTIFICATE = "mitmproxy-ca.pem", "mitmproxy-ca-cert.pem"
"""mitmproxy's names: https://docs.mitmproxy.org/stable/concepts/certificates/"""
BITS = 2048
"""As mitmproxy's. It uses the same key in every handshake, so that a longer one would slow each of them."""
LIFETIME, BACKDATED = timedelta(days=10 * 365), timedelta(days=2)
"""As mitmproxy's; clocks of clients may be late."""
MISFIT = (
    "programs will refuse the relay's certificates for {} and not connect, because the CA in {folder} was made for other hosts; end the "
    "relay, delete the files mitmproxy-ca* in that folder, start it again, and run {env} anew in every shell"
)
EVERY_ADDRESS = tuple(map(ipaddress.ip_network, ("0.0.0.0/0", "::/0")))


def usual_folder(environ: Mapping[str, str]) -> Path:
    """Where the CA is when nobody names a folder.

    One of the relay's own, for a constrained CA is of no use to other work with mitmproxy. But where clients trust mitmproxy's CA
    already, because an earlier relay or mitmproxy itself made it, that stays the one, as long as there is no other.
    """
    mitmproxy = Path(environ.get("HOME") or "~").expanduser() / ".mitmproxy"
    own = mitmproxy / "claude-relay"
    return mitmproxy if os.path.isfile(mitmproxy / KEY) and not os.path.isfile(own / KEY) else own


def obstacle(folder: Path) -> tuple[Path, str] | None:
    """A folder in which no file can be made, this one or the one above it, and why; None when a CA can be made."""
    places = (folder,) if folder.is_dir() else (folder.parent, folder)
    return next(((place, reason) for place in places if (reason := unwritable(place))), None)


def ensure(folder: Path, hosts: Sequence[str], bits: int = BITS) -> None:
    """CA and files are made where they are missing. Two programs may do so at once. Raises OSError, ValueError.

    hosts  host names and IP addresses for which it may sign, if it is made now
    """
    there = os.path.isfile(folder / KEY)
    if there and os.path.isfile(folder / CERTIFICATE):
        return
    if not there:
        make_private(folder)
        _make(folder, hosts, bits)
    _publish(folder)


def certificate(folder: Path) -> x509.Certificate:
    """The CA's. Raises OSError, ValueError."""
    return x509.load_pem_x509_certificate((folder / CERTIFICATE).read_bytes())


def misfit(folder: Path, hosts: Iterable[str]) -> str:
    """What comes of hosts for which the CA may not sign, with the remedy; empty when there is none, or no CA to be read."""
    try:
        ca = certificate(folder)
        beyond = [host for host in hosts if not permits(ca, general_name(host))]
    except (OSError, ValueError):
        return ""
    return MISFIT.format(", ".join(beyond), folder=folder, env=command("env")) if beyond else ""


def is_constrained(ca: x509.Certificate) -> bool:
    """Whether it may sign for some names only."""
    return _constraints(ca) is not None


def permits(ca: x509.Certificate, name: x509.GeneralName) -> bool:
    """Whether clients accept a certificate of this CA with that name."""
    constraints = _constraints(ca)
    if constraints is None:
        return True
    permitted = [tree for tree in constraints.permitted_subtrees or () if type(tree) is type(name)]
    excluded = [tree for tree in constraints.excluded_subtrees or () if type(tree) is type(name)]
    return (not permitted or any(_within(name, tree) for tree in permitted)) and not any(
        _within(name, tree) for tree in excluded
    )


def general_name(host: str) -> x509.DNSName | x509.IPAddress:
    """A host as certificates name it."""
    with suppress(ValueError):
        return x509.IPAddress(ipaddress.ip_address(host))
    return x509.DNSName(host)


def _within(name: x509.GeneralName, tree: x509.GeneralName) -> bool:
    if isinstance(name, x509.IPAddress) and isinstance(tree, x509.IPAddress):
        # A subtree is a network.
        return name.value in tree.value  # type: ignore[operator]
    host, base = str(name.value).lower(), str(tree.value).lower()
    return host == base or host.endswith(f".{base}")


def _constraints(ca: x509.Certificate) -> x509.NameConstraints | None:
    try:
        return ca.extensions.get_extension_for_class(x509.NameConstraints).value
    except x509.ExtensionNotFound:
        return None


def constraints_for(hosts: Iterable[str]) -> x509.NameConstraints:
    """Those hosts and nothing else.

    A kind of name of which no subtree is permitted is not constrained at all, so addresses are excluded where none is named.
    """
    names = [general_name(host) for host in hosts]
    permitted = [x509.IPAddress(ipaddress.ip_network(n.value)) if isinstance(n, x509.IPAddress) else n for n in names]
    by_address = any(isinstance(name, x509.IPAddress) for name in names)
    if not any(isinstance(name, x509.DNSName) for name in names):
        permitted.append(x509.DNSName("invalid"))  # RFC 6761: a name that nobody has
    return x509.NameConstraints(permitted, None if by_address else [x509.IPAddress(every) for every in EVERY_ADDRESS])


def _make(folder: Path, hosts: Sequence[str], bits: int) -> None:
    """Key and certificate, in one file as mitmproxy wants it. Of two that do so at once the first one wins, and both use that."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=bits)
    ca = _signed(key, constraints_for(hosts))
    private = key.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption())
    with tempfile.TemporaryDirectory(prefix=".ca-", dir=folder) as place:  # for this user alone
        new = Path(place, KEY)
        new.touch(mode=0o600)
        new.write_bytes(private + ca.public_bytes(Encoding.PEM))
        try:
            os.link(new, folder / KEY)
        except FileExistsError:
            return
        except OSError:  # a file system without links
            new.replace(folder / KEY)
    with replacing(folder / "mitmproxy-ca.p12") as file:
        file.write_bytes(pkcs12.serialize_key_and_certificates(b"mitmproxy", key, ca, None, NoEncryption()))


def _publish(folder: Path) -> None:
    """The certificate without its key, in the forms that mitmproxy offers. Everybody may read them."""
    ca = x509.load_pem_x509_certificate((folder / KEY).read_bytes())
    pem = ca.public_bytes(Encoding.PEM)
    p12 = pkcs12.serialize_key_and_certificates(b"mitmproxy", None, ca, None, NoEncryption())
    for name, content in ((CERTIFICATE, pem), ("mitmproxy-ca-cert.cer", pem), ("mitmproxy-ca-cert.p12", p12)):
        with replacing(folder / name) as file:
            file.write_bytes(content)
            file.chmod(0o644)


def _signed(key: rsa.RSAPrivateKey, constraints: x509.NameConstraints) -> x509.Certificate:
    name = x509.Name(
        [x509.NameAttribute(NameOID.COMMON_NAME, NAME), x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Claude Relay")]
    )
    begin = datetime.now(UTC) - BACKDATED
    usage = dict.fromkeys(
        (
            *("digital_signature", "content_commitment", "key_encipherment", "data_encipherment"),
            *("key_agreement", "encipher_only", "decipher_only"),
        ),
        False,
    )
    return (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number(), begin, begin + LIFETIME)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(x509.KeyUsage(**usage, key_cert_sign=True, crl_sign=True), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(constraints, critical=True)
        .sign(key, hashes.SHA256())
    )
