import asyncio
import json
import os
import socket
import sqlite3
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from threading import Thread

import pytest
from click.testing import CliRunner
from mitmproxy.certs import CertStore

from claude_relay.cli import certificates, checks, reach
from claude_relay.cli.checks import FAIL, OK, WARN
from claude_relay.cli.console.common import Source
from claude_relay.cli.console.running import Found
from claude_relay.cli.console.taking_back import applied, changes
from claude_relay.cli.doctor import doctor
from claude_relay.core.config import Address, Config, parse
from claude_relay.proxy.watch.health import Report
from claude_relay.proxy.watch.status_server import StatusServer
from claude_relay.store.db import folders
from claude_relay.store.db.database import StoreError, connect
from claude_relay.store.db.migrations import MIGRATIONS, migrate
from claude_relay.store.vault.records import NewKey
from claude_relay.store.vault.vault import Vault
from waiting import PATIENCE

pytestmark = pytest.mark.usefixtures("cheap_secrets")

SECRET = "sk-ant-very-secret"


@pytest.fixture(scope="module")
def confdir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("conf")
    certificates.ensure_bundle(folder)
    return folder


@contextmanager
def server(answer: Callable[[socket.socket], None] | None) -> Iterator[int]:
    """Somebody who listens on a port and answers one connection after the other in his way; None: never accepts."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            while answer:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                with connection:
                    answer(connection)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield listener.getsockname()[1]
        listener.shutdown(socket.SHUT_RDWR)
        thread.join(PATIENCE)


def says(*lines: str) -> Callable[[socket.socket], None]:
    def answer(connection: socket.socket) -> None:
        connection.recv(65536)
        connection.sendall("\r\n".join([*lines, "", ""]).encode())

    return answer


def source(text: str = "", **environ: str) -> Source:
    return Source(parse(text, environ=environ), Path("relay.yaml"), text.encode())


# -- packages


def test_packages_against_the_lock(tmp_path: Path) -> None:
    lock = tmp_path / "requirements.lock"
    lock.write_text(
        f"# comment\nclick=={version('click')} \\\n    --hash=sha256:00\n    # via x\n"
        f"rich==1.0 ; python_full_version < '3.13'\nrich=={version('rich')} ; python_full_version >= '3.13'\n"
        "pydivert==2.1.0 ; sys_platform == 'win32'\n"
    )
    assert [check.status for check in checks.packages(lock)] == [OK]
    lock.write_text("click==0.1\n")
    [check] = checks.packages(lock)
    assert (check.status, check.found) == (WARN, f"click: {version('click')} instead of 0.1")
    lock.write_text("click==0.1\nno-such-package-anywhere==1\n")
    [check] = checks.packages(lock)
    assert check.status == FAIL
    assert "no-such-package-anywhere: missing" in check.found
    assert "scripts/relay" in check.remedy


def test_without_a_lock_file_the_installed_package_counts(tmp_path: Path) -> None:
    assert [check.status for check in checks.packages(tmp_path / "none")] == [OK]


def test_the_shipped_lock_is_read() -> None:
    pins = checks.locked(checks.LOCK.read_text("utf-8"))
    assert pins["mitmproxy"][1]
    assert not pins["mitmproxy-windows"][1]
    assert len(pins["pydantic"][0]) == 2


# -- configuration


def test_keys_are_counted_and_unwise_settings_named(tmp_path: Path) -> None:
    text = f"""
listen: {{proxy: "0.0.0.0:1"}}
providers:
  anthropic: {{preset: anthropic, keys: ["${{A}}"]}}
  my-glm:
    preset: zhipu
    keys:
      - {SECRET}
  deepseek: {{preset: deepseek}}
  plain: {{base_url: "http://gate.example", keys: ["${{A}}"]}}
  local: {{base_url: "http://[::1]:9", keys: ["${{A}}"]}}
database: {tmp_path / "relay.db"}
notices: {{webhook: "https://example.com/hook", secret: {SECRET}}}
faults: [{{fault: 529}}, {{fault: cut, attempt: 1}}, {{fault: cut}}]
"""
    found = list(checks.configuration(source(text, A="a,b")))
    assert (
        found[0].found == "relay.yaml; anthropic: 2 keys, my-glm: 1 key, deepseek: no key, plain: 2 keys, local: 2 keys"
    )
    assert [(check.name, check.status, check.found) for check in found[1:]] == [
        ("keys", WARN, "relay.yaml:8: a key of my-glm stands in the file"),
        ("keys", WARN, "relay.yaml:13: notices.secret stands in the file"),
        ("keys", WARN, "deepseek has no key and refuses its requests"),
        ("keys", WARN, "plain gets its keys unencrypted"),
        ("faults", WARN, "requests fail on purpose: 529, cut"),
        (
            "listeners",
            OK,
            "listen.proxy is open to the network: programs on other machines need a client key at 0.0.0.0:1",
        ),
    ]
    assert found[1].remedy.endswith('keys: ["${MY_GLM_API_KEYS}"]')


def test_keys_of_the_vault_are_keys_of_their_provider(tmp_path: Path) -> None:
    path = tmp_path / "relay.db"
    text = f"""
providers:
  anthropic: {{preset: anthropic, keys: ["${{A}}"]}}
  deepseek: {{preset: deepseek}}
database: {path}
"""

    def found() -> list[str]:
        return [check.found.removeprefix("relay.yaml; ") for check in checks.configuration(source(text, A="a"))]

    vault = Vault(path, environ={"RELAY_SECRET": "a secret of good length"})
    names = ("anthropic", "deepseek", "deepseek", "gone")
    keys = vault.import_many([NewKey(name, f"{SECRET}-{n}") for n, name in enumerate(names)]).added
    assert found() == ["anthropic: 2 keys, deepseek: 2 keys"]
    vault.disable([keys[1].id])
    vault.remove([keys[0].id, keys[2].id])
    none = "deepseek has no key and refuses its requests"
    assert found() == ["anthropic: 1 key, deepseek: no key", none]
    path.write_text("no database " * 100)
    assert found() == ["anthropic: 1 key, deepseek: no key", none]


# -- ports


def listening(port: int) -> list[tuple[str, str]]:
    text = f"listen: {{proxy: null, base_url: '127.0.0.1:{port}'}}"
    return [(check.status, check.found) for check in checks.listening(source(text))]


def test_a_free_port() -> None:
    assert listening(0)[0][0] == OK


def test_a_port_that_a_relay_holds() -> None:
    with server(says("HTTP/1.1 404 Not Found", "request-id: req_relay_1", "content-length: 0")) as port:
        assert listening(port) == [(OK, f"a relay listens on 127.0.0.1:{port}")]


@pytest.mark.parametrize("answer", [("HTTP/1.1 404 Not Found", "content-length: 0"), ("SSH-2.0-OpenSSH",), ()])
def test_a_port_that_another_program_holds(answer: tuple[str, ...]) -> None:
    with server(says(*answer)) as port:
        [(status, found)] = listening(port)
    assert status == FAIL
    assert "another program listens there" in found


def test_an_address_of_another_machine() -> None:
    [check] = checks.listening(source("listen: {proxy: '203.0.113.7:1', base_url: null}"))
    assert (check.status, check.found) == (
        FAIL,
        "203.0.113.7:1: this machine has no such address; use 127.0.0.1",
    )


# -- CA and shell


def test_the_ca(confdir: Path, tmp_path: Path) -> None:
    assert checks.authority(confdir).status == OK
    assert checks.authority(confdir, now=datetime(2100, 1, 1, tzinfo=UTC)).status == FAIL
    assert checks.authority(tmp_path).status == WARN
    (tmp_path / certificates.CA).write_text("nonsense")
    assert checks.authority(tmp_path).status == FAIL


def test_hosts_that_the_ca_is_not_for(confdir: Path, tmp_path: Path) -> None:
    found = checks.authority(confdir, ["api.anthropic.com"])
    assert (found.status, "for the intercepted hosts only" in found.found) == (OK, True)
    found = checks.authority(confdir, ["api.anthropic.com", "grown.example", "10.0.0.7"])
    assert (found.status, "refuse the relay's certificates for grown.example, 10.0.0.7" in found.found) == (FAIL, True)
    assert found.remedy.startswith("end the relay, delete the files mitmproxy-ca*")
    CertStore.from_store(tmp_path, "mitmproxy", 2048)
    found = checks.authority(tmp_path, ["grown.example"])
    assert (found.status, "mitmproxy's own, for any host" in found.found) == (OK, True)


def test_the_shell(confdir: Path) -> None:
    config = source().config
    trusting = {"HTTPS_PROXY": "http://127.0.0.1:8080"} | certificates.variables({}, confdir)
    assert checks.shell(config, confdir, trusting).status == OK
    assert checks.shell(config, confdir, {"ANTHROPIC_BASE_URL": "http://127.0.0.1:8082/"}).status == OK
    assert checks.shell(config, confdir, {}).status == WARN
    assert checks.shell(config, confdir, trusting | {"https_proxy": f"http://u:{SECRET}@other:1"}).status == WARN
    untrusted = checks.shell(config, confdir, trusting | {"SSL_CERT_FILE": "/no/such", "NODE_EXTRA_CA_CERTS": ""})
    assert untrusted.status == FAIL
    assert untrusted.found.endswith("not in NODE_EXTRA_CA_CERTS, SSL_CERT_FILE")


# -- database


def test_the_database(tmp_path: Path) -> None:
    path = tmp_path / "relay.db"
    assert checks.database(path).found.endswith("will be made at the first start")
    assert not path.exists()
    with closing(connect(path, patience=1)) as connection:
        assert f"{len(MIGRATIONS)} change(s) of tables" in checks.database(path).found
        migrate(connection)
        assert (checks.database(path).status, "change" in checks.database(path).found) == (OK, False)
        connection.execute("UPDATE _sqlite_migrations SET name = name || '_from_the_future'")
        assert checks.database(path).found.endswith("was written by a newer version")


def test_a_database_on_a_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "relay.db"
    connect(path, patience=1).close()
    monkeypatch.setattr(folders, "LITTLE", 2**63)
    for place in (path, tmp_path / "none-yet.db"):
        found = checks.database(place)
        assert (found.status, "disk is nearly full" in found.found) == (WARN, True)


@pytest.mark.skipif(os.name == "nt", reason="limits of POSIX")
def test_a_database_that_may_not_grow(tmp_path: Path) -> None:
    """As with a quota that is used up: there is room on the disk, but nothing can be written."""
    import resource

    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    connect(tmp_path / "relay.db", patience=1).close()
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (4096, before[1]))
        found = [checks.database(tmp_path / name) for name in ("relay.db", "none-yet.db")]
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert [(one.status, "may not grow" in one.found, one.remedy) for one in found] == [(FAIL, True, "make room")] * 2
    assert checks.database(tmp_path / "none-yet.db").status == OK


def test_a_relay_that_cannot_write_its_row_is_asked_how_it_is(start_status: Callable[[], Address]) -> None:
    config = parse(f"listen: {{status: '{start_status()}'}}", environ={})
    source = Source(config, None, b"")
    (check,) = checks.health(Found(None, "no relay runs"), source)
    assert (check.status, check.found) == (WARN, "the disk is full")
    off = Source(parse("listen: {status: null}", environ={}), None, b"")
    nobody = Source(parse("listen: {status: '127.0.0.1:1'}", environ={}), None, b"")
    assert [*checks.health(Found(None), off), *checks.health(Found(None), nobody)] == []


@pytest.fixture
def start_status() -> Iterator[Callable[[], Address]]:
    """A status server that says what is wrong, in a loop of its own."""
    loop = asyncio.new_event_loop()

    async def look() -> Report:
        return Report(True, ("the disk is full",))

    async def listen() -> StatusServer:
        server = StatusServer(Address("127.0.0.1", 0), tuple, look)
        await server.start()
        return server

    server = loop.run_until_complete(listen())
    thread = Thread(target=loop.run_forever)
    thread.start()
    yield lambda: Address("127.0.0.1", server.port or 0)
    loop.call_soon_threadsafe(server.close)
    loop.call_soon_threadsafe(loop.stop)
    thread.join()
    loop.close()


def test_a_database_in_the_users_folder_of_states(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "none" / "yet"))
    path = tmp_path / "none" / "yet" / "claude-relay" / "relay.db"
    assert checks.database(path).found.endswith("will be made at the first start")
    with closing(connect(path, patience=1)):
        assert path.stat().st_mode & 0o777 == 0o600
        assert path.parent.stat().st_mode & 0o777 == 0o700
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "file"))
    assert checks.database(tmp_path / "file" / "claude-relay" / "relay.db").status == FAIL
    with pytest.raises(StoreError, match="its folder does not exist"):
        connect(tmp_path / "other" / "relay.db", patience=1)


def test_a_database_that_cannot_be_used(tmp_path: Path) -> None:
    (tmp_path / "x.db").write_bytes(b"this is no database, but long enough to look at" * 100)
    for path in (tmp_path / "x.db", tmp_path / "no" / "folder" / "x.db", tmp_path):
        check = checks.database(path)
        assert check.status == FAIL
        assert "relay.yaml" in check.remedy


def test_a_locked_database(tmp_path: Path) -> None:
    path = tmp_path / "relay.db"
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("CREATE TABLE t (x)")
        connection.execute("BEGIN EXCLUSIVE")
        assert "another program holds it" in checks.database(path).found


# -- vault


def test_a_vault_with_nothing_in_it(tmp_path: Path) -> None:
    check = checks.vault(tmp_path / "relay.db", {})
    assert (check.status, check.found) == (OK, "no key in it")
    assert list(tmp_path.iterdir()) == []


def test_the_vault_and_the_file_of_its_secret(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "keyring", None)
    path, file = tmp_path / "relay.db", tmp_path / "relay.db.secret"
    Vault(path, environ={}).import_many([NewKey("anthropic", f"{SECRET}-{n}") for n in range(2)])
    check = checks.vault(path, {})
    assert (check.status, check.found.partition(";")[0]) == (OK, f"2 keys, sealed with {file}")
    file.chmod(0o644)
    check = checks.vault(path, {})
    assert (check.status, check.remedy) == (WARN, f"chmod 600 {file}")
    with closing(connect(path, patience=1)) as connection:
        connection.execute("UPDATE keys SET secret = zeroblob(50) WHERE alias = 'v2'")
    check = checks.vault(path, {})
    assert (check.status, check.found) == (FAIL, "damaged: anthropic/v2")
    assert check.remedy.startswith("scripts/keys remove --forever anthropic/v2")
    file.unlink()
    check = checks.vault(path, {})
    assert check.status == FAIL
    assert "is missing" in check.found


def test_the_vault_and_its_variable(tmp_path: Path) -> None:
    path, environ = tmp_path / "relay.db", {"RELAY_SECRET": "a secret of good length"}
    Vault(path, environ=environ).add(NewKey("anthropic", SECRET))
    assert (checks.vault(path, environ).found, checks.vault(path, {}).status) == (
        "1 key, sealed with RELAY_SECRET",
        FAIL,
    )
    path.write_text("no database " * 100)
    assert "not a database" in checks.vault(path, environ).found


# -- providers


def provider(text: str) -> Config:
    return parse(f"providers: {{p: {{{text}}}}}", environ={})


def reached(text: str, limit: float = PATIENCE) -> tuple[str, str]:
    [check] = reach.providers(provider(text), limit)
    return check.status, check.found


def test_a_provider_that_answers() -> None:
    with server(None) as port:
        assert reached(f"base_url: 'http://127.0.0.1:{port}'")[0] == OK


def test_a_provider_that_does_not_answer() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    assert reached(f"base_url: 'https://127.0.0.1:{port}'")[1].endswith("Connection refused")
    with server(None) as port:
        assert reached(f"base_url: 'https://127.0.0.1:{port}'", 0.3)[1].endswith("no answer in time")
    with server(says("HTTP/1.1 400 plain text on a TLS port")) as port:
        assert reached(f"base_url: 'https://127.0.0.1:{port}'")[0] == FAIL
    assert reached("base_url: 'https://nowhere.invalid'")[1].endswith("no such host")


def test_a_provider_through_a_proxy() -> None:
    heard: list[bytes] = []

    def agree(connection: socket.socket) -> None:
        heard.append(connection.recv(65536))
        connection.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")

    with server(agree) as port:
        text = f"base_url: 'http://h.example', proxy: 'http://u:{SECRET}@127.0.0.1:{port}'"
        status, found = reached(text)
    assert (status, found) == (OK, f"http://h.example through http://127.0.0.1:{port} can be reached")
    assert heard[0].startswith(b"CONNECT h.example:80 HTTP/1.1\r\n")
    assert b"Proxy-Authorization: Basic " in heard[0]
    with server(says("HTTP/1.1 407 Proxy Authentication Required")) as port:
        status, found = reached(f"base_url: 'https://h.example', proxy: 'http://u:{SECRET}@127.0.0.1:{port}'")
    assert (status, found.endswith("the proxy answered 407")) == (FAIL, True)
    assert SECRET not in found
    with server(says("")) as port:
        found = reached(f"base_url: 'https://h.example', proxy: 'http://127.0.0.1:{port}'")[1]
    assert found.endswith("no proxy is there")


def test_the_proxy_that_the_environment_names_is_tested() -> None:
    text = "providers: {p: {base_url: 'https://h.example'}, near: {base_url: 'https://h.example', proxy: direct}}"
    heard: list[bytes] = []

    def refuse(connection: socket.socket) -> None:
        heard.append(connection.recv(65536))
        connection.sendall(b"HTTP/1.1 407 Who are you?\r\n\r\n")

    with server(refuse) as port:
        environ = {"HTTPS_PROXY": f"http://u:{SECRET}@127.0.0.1:{port}", "HTTP_PROXY": "socks4://h:1"}
        warned, check, near = reach.providers(parse(text, environ={}), PATIENCE, environ)
    assert (warned.name, warned.status) == ("way out", WARN)
    assert (
        warned.found
        == "HTTP_PROXY names a SOCKS proxy that is not of version 5 (socks4://h:1): connections to http:// hosts go past it, directly"
    )
    assert warned.remedy.startswith("set HTTP_PROXY to an http://, https:// or socks5:// proxy")
    way = f"https://h.example through http://127.0.0.1:{port} (HTTPS_PROXY)"
    assert (check.status, check.found) == (FAIL, f"{way}: the proxy answered 407")
    assert check.remedy.endswith("(HTTPS_PROXY)")
    assert b"CONNECT h.example:443 HTTP/1.1" in heard[0]
    assert "through" not in near.found
    assert len(heard) == 1
    environ["NO_PROXY"] = ".example"
    assert all("through" not in check.found for check in reach.providers(parse(text, environ={}), 0.2, environ))


def test_a_shell_that_is_led_through_the_relay_goes_out_as_it_did_before() -> None:
    text = "providers: {p: {base_url: 'https://h.example'}}"
    with server(says("HTTP/1.1 407 Who are you?")) as port:
        before = {"HTTPS_PROXY": f"http://127.0.0.1:{port}", "NO_PROXY": "h.invalid"}
        led = {"HTTPS_PROXY": "http://127.0.0.1:8080", "NO_PROXY": "localhost,h.invalid"}
        environ = applied(changes(led, before), before)
        [check] = reach.providers(parse(text, environ={}), PATIENCE, environ)
    way = f"https://h.example through http://127.0.0.1:{port} (HTTPS_PROXY)"
    assert (check.status, check.found) == (FAIL, f"{way}: the proxy answered 407")


def test_a_proxy_that_is_the_relay_itself() -> None:
    """As in a client's shell: nothing is wrong there, and the relay is not in its own way."""
    environ = {"https_proxy": "http://localhost:8080"}
    [check] = reach.providers(parse("providers: {p: {base_url: 'https://h.invalid'}}", environ={}), PATIENCE, environ)
    assert check.found == "https://h.invalid: no such host"


def test_all_providers_together_take_no_longer_than_one() -> None:
    with server(None) as port:
        names = ", ".join(f"p{n}: {{base_url: 'https://127.0.0.1:{port}'}}" for n in range(9))
        started = datetime.now(UTC)
        found = list(reach.providers(parse(f"providers: {{{names}}}", environ={}), 2.0))
    assert [check.status for check in found] == [FAIL] * 9
    assert (datetime.now(UTC) - started).total_seconds() < 16  # in turn it would be 18


# -- the command


def test_the_whole_table_shows_no_secret(tmp_path: Path, confdir: Path) -> None:
    with server(says("")) as port:
        text = f"""
listen: {{proxy: "127.0.0.1:0", base_url: null}}
providers:
  p: {{base_url: "http://127.0.0.1:{port}", keys: [{SECRET}, "${{K}}"], proxy: "http://u:{SECRET}@127.0.0.1:{port}"}}
"""
        (tmp_path / "relay.yaml").write_text(text)
        words = ["--config", str(tmp_path / "relay.yaml"), "--set", f"confdir={confdir}"]
        environ = {"K": f"{SECRET}-2", "HTTPS_PROXY": f"http://u:{SECRET}@h:1", "https_proxy": None}
        plain = CliRunner().invoke(doctor, words, env=environ)
        machine = CliRunner().invoke(doctor, [*words, "--json"], env=environ)
    assert plain.exit_code == machine.exit_code == 1  # whoever listens there is no proxy
    assert SECRET not in plain.output + machine.output
    data = json.loads(machine.output)
    assert data["healthy"] is False
    assert {check["status"] for check in data["checks"]} == {OK, WARN, FAIL}
    assert all(check["found"] for check in data["checks"])
    assert "p: 2 keys" in plain.output


def test_every_mistake_of_a_broken_configuration(tmp_path: Path) -> None:
    (tmp_path / "relay.yaml").write_text("wat: 1\nwot: 2\n")
    result = CliRunner().invoke(doctor, ["--json", "--config", str(tmp_path / "relay.yaml")])
    failed = [check["found"] for check in json.loads(result.output)["checks"] if check["status"] == FAIL]
    assert result.exit_code == 1
    assert [found.split("relay.yaml", 1)[1][:7] for found in failed] == [":1: wat", ":2: wot"]


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    result = CliRunner().invoke(doctor, ["--json"], env={"RELAY_CONFIG": str(tmp_path / "gone.yaml")})
    assert "No such file" in result.output
    assert "unset RELAY_CONFIG" in result.output


def test_a_relay_is_asked_nothing_that_leaves_it() -> None:
    heard: list[bytes] = []

    def listen(connection: socket.socket) -> None:
        heard.append(connection.recv(65536))

    with server(listen) as port:
        assert not checks.is_relay("proxy", Address("127.0.0.1", port), "api.anthropic.com")
    assert heard[0].startswith(b"GET http://api.anthropic.com/api/relay-doctor HTTP/1.1\r\n")
    assert b"placeholder" in heard[0]
