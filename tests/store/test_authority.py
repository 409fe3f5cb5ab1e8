"""The CA that a first start makes. What real TLS clients take of it: tests/proxy/test_confdir.py."""

from __future__ import annotations

import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from cryptography import x509
from mitmproxy.certs import CertStore

from claude_relay.store import authority

HOSTS = ("api.anthropic.com", "10.1.2.3")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    found = tmp_path_factory.mktemp("conf") / "ca"
    authority.ensure(found, HOSTS)
    return found


# -- what it is


def test_the_files_are_those_of_mitmproxy_and_the_key_is_private(folder: Path) -> None:
    CertStore.from_store(folder, "mitmproxy", 2048)
    modes = {path.name: path.stat().st_mode & 0o777 for path in folder.iterdir() if "ca" in path.name}
    assert modes == {
        "mitmproxy-ca.pem": 0o600,
        "mitmproxy-ca.p12": 0o600,
        "mitmproxy-ca-cert.pem": 0o644,
        "mitmproxy-ca-cert.cer": 0o644,
        "mitmproxy-ca-cert.p12": 0o644,
    }
    assert folder.stat().st_mode & 0o777 == 0o700


def test_it_is_no_weaker_than_mitmproxys_own(folder: Path, tmp_path: Path) -> None:
    theirs = CertStore.from_store(tmp_path, "mitmproxy", 2048).default_ca.to_cryptography()
    ours = authority.certificate(folder)
    assert ours.subject.rfc4514_string() == "O=Claude Relay,CN=Claude Relay CA"
    assert ours.public_key().key_size >= theirs.public_key().key_size  # type: ignore[union-attr]
    assert (ours.not_valid_after_utc - theirs.not_valid_after_utc).days <= 0
    constraints = ours.extensions.get_extension_for_class(x509.NameConstraints)
    assert constraints.critical
    for kind in {type(extension.value) for extension in theirs.extensions}:
        assert ours.extensions.get_extension_for_class(kind)  # type: ignore[type-var]


def test_one_that_is_there_is_left_alone(tmp_path: Path) -> None:
    CertStore.from_store(tmp_path, "mitmproxy", 2048)
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    authority.ensure(tmp_path, HOSTS)
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before
    assert authority.misfit(tmp_path, ["anything.example", "127.0.0.1"]) == ""
    assert not authority.is_constrained(authority.certificate(tmp_path))


def test_the_certificate_comes_back_from_the_key(folder: Path, tmp_path: Path) -> None:
    """A start that was killed in between, or a person who copied one file."""
    shutil.copy(folder / authority.KEY, tmp_path)
    authority.ensure(tmp_path, ["other.example"])
    assert authority.certificate(tmp_path) == authority.certificate(folder)


def test_a_new_key_gets_a_new_certificate(folder: Path, tmp_path: Path) -> None:
    shutil.copy(folder / authority.CERTIFICATE, tmp_path)
    authority.ensure(tmp_path, HOSTS)
    assert authority.certificate(tmp_path) != authority.certificate(folder)


def test_two_starts_at_once_have_one_ca(tmp_path: Path) -> None:
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: authority.ensure(tmp_path, HOSTS), range(4)))
    key = x509.load_pem_x509_certificate((tmp_path / authority.KEY).read_bytes())
    assert authority.certificate(tmp_path) == key
    assert not list(tmp_path.glob(".*"))


def test_where_it_is(tmp_path: Path) -> None:
    environ, mitmproxy = {"HOME": str(tmp_path)}, tmp_path / ".mitmproxy"
    own = mitmproxy / "claude-relay"
    assert authority.usual_folder(environ) == own
    mitmproxy.mkdir()
    (mitmproxy / authority.KEY).touch()
    assert authority.usual_folder(environ) == mitmproxy, "clients trust that one already"
    own.mkdir()
    (own / authority.KEY).touch()
    assert authority.usual_folder(environ) == own, "mitmproxy made its own later"


# -- for which names


@pytest.mark.parametrize(
    ("made_for", "fit", "unfit"),
    [
        (["a.example"], ["a.example", "x.a.example", "A.EXAMPLE"], ["example", "xa.example", "10.1.2.3", "::1"]),
        (["a.example", "10.1.2.3"], ["a.example", "10.1.2.3"], ["10.1.2.4", "::1", "b.example"]),
        (["fd00::1"], ["fd00::1"], ["fd00::2", "10.1.2.3", "a.example"]),
        (["10.1.2.3", "fd00::1"], ["10.1.2.3", "fd00::1"], ["10.1.2.4", "localhost"]),
    ],
)
def test_names(tmp_path: Path, made_for: list[str], fit: list[str], unfit: list[str]) -> None:
    authority.ensure(tmp_path, made_for, bits=1024)
    assert authority.misfit(tmp_path, fit) == ""
    for host in unfit:
        assert f"certificates for {host} and not connect" in authority.misfit(tmp_path, [*fit, host])
