"""The certificates that clients are shown by a constrained CA, as real TLS clients see them."""

from __future__ import annotations

import os
import shutil
import socket
import ssl
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest
from mitmproxy.certs import Cert, CertStore

from claude_relay.proxy import confdir
from claude_relay.store import authority
from waiting import PATIENCE

HOSTS = ("api.anthropic.com", "10.1.2.3")
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok"
NODE = """
const [host, port] = process.argv.slice(1);
const servername = /^[0-9.]+$/.test(host) ? undefined : host;
const how = {host: "127.0.0.1", port: +port, servername, checkServerIdentity: () => undefined};
require("tls").connect(how, () => process.exit(0)).on("error", () => process.exit(1));
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    found = tmp_path_factory.mktemp("conf") / "ca"
    authority.ensure(found, HOSTS)
    return found


def names(certificate: Cert) -> list[str]:
    return [str(name.value) for name in certificate.altnames]


def shown(store: CertStore, *hosts: str) -> Cert:
    return confdir.only_permitted(store, hosts[0], [authority.general_name(host) for host in hosts]).cert


def test_a_certificate_has_no_name_for_whose_sake_it_is_refused(folder: Path) -> None:
    store = CertStore.from_store(folder, "mitmproxy", 2048)
    found = shown(store, "127.0.0.1", "api.anthropic.com", "other.example")
    assert (names(found), found.cn) == (["api.anthropic.com"], "api.anthropic.com")
    found = shown(store, "10.1.2.3")
    assert (names(found), found.cn) == (["10.1.2.3"], None)
    assert names(shown(store, "other.example")) == ["other.example"], "with no other, it says what it is"


def test_a_ca_of_mitmproxys_signs_all_names(tmp_path: Path) -> None:
    store = CertStore.from_store(tmp_path, "mitmproxy", 2048)
    found = shown(store, "127.0.0.1", "api.anthropic.com", "other.example")
    assert (names(found), found.cn) == (["127.0.0.1", "api.anthropic.com", "other.example"], "127.0.0.1")


def test_what_is_replaced_is_what_mitmproxy_calls() -> None:
    """The contract with mitmproxy: every certificate comes from there."""
    import inspect

    from mitmproxy.addons.tlsconfig import TlsConfig

    assert "self.certstore.get_cert(" in inspect.getsource(TlsConfig.get_cert)
    given = list(inspect.signature(CertStore.get_cert).parameters)
    assert given[1:] == ["commonname", "sans", "organization", "crl_url"]
    assert TlsConfig.certstore is None  # type: ignore[comparison-overlap]


# -- as clients see it


@pytest.fixture(scope="module")
def serve(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], int]]:
    """serve("a.example") → the port of a server with a certificate for it, signed by mitmproxy's own code."""
    store, place = CertStore.from_store(folder, "mitmproxy", 2048), tmp_path_factory.mktemp("leaves")
    listeners: list[socket.socket] = []
    key = (folder / authority.KEY).read_bytes()

    def start(host: str) -> int:
        leaf = place / f"{host}.pem"
        leaf.write_bytes(key[: key.index(b"-----BEGIN CERT")])
        with leaf.open("ab") as file:
            file.write(shown(store, host).to_pem())
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(leaf)
        listener = socket.create_server(("127.0.0.1", 0))
        listeners.append(listener)
        threading.Thread(target=answer, args=(listener, context), daemon=True).start()
        return int(listener.getsockname()[1])

    yield start
    for listener in listeners:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()


def answer(listener: socket.socket, context: ssl.SSLContext) -> None:
    while True:
        try:
            taken, _ = listener.accept()
        except OSError:
            return
        with closing(taken):
            try:
                with context.wrap_socket(taken, server_side=True) as sock:
                    sock.recv(65536)
                    sock.sendall(ANSWER)
            except OSError:  # refused
                pass


def python(host: str, port: int, ca: Path) -> bool:
    context = ssl.create_default_context(cafile=ca)
    with socket.create_connection(("127.0.0.1", port)) as sock:
        try:
            with context.wrap_socket(sock, server_hostname=host):
                return True
        except ssl.SSLCertVerificationError:
            return False


def run(*command: str, **environ: str) -> bool:
    if shutil.which(command[0]) is None:
        pytest.skip(f"there is no {command[0]}")
    own = {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}
    return (
        subprocess.run(command, env=own | environ, capture_output=True, check=False, timeout=PATIENCE).returncode == 0
    )


def curl(host: str, port: int, ca: Path) -> bool:
    to = ("--connect-to", f"::127.0.0.1:{port}", f"https://{host}:{port}/")
    return run("curl", "-q", "-sS", "-o", os.devnull, "--cacert", str(ca), *to)


def openssl(host: str, port: int, ca: Path) -> bool:
    trusting = ("-CAfile", str(ca), "-verify_return_error", "-brief")
    return run("openssl", "s_client", "-connect", f"127.0.0.1:{port}", *trusting)


def node(host: str, port: int, ca: Path) -> bool:
    return run("node", "-e", NODE, host, str(port), NODE_EXTRA_CA_CERTS=str(ca), NODE_OPTIONS="")


@pytest.mark.parametrize("client", [python, curl, openssl, node])
def test_clients_refuse_what_it_signs_for_other_names(
    folder: Path, serve: Callable[[str], int], client: Callable[[str, int, Path], bool]
) -> None:
    ca = folder / authority.CERTIFICATE
    for host in HOSTS:
        assert client(host, serve(host), ca), host
    for host in ("example.com", "anthropic.com", "10.1.2.4", "127.0.0.1"):
        assert not client(host, serve(host), ca), host
